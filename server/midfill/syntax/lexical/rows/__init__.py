"""The languages: one row each, made at first use."""

from __future__ import annotations

import functools

from midfill.syntax.lexical.state import Row


@functools.cache
def row(language: str) -> Row:
    """Return the row of a language id; a careful guess for an unknown one."""
    from midfill.syntax.lexical.rows import c_like, config, functional, markup, scripts

    for table in (c_like.ROWS, scripts.ROWS, functional.ROWS, markup.ROWS, config.ROWS):
        if (make := table.get(language)) is not None:
            return make(language)
    return config.ROWS[""](language)
