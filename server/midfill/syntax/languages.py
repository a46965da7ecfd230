"""Every language that midfill knows: one row of a table for each, by its LSP language id.

Clients disagree about ids (``js``, ``c++``, ``sh``), so every id is made canonical once, when a document is opened
(``canonical``). If an id means nothing, the file's name decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Language:
    """One language.

    ``endings`` are those of its files, the usual one first; ``files`` are whole file names, the usual one first.
    ``grammar`` is its name in tree-sitter-language-pack, "" if that has none. ``comment`` is what begins and ends a
    comment of one line. ``indexed``: context is gathered from its files.
    """

    id: str
    endings: tuple[str, ...] = ()
    grammar: str = ""
    comment: tuple[str, str] = ("", "")
    aliases: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    indexed: bool = False
    prose: bool = False  # written for humans: rules about brackets or statements do not apply


def _language(
    id: str, endings: str = "", grammar: str = "", comment: str = "", aliases: str = "", files: str = "",
    *, indexed: bool = False, prose: bool = False,
) -> Language:  # fmt: skip
    start, _, end = comment.partition(" ")
    return Language(
        id, tuple(endings.split()), grammar, (start, end), tuple(aliases.split()), tuple(files.split()), indexed, prose
    )


_TABLE = (
    _language("python", ".py .pyi .pyw", "python", "#", "py python3", "SConstruct SConscript wscript", indexed=True),
    _language("javascript", ".js .mjs .cjs", "javascript", "//", "js ecmascript node", indexed=True),
    _language("javascriptreact", ".jsx", "javascript", "//", "jsx javascript.jsx", indexed=True),
    _language("typescript", ".ts .mts .cts", "typescript", "//", "ts", indexed=True),
    _language("typescriptreact", ".tsx", "tsx", "//", "tsx typescript.tsx", indexed=True),
    _language("java", ".java", "java", "//", indexed=True),
    _language("go", ".go", "go", "//", "golang", indexed=True),
    _language("rust", ".rs", "rust", "//", "rs", indexed=True),
    _language("c", ".c .h", "c", "//", indexed=True),
    _language("cpp", ".cpp .cc .cxx .hpp .hh .hxx .ipp .inl", "cpp", "//", "c++ cc cxx", indexed=True),
    _language("csharp", ".cs .csx", "csharp", "//", "c# cs c-sharp", indexed=True),
    _language("ruby", ".rb .rake .gemspec .ru", "ruby", "#", "rb", "Gemfile Rakefile Vagrantfile", indexed=True),
    _language("php", ".php .phtml", "php", "//", "php3", indexed=True),
    _language("kotlin", ".kt .kts", "kotlin", "//", "kt", indexed=True),
    _language("lua", ".lua", "lua", "--", "luau", indexed=True),
    _language(
        "shellscript", ".sh .bash .zsh .ksh .bats", "bash", "#", "sh bash zsh ksh shell shell-script",
        ".bashrc .bash_profile .zshrc .profile PKGBUILD", indexed=True,
    ),
    _language("objective-c", ".m", "objc", "//", "objc objectivec obj-c"),
    _language("objective-cpp", ".mm", "objc", "//", "objcpp objectivecpp objective-c++"),
    _language("cuda-cpp", ".cu .cuh", "cuda", "//", "cuda"),
    _language("swift", ".swift", "swift", "//"),
    _language("scala", ".scala .sc .sbt", "scala", "//"),
    _language("dart", ".dart", "dart", "//"),
    _language("groovy", ".groovy .gradle", "groovy", "//", "", "Jenkinsfile"),
    _language("zig", ".zig", "zig", "//"),
    _language("solidity", ".sol", "solidity", "//"),
    _language("protobuf", ".proto", "proto", "//", "proto proto3"),
    _language("graphql", ".graphql .gql", "graphql", "#"),
    _language("perl", ".pl .pm .t", "perl", "#", "perl5"),
    _language("r", ".r", "r", "#", "rscript"),
    _language("julia", ".jl", "julia", "#"),
    _language("elixir", ".ex .exs", "elixir", "#"),
    _language("erlang", ".erl .hrl", "erlang", "%"),
    _language("haskell", ".hs", "haskell", "--"),
    _language("elm", ".elm", "elm", "--"),
    _language("ocaml", ".ml", "ocaml", "(* *)"),
    _language("fsharp", ".fs .fsx .fsi", "fsharp", "//", "f#"),
    _language("clojure", ".clj .cljs .cljc .edn", "clojure", ";"),
    _language("lisp", ".lisp .lsp .cl", "commonlisp", ";", "commonlisp common-lisp"),
    _language("elisp", ".el", "elisp", ";", "emacs-lisp"),
    _language("scheme", ".scm .ss", "scheme", ";"),
    _language("racket", ".rkt", "racket", ";"),
    _language("nix", ".nix", "nix", "#"),
    _language("powershell", ".ps1 .psm1 .psd1", "powershell", "#", "ps1 pwsh"),
    _language("fish", ".fish", "fish", "#"),
    _language("bat", ".bat .cmd", "", "REM", "batch dosbatch"),
    _language("vim", ".vim", "vim", '"', "viml vimscript", ".vimrc vimrc"),
    _language("sql", ".sql .psql .ddl", "sql", "--", "mysql pgsql postgres plsql tsql sqlite"),
    _language("html", ".html .htm .xhtml", "html", "<!-- -->", "htm"),
    _language("xml", ".xml .xsd .xsl .svg", "xml", "<!-- -->", "svg xsl"),
    _language("vue", ".vue", "vue", "<!-- -->", "vue-html"),
    _language("svelte", ".svelte", "svelte", "<!-- -->"),
    _language("css", ".css", "css", "/* */"),
    _language("scss", ".scss", "scss", "//"),
    _language("sass", ".sass", "", "//"),
    _language("less", ".less", "", "//"),
    _language("json", ".json .webmanifest", "json", "", "", ".babelrc .eslintrc"),
    _language("jsonc", ".jsonc .json5 .code-workspace", "json", "//", "json5 jsonwithcomments"),
    _language("yaml", ".yaml .yml", "yaml", "#", "yml docker-compose dockercompose github-actions-workflow"),
    _language("toml", ".toml", "toml", "#", "", "Cargo.lock poetry.lock Pipfile"),
    _language("ini", ".ini .cfg .conf .properties", "ini", "#", "properties dosini cfg conf", ".editorconfig"),
    _language("terraform", ".tf .tfvars .hcl", "terraform", "#", "hcl terraform-vars"),
    _language("nginx", "", "", "#", "nginx-conf", "nginx.conf"),
    _language("makefile", ".mk .mak", "make", "#", "make gnumakefile", "Makefile makefile GNUmakefile"),
    _language("cmake", ".cmake", "cmake", "#", "", "CMakeLists.txt"),
    _language("dockerfile", ".dockerfile", "dockerfile", "#", "docker containerfile", "Dockerfile Containerfile"),
    _language("just", ".just", "", "#", "", "justfile Justfile"),
    _language("asm", ".s .asm", "asm", "#", "assembly nasm gas"),
    _language("latex", ".tex .sty .cls", "latex", "%", "tex plaintex", prose=True),
    _language("bibtex", ".bib", "bibtex", "%", prose=True),
    _language("markdown", ".md .markdown .mdx", "markdown", "<!-- -->", "md gfm mdx pandoc", prose=True),
    _language("restructuredtext", ".rst", "rst", "..", "rst", prose=True),
    _language("asciidoc", ".adoc .asciidoc", "", "//", "adoc", prose=True),
    _language("plaintext", ".txt .text", "", "", "text txt plain", "LICENSE COPYING AUTHORS", prose=True),
    _language("git-commit", "", "gitcommit", "#", "gitcommit scminput", "COMMIT_EDITMSG MERGE_MSG", prose=True),
    _language("git-rebase", "", "", "#", "gitrebase", "git-rebase-todo", prose=True),
    _language("diff", ".diff .patch", "", "", "patch", prose=True),
)  # fmt: skip

# Names that several languages share: headers, and languages that only a setting of the editor tells apart.
_HEADERS = frozenset({"c", "cpp", "objective-c", "objective-cpp", "cuda-cpp"})
_SHARING = (
    frozenset({"javascript", "javascriptreact"}),
    frozenset({"json", "jsonc"}),
    frozenset({"ini", "nginx"}),  # *.conf
    frozenset({"scheme", "racket"}),
)
_CONTAINERS = (".ipynb", ".interactive")  # the cells of a notebook have a language, and its file has another ending

LANGUAGES = MappingProxyType({language.id: language for language in _TABLE})
UNKNOWN = Language("")

_BY_ALIAS = {alias: language.id for language in _TABLE for alias in (language.id, *language.aliases)}
_BY_ENDING = {ending: language.id for language in _TABLE for ending in language.endings}
_BY_FILE = {name: language.id for language in _TABLE for name in language.files}
_INTERPRETERS = {
    "node": "javascript",
    "deno": "typescript",
    "python": "python",
    "sh": "shellscript",
    "dash": "shellscript",
}


def of(language_id: str) -> Language:
    """Return the row of a canonical id; one without any properties if the id is unknown."""
    return LANGUAGES.get(language_id, UNKNOWN)


def canonical(language_id: str, path: str = "", first_line: str = "") -> str:
    """Return the id used everywhere: that of an alias, else of the file's name or its ``#!`` line, else ``language_id``
    itself.

    Some clients say "plaintext" for every language that they do not know; then the name decides, if it says more.
    """
    wanted = language_id.strip().lower()
    known = _BY_ALIAS.get(wanted, "")
    if known and known != "plaintext":
        return known
    return of_path(path) or of_shebang(first_line) or known or wanted


def of_path(path: str) -> str:
    """Return the id that a file's name means; "" if it is unknown."""
    pure = PurePosixPath(path.replace("\\", "/"))
    if (named := _BY_FILE.get(pure.name)) is not None:
        return named
    if pure.name.startswith(("Dockerfile.", "Containerfile.", "Makefile.")):
        return _BY_FILE[pure.name.partition(".")[0]]
    return _BY_ENDING.get(pure.suffix.lower(), "")


