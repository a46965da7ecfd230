"""The licence of a package according to its metadata, and according to its licence files."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

# SPDX names that an entry of sources.toml may have, and the family whose wording they share.
ALLOWED = {
    "MIT": "MIT",
    "MIT-0": "MIT",
    "BSD-2-Clause": "BSD",
    "BSD-3-Clause": "BSD",
    "ISC": "ISC",
    "Apache-2.0": "Apache",
    "Apache-2.0 WITH LLVM-exception": "Apache",
    "PSF-2.0": "PSF",
    "Zlib": "Zlib",
    "MIT OR Apache-2.0": "MIT",
}
# Words in metadata: SPDX, the classifiers of Python packages, the short names of Debian.
_SAID = {
    "MIT": re.compile(r"\bMIT\b|\bExpat\b|\bX11\b", re.IGNORECASE),
    "BSD": re.compile(r"\bBSD\b|\bBSD-?[23]|\b[23]-clause", re.IGNORECASE),
    "ISC": re.compile(r"\bISC\b"),
    "Apache": re.compile(r"\bApache\b", re.IGNORECASE),
    "PSF": re.compile(r"\bPSF|Python Software Foundation|\bPython-2", re.IGNORECASE),
    "Zlib": re.compile(r"\bzlib\b", re.IGNORECASE),
}
# The sentence that identifies a licence, in lower case with single spaces.
_WORDING = {
    "MIT": ("permission is hereby granted, free of charge, to any person obtaining a copy",),
    "BSD": ("redistribution and use in source and binary forms, with or without modification",),
    "ISC": ("to use, copy, modify, and/or distribute this", "to use, copy, modify, and distribute this"),
    "Apache": ("apache license version 2.0", "apache license, version 2.0"),
    "PSF": ("psf license agreement", "python software foundation license"),
    "Zlib": ("altered source versions must be plainly marked",),
}  # fmt: skip
_COPYLEFT = re.compile(
    r"(?i)gnu (?:lesser |library |affero )?general public licen|\b[AL]?GPL(?:v[23]|-[23]|\b)|\bMPL\b"
    r"|mozilla public licen|eclipse public licen|common development and distribution|creative commons|\bCC-BY"
    r"|\bSSPL\b|business source licen"
)
_PERMISSIVE = re.compile(
    r"(?i)\b(?:MIT|Expat|X11|BSD|ISC|Apache|zlib|public-domain|PSF|Python|Unlicense|CC0|BSL|Boost|WTFPL|permissive)"
)
_FILE = re.compile(r"(?i)(?:un)?licen[cs]es?(?:[._-].*)?|copying(?:[._-].*)?|copyright(?:\..*)?|notice(?:\..*)?")
_CODE_SUFFIXES = frozenset(
    (".py", ".js", ".ts", ".go", ".rs", ".java", ".c", ".h", ".cc", ".cpp", ".rb", ".php", ".cs", ".kt")
)
_HEAD = 3000  # characters in which a file names its licence


def is_licence_file(path: str) -> bool:
    """Whether a file with this name states a licence."""
    name = PurePosixPath(path)
    return _FILE.fullmatch(name.name) is not None and name.suffix.lower() not in _CODE_SUFFIXES


def families_of_text(text: str) -> set[str]:
    """Return the families whose wording is in a licence file."""
    flat = re.sub(r"[\s*#/;\"]+", " ", text).lower()
    return {family for family, wordings in _WORDING.items() if any(wording in flat for wording in wordings)}


def families_said(words: str) -> set[str]:
    """Return the families that metadata name."""
    return {family for family, pattern in _SAID.items() if pattern.search(words)}


def names_copyleft(text: str) -> bool:
    """Whether the head of a source file names a licence that requires more than a notice."""
    return _COPYLEFT.search(text[:_HEAD]) is not None


def check(declared: str, metadata: str, licence_files: Mapping[str, str]) -> list[str]:
    """Return why a package is not what sources.toml says; [] if its metadata and its licence files agree with it."""
    family = ALLOWED[declared]
    faults = []
    if family not in families_said(metadata):
        faults.append(f"its metadata say {metadata!r}, not {declared}")
    if not any(family in families_of_text(text) for text in licence_files.values()):
        faults.append(f"no licence file has the wording of {declared} (of {sorted(licence_files) or 'none'})")
    return faults


def of_python(metadata: str) -> str:
    """Return what a wheel's METADATA says: the expression if there is one, else the old field and the classifiers."""
    head = metadata.split("\n\n", 1)[0]
    fields = re.findall(r"^(License-Expression|License|Classifier): (.*)$", head, re.MULTILINE)
    said = [value[:100] for key, value in fields if key != "Classifier" or value.startswith("License ::")]
    return "; ".join(said)


def of_npm(package_json: str) -> str:
    """Return what a package.json says."""
    package = json.loads(package_json)
    return json.dumps(package.get("license") or package.get("licenses") or "")


class DebianCopyright:
    """debian/copyright in its machine-readable form: which files are under which licence; the last match decides."""

    def __init__(self, text: str) -> None:
        stanzas = [dict(_fields(stanza)) for stanza in re.split(r"\n\s*\n", text)]
        self._rules = [
            (stanza["files"].split(), stanza["license"].split("\n")[0].strip())
            for stanza in stanzas
            if stanza.get("files") and stanza.get("license")
        ]  # fmt: skip

    def of(self, path: str) -> str:
        """Return the short name of a file's licence, "" if none is given."""
        found = ""
        for patterns, licence in self._rules:
            if any(_matches(path, pattern.removeprefix("./")) for pattern in patterns):
                found = licence
        return found

    def is_permissive(self, path: str) -> bool:
        """Whether a file may be taken: one of the licences that it is offered under is permissive."""
        choices = re.split(r"(?i)\s+or\s+", self.of(path))
        return any(_PERMISSIVE.search(choice) and not _COPYLEFT.search(choice) for choice in choices)


def _matches(path: str, pattern: str) -> bool:
    """Whether a path matches. A binary package has its files in another place, so the pattern may also match the path's
    end."""
    return fnmatch.fnmatchcase(path, pattern) or fnmatch.fnmatchcase(path, "*/" + pattern)


def _fields(stanza: str) -> Iterable[tuple[str, str]]:
    for field in re.split(r"\n(?=\S)", stanza):
        key, colon, value = field.partition(":")
        if colon:
            yield key.strip().lower(), value.strip()
