"""Real language servers beside midfill's in one buffer: the model writes a name that only they know."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.editors import engine
from tests.editors.nvim.conftest import Start
from tests.editors.nvim.editor import Neovim
from tests.editors.tools import node, server
from tests.editors.wire import until

# What no index of midfill's reads: a library outside of the workspace, and one below node_modules. Nobody would guess
# the member's name.
MEMBER = "zorbulate_quux"
PYTHON = f"class Basket:\n    def {MEMBER}(self) -> int: ...\n\n\ndef open_basket() -> Basket: ...\n"
SCRIPT = f"export interface Basket {{ {MEMBER}(): number }}\nexport function openBasket(): Basket;\n"
OTHER = """
vim.api.nvim_create_autocmd('FileType', { callback = function(args)
  local config = { name = 'other', cmd = COMMAND, settings = SETTINGS, init_options = OPTIONS }
  config.root_dir = vim.fn.getcwd()
  vim.lsp.start(config, { bufnr = args.buf })
end })
vim.lsp.config('midfill', { init_options = { disabledKnowledge = { 'jedi', 'index' } } })
"""


def setup(command: list[str], settings: str = "{}", options: str = "vim.empty_dict()") -> str:
    words = ", ".join(f"'{word}'" for word in command)
    return OTHER.replace("COMMAND", f"{{ {words} }}").replace("SETTINGS", settings).replace("OPTIONS", options)


@pytest.fixture
def editors(tmp_path: Path, embedded_folder: Path) -> Iterator[list[Neovim]]:
    started: list[Neovim] = []
    engine.configure(tmp_path)
    yield started
    for editor in started:
        said = editor.messages()
        editor.close()
        engine.end(editor.env)
        assert "Error" not in said, said


def type_behind_a_dot(editor: Neovim, name: str, text: str) -> str:
    """Open a file, type a dot, and return the ghost text behind it once it is a name that the other server said."""
    editor.open(text, name, engine.LOAD_S)
    until(lambda: editor.lua("return #vim.lsp.get_clients({ name = 'other', bufnr = 0 })"), lambda n: n == 1)

    def names() -> list[str]:
        told = [message["params"] for message in editor.wire.messages(method="midfill/names")]
        return [name.lstrip(".") for one in told for name in one["names"]]

    for _ in range(20):  # a server that still reads its libraries names nothing
        editor.keys(".")
        with contextlib.suppress(AssertionError):
            until(names, timeout_s=5)
            break
        editor.keys("<BS>")
    assert MEMBER in names()
    return until(editor.ghost, lambda ghost: ghost.startswith(MEMBER), timeout_s=engine.ANSWER_S)


# What pyright alone knows, again: that the constructor takes one thing, which has to be given by name.
TAKES = "class Basket:\n    def __init__(self, *, zorbulate_quux: int) -> None: ...\n"


def test_pyright_knows_what_a_library_takes(tmp_path: Path, start: Start) -> None:
    library = tmp_path / "library"
    library.mkdir()
    (library / "shop.pyi").write_text(TAKES)
    command = [node(), server("pyright/langserver.index.js"), "--stdio"]
    settings = f"{{ python = {{ analysis = {{ extraPaths = {{ '{library}' }} }} }} }}"
    editor = start(f"{MEMBER}=3", ", tax=4", setup=setup(command, settings))
    text = "from shop import Basket\n\n\ndef total():\n    basket = Basket‸\n"
    editor.open(text, "main.py")
    until(lambda: editor.lua("return #vim.lsp.get_clients({ name = 'other', bufnr = 0 })"), lambda n: n == 1)
    for _ in range(20):  # a server that still reads its libraries says nothing
        editor.keys("(")
        with contextlib.suppress(AssertionError):
            until(lambda: editor.wire.messages(method="midfill/signatures"), bool, timeout_s=5)
            break
        editor.keys("<BS>")
    (said, *_) = editor.wire.messages(method="midfill/signatures")
    assert MEMBER in said["params"]["signatures"][0]["label"]
    editor.keys(" ")
    editor.wait_ghost(f"{MEMBER}=3")  # without the argument that nothing takes
    story = editor.lua("return vim.lsp.get_clients({ name = 'midfill' })[1]:request_sync('midfill/explain', {}).result")
    assert story["trace"]["names"] | {"n": 1, "source": "client", "likelier": True} == story["trace"]["names"]
    assert "drop_unfit_arguments" in [rule for rule, _ in story["trace"]["rules"]]


@pytest.mark.model
def test_pyright_knows_a_library_outside_of_the_workspace(tmp_path: Path, editors: list[Neovim]) -> None:
    library = tmp_path / "library"
    library.mkdir()
    (library / "shop.pyi").write_text(PYTHON)
    command = [node(), server("pyright/langserver.index.js"), "--stdio"]
    settings = f"{{ python = {{ analysis = {{ extraPaths = {{ '{library}' }} }} }} }}"
    editors.append(Neovim(tmp_path, None, setup(command, settings)))
    text = "from shop import open_basket\n\n\ndef total():\n    basket = open_basket()\n    return basket‸\n"
    assert type_behind_a_dot(editors[0], "main.py", text)


@pytest.mark.model
def test_typescripts_own_server_knows_a_package(tmp_path: Path, editors: list[Neovim]) -> None:
    tsserver = server("typescript/lib/tsserver.js")
    command = [node(), server("typescript-language-server/lib/cli.mjs"), "--stdio"]
    options = f"{{ tsserver = {{ path = '{tsserver}' }} }}"
    editors.append(Neovim(tmp_path, None, setup(command, options=options)))
    package = editors[0].workspace / "node_modules" / "shop"
    package.mkdir(parents=True)
    (package / "package.json").write_text('{"name": "shop", "version": "1.0.0", "types": "index.d.ts"}')
    (package / "index.d.ts").write_text(SCRIPT)
    text = 'import { openBasket } from "shop";\n\nexport function total(): number {\n  const basket = openBasket();\n'
    text += "  return basket‸\n}\n"
    assert type_behind_a_dot(editors[0], "main.ts", text)