def of_shebang(first_line: str) -> str:
    """Return the id of the interpreter that a ``#!`` line names; "" if there is none."""
    if not first_line.startswith("#!"):
        return ""
    words = first_line[2:].split()
    names = [PurePosixPath(word).name for word in words if not word.startswith("-")]
    name = names[1] if len(names) > 1 and names[0] == "env" else names[0] if names else ""
    name = name.rstrip("0123456789.")
    return _INTERPRETERS.get(name) or _BY_ALIAS.get(name, "")


def indexed(path: str) -> str:
    """Return the id of a file that context is gathered from; "" for any other file."""
    found = of_path(path)
    return found if of(found).indexed else ""


def file_name(language_id: str, stem: str = "untitled") -> str:
    """Return a name for a document that has none: ``untitled.rs``, ``Makefile``; only the stem if the language is
    unknown."""
    language = of(language_id)
    if language.endings:
        return stem + language.endings[0]
    return language.files[0] if language.files else stem


def comment(language_id: str, text: str) -> str:
    """Return ``text`` as a comment on a line of its own; "" if the language has no comments."""
    start, end = of(language_id).comment
    return f"{start} {text}{' ' + end if end else ''}\n" if start and text else ""


_TITLES = {
    "cpp": "C++", "csharp": "C#", "fsharp": "F#", "javascript": "JavaScript", "javascriptreact": "JavaScript",
    "typescript": "TypeScript", "typescriptreact": "TypeScript", "php": "PHP", "html": "HTML", "css": "CSS",
    "scss": "SCSS", "sql": "SQL", "json": "JSON", "yaml": "YAML", "toml": "TOML", "xml": "XML", "shellscript": "Shell",
    "latex": "LaTeX", "cmake": "CMake", "graphql": "GraphQL", "objective-c": "Objective-C", "ocaml": "OCaml",
    "powershell": "PowerShell",
}  # fmt: skip


