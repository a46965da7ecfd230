"""The import statements of a file, and the files of the workspace that they mean.

They are read with patterns instead of a grammar, since a file that is being written is seldom complete, and resolved
against the paths of the index, never against the disk. Every language has one function: text to ``Import``.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from midfill.context.index import Index, SourceFile

MAX_CHARS = 60_000  # of a text that is searched for imports
MAX_IMPORTS = 200
MAX_NAMES = 60  # of one statement
MAX_FOLDER_FILES = 30  # of a package that is a folder


@dataclass(frozen=True, slots=True)
class Import:
    """One import. ``paths`` are what it may mean, relative to some root of the workspace, the likeliest first.

    ``names`` are imported from there; if there are none, the whole module is, under the name ``alias``. ``exact`` paths
    begin at the workspace; ``folder`` paths mean every file of a folder.
    """

    paths: tuple[str, ...]
    names: tuple[str, ...] = ()
    alias: str = ""
    exact: bool = False
    folder: bool = False


def imports_of(text: str, path: str, family: str) -> list[Import]:
    """Return the imports of ``text``, a file at ``path``; [] for unknown languages."""
    reader = READERS.get(family)
    found: list[Import] = []
    for one in reader(text[:MAX_CHARS], posixpath.dirname(path)) if reader is not None else ():
        found.append(one)
        if len(found) >= MAX_IMPORTS:
            break
    return found


def resolve(index: Index, one: Import, path: str) -> list[SourceFile]:
    """Return the files that ``one`` means, seen from the file at ``path``; [] if it means no file of the workspace."""
    for target in one.paths:
        if one.folder:
            folders = index.folders_ending(target)
            nearest = max(folders, key=lambda folder: common(folder, path), default=None)
            if nearest is not None:
                return [file for file in index.in_folder(nearest) if file.path != path][:MAX_FOLDER_FILES]
            continue
        files = [file for file in index.ending(target) if file.path != path and _may_be(file, target, one, path)]
        if files:
            return [max(files, key=lambda file: common(file.path, path))]
    return []


def _may_be(file: SourceFile, target: str, one: Import, path: str) -> bool:
    """Whether ``target`` is relative to a root that ``path`` can see: ``json.py`` in some folder is not ``json``."""
    root = file.path.removesuffix(target).rstrip("/")
    if one.exact:
        return root == ""
    here = posixpath.dirname(path)
    above = root == "" or here == root or here.startswith(root + "/")
    return above or "/" in target or posixpath.basename(root) in ("src", "lib", "include")


def common(one: str, other: str) -> int:
    """Return how many folders two paths share, from the top."""
    n = 0
    for a, b in zip(one.split("/")[:-1], other.split("/")[:-1], strict=False):
        if a != b:
            break
        n += 1
    return n


# Quantifiers are possessive (``+``) where what follows cannot match otherwise: a text of only beginnings is read in
# time that grows linearly with its length.

# ---- languages -------------------------------------------------------------------------------------------------------

_PY_FROM = re.compile(
    r"^[ \t]*from[ \t]+(\.{0,20})([\w.]{0,300})[ \t]+import[ \t]*(\([^)]{0,4000}+\)|[^\n(]{1,400})", re.M
)
_PY_IMPORT = re.compile(r"^[ \t]*import[ \t]+([\w., \t]{1,400})", re.M)


def _python(text: str, folder: str) -> Iterator[Import]:
    for match in _PY_FROM.finditer(text):
        dots, module = len(match[1]), match[2].strip(".").replace(".", "/")
        names = _names(re.sub(r"#[^\n]*", "", match[3]), " as ")
        base = _up(folder, dots - 1)
        if dots and base is None:
            continue
        start = posixpath.join(base or "", module).rstrip("/") if dots else module
        yield Import(_python_files(start), names, exact=dots > 0)
        for name in names:  # a name may be a module of the package
            yield Import(_python_files(posixpath.join(start, name)), alias=name, exact=dots > 0)
    for match in _PY_IMPORT.finditer(text):
        for part in match[1].split(",")[:MAX_NAMES]:
            module, _, alias = (word.strip() for word in part.partition(" as "))
            if module:
                yield Import(_python_files(module.replace(".", "/")), alias=alias or module.rpartition(".")[2])


def _python_files(module: str) -> tuple[str, ...]:
    if not module:
        return ("__init__.py",)
    return (f"{module}.py", f"{module}/__init__.py", f"{module}.pyi")


_JS_FROM = re.compile(
    r"\b(?:import|export)\s{1,8}+(?:type\s{1,8}+)?((?:(?!\b(?:im|ex)port\b)[\w$*{}\s,]){1,1000}?)\bfrom"
    r"\s{0,4}['\"]([^'\"\n]{1,200})['\"]"
)
_JS_REQUIRE = re.compile(
    r"\b(?:const|let|var)\s{1,8}(\{[^}]{0,1000}+\}|[\w$]{1,200}+)\s{0,8}+=\s{0,8}"
    r"(?:await\s{1,8}import|require)\(\s{0,8}['\"]([^'\"\n]{1,200})['\"]"
)
_JS_ENDS = (".ts", ".tsx", ".js", ".jsx", ".mjs", ".cjs", ".d.ts", "/index.ts", "/index.tsx", "/index.js")


def _javascript(text: str, folder: str) -> Iterator[Import]:
    for pattern in (_JS_FROM, _JS_REQUIRE):
        for match in pattern.finditer(text):
            clause, specifier = match[1], match[2]
            exact = specifier.startswith(".")
            target = (
                posixpath.normpath(posixpath.join(folder, specifier)) if exact else re.sub(r"^[@~#]/", "", specifier)
            )
            if target.startswith("..") or (not exact and "/" not in specifier):
                continue  # outside of the workspace, or a package
            stem = re.sub(r"\.(?:m|c)?[jt]sx?$", "", target)
            braces = re.search(r"\{([^{}]*)\}", clause)
            names = _names(braces[1], " as ", ":") if braces else ()
            rest = re.sub(r"\{[^{}]*\}", "", clause).replace("* as", "").strip(" ,\n\t*")
            alias = rest.split(",")[0].strip()
            yield Import((target, *(stem + end for end in _JS_ENDS)), (*names, alias) if names and alias else names,
                         alias, exact)  # fmt: skip


_JAVA = re.compile(r"^[ \t]*import[ \t]+(static[ \t]+)?([\w.]{1,300}\w)(\.\*)?", re.M)


def _java(text: str, folder: str) -> Iterator[Import]:
    for match in _JAVA.finditer(text):
        path = match[2].strip(".").replace(".", "/")
        if match[3] and not match[1]:
            yield Import((path,), folder=True)
            continue
        of_class, _, name = path.rpartition("/")
        files = tuple(path + end for end in (".java", ".kt"))
        outer = tuple(of_class + end for end in (".java", ".kt"))
        yield Import((*files, *outer) if not match[1] else outer, (name,) if not match[3] else ())


_GO_BLOCK = re.compile(r"^import[ \t]*(?:\(([^)]{0,4000}+)\)|([^\n(]{1,300}))", re.M)
_GO_ONE = re.compile(r"(?:([\w.]+)[ \t]+)?[\"`]([^\"`\n]{1,300})[\"`]")


def _go(text: str, folder: str) -> Iterator[Import]:
    for block in _GO_BLOCK.finditer(text):
        for match in _GO_ONE.finditer(block[1] or block[2]):
            parts = [part for part in match[2].split("/") if part]
            if len(parts) < 2:
                continue  # of the standard library
            # The module's name comes first and is not a folder: drop parts until folders match, at least two of them.
            tails = ["/".join(parts[n:]) for n in range(len(parts) - 1)]
            yield Import((*tails, parts[-1]), alias=match[1] or parts[-1], folder=True)


_RUST_USE = re.compile(r"^[ \t]*(?:pub(?:\([^)\n]{0,80}+\))?[ \t]+)?use[ \t]++([^;]{1,2000}+);", re.M)
_RUST_MOD = re.compile(r"^[ \t]*(?:pub(?:\([^)\n]{0,80}+\))?[ \t]+)?mod[ \t]+(\w+);", re.M)


def _rust(text: str, folder: str) -> Iterator[Import]:
    for match in _RUST_MOD.finditer(text):
        start = posixpath.join(folder, match[1])
        yield Import((f"{start}.rs", f"{start}/mod.rs"), alias=match[1], exact=True)
    for match in _RUST_USE.finditer(text):
        head, _, group = match[1].partition("{")
        parts = [part for part in re.findall(r"\w+", head.split(" as ")[0]) if part not in ("crate", "self")]
        names = _names(group.rstrip("} \n"), " as ") if group else tuple(parts[-1:])
        parts = parts if group else parts[:-1]
        n_up = sum(part == "super" for part in parts)
        parts = [part for part in parts if part != "super"]
        if not parts:
            base = _up(folder, n_up - 1) if n_up else None
            parts = [part for part in (base or "").split("/") if part]
        files = [f"{'/'.join(parts[i:])}{end}" for i in range(len(parts)) for end in (".rs", "/mod.rs", "/lib.rs")]
        yield Import(tuple(files), names)


_INCLUDE = re.compile(r"^[ \t]*#[ \t]*include[ \t]*[\"<]([^\">\n]{1,200})[\">]", re.M)


def _c(text: str, folder: str) -> Iterator[Import]:
    for match in _INCLUDE.finditer(text):
        if "/" in match[1] or not match[0].rstrip().endswith(">"):
            yield Import((posixpath.normpath(posixpath.join(folder, match[1])), match[1].lstrip("./")))


_REQUIRE = re.compile(r"^[ \t]*require(_relative)?[ \t(]+['\"]([^'\"\n]{1,200})['\"]", re.M)


def _ruby(text: str, folder: str) -> Iterator[Import]:
    for match in _REQUIRE.finditer(text):
        name = match[2].removesuffix(".rb") + ".rb"
        path = posixpath.normpath(posixpath.join(folder, name)) if match[1] else name
        yield Import((path,), exact=bool(match[1]))


_PHP_USE = re.compile(r"^[ \t]*use[ \t]+(?:function[ \t]+)?([\w\\]{3,200})", re.M)


def _php(text: str, folder: str) -> Iterator[Import]:
    for match in _PHP_USE.finditer(text):
        parts = match[1].strip("\\").split("\\")
        yield Import(tuple("/".join(parts[n:]) + ".php" for n in range(len(parts))), (parts[-1],))


_USING = re.compile(r"^[ \t]*using[ \t]+(?:static[ \t]+)?([\w.]{2,200})[ \t]*;", re.M)


def _csharp(text: str, folder: str) -> Iterator[Import]:
    """Read C#: a namespace is often a folder."""
    for match in _USING.finditer(text):
        parts = match[1].split(".")
        if parts[0] != "System":
            yield Import(tuple("/".join(parts[n:]) for n in range(len(parts))), folder=True)


READERS: dict[str, Callable[[str, str], Iterator[Import]]] = {
    "python": _python, "javascript": _javascript, "java": _java, "go": _go, "rust": _rust, "c": _c, "ruby": _ruby,
    "php": _php, "csharp": _csharp,
}  # fmt: skip


def _names(text: str, *renaming: str) -> tuple[str, ...]:
    """Return the names of a list, as they are called in the module they come from."""
    found: list[str] = []
    for part in text.strip("() \n\t{};").split(",")[:MAX_NAMES]:
        for mark in renaming:
            part = part.split(mark)[0]
        name = part.replace("type ", "").strip()
        if re.fullmatch(r"[\w$]+", name):
            found.append(name)
    return tuple(found)


def _up(folder: str, n: int) -> str | None:
    """Return the folder ``n`` levels above; None above the workspace's own."""
    parts = folder.split("/") if folder else []
    return "/".join(parts[: len(parts) - n]) if n <= len(parts) else None
