"""The languages: a row each, made when it is first asked for."""

from __future__ import annotations

import functools

from midfill.syntax.lexical.state import Row


@functools.cache
def row(language: str) -> Row:
    """The row of a language id; a careful guess where it is not known."""
    from midfill.syntax.lexical.rows import c_like, config, functional, markup, scripts

    for table in (c_like.ROWS, scripts.ROWS, functional.ROWS, markup.ROWS, config.ROWS):
        if (make := table.get(language)) is not None:
            return make(language)
    return config.ROWS[""](language)
