"""Which language a line of code is in: patterns that few languages allow at the beginning of a line.

Each row is a pattern and the languages that have such lines, the likeliest first. A row with too few languages accuses
correct code; a row with too many only misses wrong code. So doubtful languages are included.
"""

from __future__ import annotations

import functools
import re

from midfill.syntax import languages

_JS = "javascript typescript javascriptreact typescriptreact"
_WEB = f"{_JS} vue svelte html"  # with scripts inside
_C = "c cpp objective-c objective-cpp"
_SHELL = "shellscript makefile dockerfile yaml fish"  # with commands inside
_MARKUP = f"html xml vue svelte php {_JS} markdown restructuredtext"
_LISP = "clojure lisp elisp scheme racket"
_HASH = (  # a "#" begins a comment
    "python ruby shellscript perl r julia elixir yaml toml makefile cmake dockerfile graphql nix powershell fish "
    "terraform ini php just nginx git-commit"
)
_BRACED = (  # conditions in round and blocks in curly brackets
    f"{_WEB} {_C} java csharp php kotlin go rust swift dart scala groovy perl r solidity zig powershell css scss less"
)

_ROWS = (
    # Python
    (r"(async )?def \w+\(.*\)\s*(->.+)?:\s*$", "python"),
    (r"class \w+(\(.*\))?:\s*$", "python"),
    (r"from [\w.]+ import ", "python"),
    (r"import (re|sys|json|numpy|pandas|random|datetime|time|argparse|logging|typing|pytest)( as \w+)?\s*$", "python"),
    (r"import [\w.]+ as \w+\s*$", "python typescript haskell kotlin scala groovy swift dart"),
    (r"import [\w.]+\s*$",
     f"python java kotlin swift haskell scala elm groovy julia elixir fsharp lisp {_JS} vue svelte"),
    (r"for \w+(, ?\w+)* in [^;{]+:\s*$", "python"),
    (r"(elif|except)\b.*:\s*$", "python"),
    (r"if __name__ ==", "python"),
    (r"(if|while) [^({:;]+:\s*$", "python yaml restructuredtext plaintext markdown"),
    (r"print\(f['\"]", "python"),
    (r"self\.\w+ = ", "python ruby rust swift lua scala"),
    (r"(\"\"\"|''')", "python julia kotlin java scala swift groovy elixir graphql dart csharp toml"),
    (r"@(staticmethod|classmethod|dataclass|pytest\.)", "python"),
    # JavaScript and TypeScript
    (r"function \w+\(.*\)\s*\{", f"{_WEB} php shellscript solidity powershell markdown"),
    (r"function \w+\([^)]*\)\s*$", f"lua julia {_WEB} php vim solidity fish cmake"),
    (r"export (default|const|class|function|interface|type|async|enum|abstract)\b", _WEB),
    (r"const \w+ = ", f"{_WEB} go php rust zig julia dart"),
    (r"const \{.*\} = ", _WEB),
    (r"let \w+( ?: ?\w+)? = ", f"{_WEB} rust swift ocaml fsharp haskell elm vim"),
    (r"var \w+ = ", f"{_WEB} swift kotlin csharp java dart scala go zig groovy solidity php"),
    (r"console\.(log|error|warn)\(", _WEB),
    (r"(module\.)?exports(\.\w+)? = ", _WEB),
    (r"import (.* from )?['\"].*['\"];?\s*$", f"{_WEB} go dart solidity css scss protobuf d groovy"),
    (r"import (\w+|\{.*\}|\* as \w+)(, \{.*\})? from ", _WEB),
    (r"(const|var|let) .*require\(", _WEB),
    (r"async function ", _WEB),
    # Java, C#, Kotlin, Scala
    (r"package [\w.]+;\s*$", "java groovy protobuf perl"),
    (r"package \w+\s*$", "go kotlin scala groovy"),
    (r"package [\w.]+\s*$", "kotlin scala groovy go java"),
    (r"import (static )?(java|javax|org|com)\.[\w.*]+;", "java groovy"),
    (r"(public|private|protected) (static |final |abstract )*(class|interface|enum|void|int|boolean|String|double)\b",
     f"java csharp groovy php kotlin scala swift {_JS} dart"),
    (r"public (static )?[\w<>\[\]]+ \w+\(.*\)( \{)?\s*$", "java csharp groovy php"),
    (r"(public|private|protected|internal) \w+",
     f"java csharp kotlin scala swift groovy php {_JS} cpp dart solidity sql ruby"),
    (r"System\.out\.print", "java groovy kotlin scala"),
    (r"@Override\s*$", "java groovy kotlin"),
    (r"using [A-Z]\w*(\.\w+)*;\s*$", "csharp"),
    (r"using System\b", "csharp powershell"),
    (r"Console\.(Write|Read)", "csharp powershell fsharp"),
    (r"namespace [\w.]+;?\s*$", "csharp php cpp typescript thrift"),
    (r"((private|override|suspend|inline|internal|public|open) )*fun (\w+\.)?\w+\s*\(", "kotlin vim"),
    (r"(data|sealed) class ", "kotlin csharp"),
    (r"val \w+( ?: ?[\w<>?]+)? = ", "kotlin scala ocaml"),
    (r"case class ", "scala"),
    (r"object \w+( extends \w+)?\s*\{", "scala kotlin"),
    # C and C++
    (r"#\s*include\s*[<\"]", f"{_C} asm swift solidity"),
    (r"#\s*(define|ifdef|ifndef|pragma|undef)\b", f"{_C} csharp swift haskell asm solidity"),
    (r"using namespace \w", "cpp objective-cpp powershell csharp"),
    (r"(using )?std::(cout|string|vector|endl|map|unique_ptr|shared_ptr|cin)\b", "cpp objective-cpp"),
    (r"template ?<(?!<)", "cpp objective-cpp"),
    (r"int main\(", f"{_C} dart"),
    (r"(static |const |unsigned )*(int|char|float|double|void|bool|size_t) \*?\w+\(.*\)\s*[{;]?\s*$",
     f"{_C} java csharp dart groovy"),
    (r"(int|char|float|long|unsigned|size_t) \*?\w+(\[.*\])?( = [^:]+)?;\s*$",
     f"{_C} java csharp dart groovy protobuf"),
    (r"typedef ", f"{_C} dart"),
    # Go
    (r"func (\(\w+ \*?\w+\) )?\w+\(", "go swift vim"),
    (r"func \(\w+ \*?\w+\) ", "go"),
    (r"import \(\s*$", "go scala"),
    (r"type \w+ (struct|interface|func)\b", "go"),
    (r"fmt\.(Print|Sprint|Fprint|Errorf|Scan)", "go"),
    (r"if err (:=|!=) .*\{\s*$", "go"),
    (r"\w+(, \w+)* := ", "go makefile sql just"),
    # Rust
    (r"(pub(\(\w+\))? )?(async |unsafe |const )*fn \w+\s*[(<]", "rust zig"),
    (r"pub (struct|enum|mod|use|trait|type|fn|const|static)\b", "rust zig"),
    (r"use (std|crate|super|self|serde|tokio)::", "rust"),
    (r"use \w+::", "rust perl"),
    (r"impl(<.*>)? [\w<>:]+( for [\w<>:]+)?\s*\{?\s*$", "rust"),
    (r"#!?\[\w+(\(.*\))?\]\s*$", "rust csharp php"),
    (r"let mut ", "rust"),
    (r"println!\(", "rust"),
    # Ruby, Lua, Elixir, shell: blocks that end in words
    (r"def (self\.)?\w+[?!]?(\([^)]*\))?\s*$", "ruby python scala groovy elixir vim"),
    (r"class [A-Z]\w*(\s*<\s*[A-Z][\w:]*)\s*$", "ruby"),
    (r"module [A-Z][\w:]*\s*$", "ruby haskell elm fsharp ocaml julia"),
    (r"require(_relative)? ['\"][^'\"]*['\"]\s*$", "ruby lua perl"),
    (r"attr_(reader|accessor|writer) ", "ruby"),
    (r"end\s*$", "ruby lua julia elixir shellscript fish makefile powershell erlang sql ocaml vim rust kotlin scala"),
    (r".*\bdo \|[\w, ]+\|\s*$", "ruby"),
    (r"local function ", "lua"),
    (r"local \w+(, \w+)* = ", "lua"),
    (r"function [\w]+[.:]\w+\(", "lua vim powershell"),
    (r"(if|elseif) .* then\s*$", "lua shellscript sql ruby ocaml fsharp haskell fish vim makefile yaml dockerfile"),
    (r"defmodule ", "elixir"),
    (r"(def|defp) .* do\s*$", "elixir"),
    (r"(fi|esac|done)\s*(;.*)?$", _SHELL),
    (r"if \[\[? .* \]\]?; then", _SHELL),
    (r"for \w+ in .*; do\s*$", _SHELL),
    (r"while .*; do\s*$", _SHELL),
    (r"set -[eux]+\b", _SHELL),
    (r"echo ['\"$]", f"{_SHELL} php bat powershell vim just ruby markdown"),
    # PHP, Perl
    (r"<\?php", "php html markdown"),
    (r"\$\w+ = .*;\s*$", f"php perl scss powershell {_JS}"),
    (r"\$\w+->\w+", "php perl powershell"),
    (r"my [$@%]\w+", "perl"),
    (r"use (strict|warnings);", "perl"),
    (r"sub \w+ \{", "perl"),
    # Blocks in curly brackets, in files that have none
    (r"(if|while|for|switch) ?\(.*\) ?\{\s*$", _BRACED),
    (r"\}? ?else( if .*)? \{\s*$", f"{_BRACED} tcl fish"),
    (r"(class|struct|interface|enum) \w+.*\{\s*$",
     f"{_BRACED} protobuf graphql elm fish julia haskell ocaml fsharp nix"),
    # Markup, styles, data
    (r"<!DOCTYPE\b", "html xml vue svelte php ini"),
    (r"<(html|head|body|div|ul|ol|li|p|span|table|form|script|style|template|h[1-6])\b[^<]*>", _MARKUP),
    (r"<\?xml", "xml html php ini"),
    (r"(?!#(?:define|if|pragma))([.#][a-z][\w-]*|body|html|h1|:root|a:hover|\*)"
     r"( [.#>+~]?\s?[\w-]+)*(, ?[.#]?\w[\w-]*)* \{\s*$",
     "css scss less html vue svelte php markdown kotlin scala swift groovy"),
    (r"(margin|padding|display|font-\w+|background(-color)?|text-align|border-radius|color|width|height): "
     r"(-?[\d.]+(px|em|rem|%|vh)?|block|flex|none|grid|inline-block|center|#[0-9a-fA-F]{3,8}|auto|bold)\b[^,]*;",
     f"css scss less sass html vue svelte php {_JS} markdown"),
    (r"- \w+: ", "yaml markdown restructuredtext plaintext asciidoc elixir haskell"),
    (r"```", "markdown asciidoc restructuredtext"),
    (r"#{2,6} \w", f"markdown {_HASH}"),
    (r"\\(begin|section|documentclass|usepackage|subsection)\b", "latex markdown restructuredtext r"),
    (r"(SELECT|INSERT INTO|CREATE (TABLE|VIEW|INDEX|DATABASE|OR REPLACE)|DELETE FROM|ALTER TABLE|DROP TABLE)\b", "sql"),
    (r"(FROM [\w./-]+:[\w.-]+|RUN (apt|pip|npm|apk|mkdir|go|yarn)\b|WORKDIR /|ENTRYPOINT \[|CMD \[|EXPOSE \d)",
     "dockerfile"),
    (r"\.PHONY\s*:", "makefile"),
    (r"\$\((CC|CFLAGS|OBJS|TARGET|LDFLAGS|MAKE)\)", "makefile shellscript"),
    (r"(cmake_minimum_required|add_executable|target_link_libraries|add_library)\s*\(", "cmake"),
    # Functional and other languages
    (r"module [A-Z][\w.]*(\s*\(.*\))? where", "haskell elm"),
    (r"\w+ :: .*->", "haskell"),
    (r"let (rec )?\w+( \w+)* =\s*$", f"ocaml fsharp rust swift haskell elm nix {_WEB}"),
    (r"\((defun|defn|defvar|defmacro|ns|setq|require|define)\b", _LISP),
    (r"\w+ <- function\(", "r"),
    (r"library\(\w+\)\s*$", "r"),
    (r"import (UIKit|SwiftUI|Foundation)\b", "swift"),
    (r"syntax = ['\"]proto[23]", "protobuf"),
    (r"(resource|provider|variable|terraform) (\"\w+\" )*\{", "terraform"),
    (r"(contract|library) \w+( is [\w, ]+)? \{", "solidity"),
    (r"pragma solidity", "solidity"),
)  # fmt: skip

TELLTALES = tuple((re.compile(rf"[ \t]*(?:{pattern})"), tuple(names.split())) for pattern, names in _ROWS)
# Languages that the rows know. In any other language, every line would seem to be in another one.
KNOWN = frozenset(name for _, names in TELLTALES for name in names) | {"json", "jsonc"}
MAX_LINE = 400  # characters of a line that are read


def is_comment(line: str, language: str) -> bool:
    """Whether the line is one of the language's own comments. ``#include`` is not one."""
    opening, bare = languages.of(language).comment[0], line.strip()
    if not opening or not bare.startswith(opening):
        return False
    return opening != "#" or re.match(r"#(include|define|ifdef|ifndef|pragma|!\[|\[)|#{2,}", bare) is None


@functools.lru_cache(maxsize=1024)
def told(line: str, language: str, start: int = 0) -> str:
    """Return the language that ``line`` surely is in instead of ``language``; "" if it may be right.

    Only matches that reach past ``start`` count: the text before it was already there.
    """
    for pattern, names in TELLTALES:
        if language not in names and (found := pattern.match(line[:MAX_LINE])) is not None and found.end() > start:
            return names[0]
    return ""