def title(language_id: str) -> str:
    """Return the language's name as people write it."""
    return _TITLES.get(language_id) or language_id.replace("-", " ").title() or "Text"


def display_name(language_id: str) -> str:
    """Return the language's name as editors show it to users."""
    return title(language_id) + (" JSX" if language_id in ("javascriptreact", "typescriptreact") else "")


def shown_path(path: str, language_id: str) -> str:
    """Return ``path`` as the model sees it: its name shows the document's language, whatever the file is called.

    A name of another language gets this language's ending instead (``a.txt`` in Rust becomes ``a.rs``); a name of no
    language gets the ending appended (``run-1.2`` becomes ``run-1.2.sh``). An empty name becomes ``untitled``.
    """
    language, pure = of(language_id), PurePosixPath(path.replace("\\", "/"))
    if not pure.name:
        return file_name(language_id)
    said = of_path(path)
    if language is UNKNOWN or language_id == "plaintext" or pure.suffix.lower() in _CONTAINERS:
        return path
    if _may_share(said or of_path(pure.stem), language_id, pure.suffix.lower()):  # also a.py.in
        return path
    if not language.endings:
        return str(pure.with_name(file_name(language_id)))
    stem = pure.stem if said and pure.suffix else pure.name
    return str(pure.with_name(stem + language.endings[0]))


def _may_share(said: str, language_id: str, ending: str) -> bool:
    """Whether a file with the name of one language may also be in the other."""
    if said == language_id or (ending == ".h" and language_id in _HEADERS):
        return True
    return any(said in family and language_id in family for family in _SHARING)
