"""Writes the parts of other files that repeat the settings, from the table in ``midfill.config``: ``make settings``.

These are the block in docs/settings.md, the VS Code extension's manifest, the settings that it sends, and the server's
numbers that both editors need before they redraw. A test compares them.
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from midfill import dismissals, reuse, starting
from midfill.config import DEFAULT, MAX_GLOB_CHARS, MAX_GLOBS, ONE_OR_SEVERAL, SETTINGS, Config, Setting, camel
from midfill.context.knowledge import labels, names
from midfill.lsp import closers

ROOT = Path(__file__).parents[1]
COLUMN = 30  # column where comments begin if the setting leaves room
MAX_CHOICES = 6  # of a setting with more, the first three are named
KINDS = {bool: "boolean", int: "integer", float: "number", str: "string"}


def page(text: str) -> str:
    """Return docs/settings.md with the settings as a TOML file, and which of them a workspace may set."""
    lines = [_toml(field.name, SETTINGS[field.name]) for field in dataclasses.fields(Config)]
    own = ", ".join(f"`{name}`" for name, setting in SETTINGS.items() if setting.scope == "workspace")
    block = "\n".join(["```toml", *lines, "```", "", f"A workspace may set these in `.midfill.toml`: {own}."])
    return _between(text, "<!-- settings: written by make settings -->", "<!-- end of settings -->", block)


def _toml(name: str, setting: Setting) -> str:
    value = getattr(DEFAULT, name)
    written = '""' if name in ONE_OR_SEVERAL else json.dumps(list(value) if isinstance(value, tuple) else value)
    says = setting.help.removesuffix(".")
    if setting.choices:
        names = [*setting.choices]
        says += ": " + " | ".join(names if len(names) <= MAX_CHOICES else [*names[:3], "..."])
    return f"{name} = {written}".ljust(COLUMN) + f"  # {says}"


def manifest(text: str) -> str:
    """Return the extension's package.json with the server's settings that it shows, after its own ones."""
    known = json.loads(text)["contributes"]["configuration"]["properties"]
    own = {key: value for key, value in known.items() if _setting_of(key) not in SETTINGS}
    servers = [(f"midfill.{camel(name)}", name) for name, setting in SETTINGS.items() if setting.shown]
    ours = {key: property_of(name, n) for n, (key, name) in enumerate(servers, 1)}
    written = ",\n".join(f'        "{key}": {{\n{_lines(value)}\n        }}' for key, value in (own | ours).items())
    start = text.index('      "properties": {\n') + len('      "properties": {\n')
    end = text.index("\n      }\n", start)
    return text[:start] + written + text[end:]


def _setting_of(key: str) -> str:
    return re.sub("[A-Z]", lambda match: "_" + match.group().lower(), key.removeprefix("midfill."))


def property_of(name: str, order: int) -> dict[str, Any]:
    """Return a setting as VS Code's ``contributes.configuration`` describes it."""
    setting, value = SETTINGS[name], getattr(DEFAULT, name)
    found: dict[str, Any] = {"type": "array" if isinstance(value, tuple) else KINDS[type(value)]}
    if isinstance(value, tuple):
        entries = {"enum": list(setting.choices)} if setting.choices else {}
        bounds = {"maxLength": MAX_GLOB_CHARS} if name == "disabled_files" else {}
        found |= {"items": {"type": "string", **entries, **bounds}, "uniqueItems": True}
        if bounds:
            found["maxItems"] = MAX_GLOBS
    elif setting.choices:
        found["enum"] = list(setting.choices)
        if isinstance(setting.choices, dict):
            found["enumDescriptions"] = list(setting.choices.values())
    if setting.bounds is not None:
        found["minimum"], found["maximum"] = setting.bounds
    found["default"] = list(value) if isinstance(value, tuple) else value
    if setting.scope != "workspace":
        found["scope"] = "machine"  # VS Code does not let workspaces set it
    text = f"{setting.help} {setting.more}".strip()
    return found | {"order": order, "markdownDescription" if "`" in text else "description": text}


def _lines(value: dict[str, Any]) -> str:
    return ",\n".join(f'          "{key}": {json.dumps(entry)}' for key, entry in value.items())


def sent(text: str) -> str:
    """Return the extension's settings.ts with the names that it sends to the server."""
    names = {
        "OF_THE_WORKSPACE": [camel(name) for name, one in SETTINGS.items() if one.shown and one.scope == "workspace"],
        "OF_THE_PERSON": [camel(name) for name, one in SETTINGS.items() if one.shown and one.scope != "workspace"],
    }
    block = "\n".join(f"export const {list_} = [\n{_wrapped(found)}\n];" for list_, found in names.items())
    return _between(text, "// Written by make settings.", "// End.", block)


def _wrapped(names: list[str]) -> str:
    lines = [""]
    for name in names:
        if len(lines[-1]) + len(name) > 110:
            lines.append("")
        lines[-1] += f" '{name}',"
    return "\n".join(f" {line}" for line in lines)


def _between(text: str, start: str, end: str, block: str) -> str:
    head, _, rest = text.partition(start + "\n")
    _, found, tail = rest.partition(end + "\n")
    assert found, f"{start} ... {end} is not there"
    return f"{head}{start}\n{block}\n{end}\n{tail}"


# What editors decide in the same way as the server, since a redraw does not wait for it.
CONSTANTS: dict[str, int | tuple[str, ...]] = {
    "MAX_AHEAD": reuse.MAX_AHEAD,
    "MAX_PLACES": dismissals.MAX_PLACES,
    "MAX_NAMES": names.MAX_NAMES,
    "MAX_WHOLE": names.MAX_WHOLE,
    "MAX_KEYWORDS": names.MAX_KEYWORDS,
    "MAX_SIGNATURES": labels.MAX_SIGNATURES,
    "PAIRS": closers.PAIRS,
    "EVERY_TIME": starting.EVERY_TIME,
}


def typescript(_text: str) -> str:
    """Return the extension's constants.ts."""
    lines = ["// Written by make settings: what the server has, too."]
    for name, value in CONSTANTS.items():
        plain = f"[{', '.join(map(repr, value))}]" if isinstance(value, tuple) else value
        lines.append(f"export const {name} = {plain};")
    return "\n".join(lines) + "\n"


def lua(_text: str) -> str:
    """Return the plugin's constants.lua."""
    lines = [f"  {name} = {value}," for name, value in CONSTANTS.items() if isinstance(value, int)]
    return "\n".join(["-- Written by make settings: what the server has, too.", "return {", *lines, "}"]) + "\n"


WRITTEN: dict[str, Callable[[str], str]] = {
    "docs/settings.md": page,
    "editors/vscode/package.json": manifest,
    "editors/vscode/src/settings.ts": sent,
    "editors/vscode/src/constants.ts": typescript,
    "editors/neovim/lua/midfill/constants.lua": lua,
}


def main() -> int:
    """Write every file whose content differs, and print its name."""
    for name, write in WRITTEN.items():
        file = ROOT / name
        text = file.read_text(encoding="utf-8")
        if (new := write(text)) != text:
            file.write_text(new, encoding="utf-8")
            print(f"written: {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
