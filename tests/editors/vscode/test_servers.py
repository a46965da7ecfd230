"""VS Code's own TypeScript server beside midfill's: the model writes a name that only that server knows, and no
argument that it denies."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.editors import engine
from tests.editors.tools import server

from .conftest import SCRIPTED_SETTINGS, environment, scripted_program, with_embedded_model
from .workbench import opened, until

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# A package that midfill reads nothing of, with a member whose name nobody would guess.
MEMBER = "zorbulateQuux"
PACKAGE = {
    "node_modules/shop/package.json": '{"name": "shop", "version": "1.0.0", "types": "index.d.ts"}',
    "node_modules/shop/index.d.ts": f"export interface Basket {{ {MEMBER}(): number }}\n"
    "export function openBasket(): Basket;\nexport function weigh(basket: Basket): number;\n",
}
SETTINGS = """
adapter = "none"
disabled_knowledge = ["index"]
disabled_rules = ["confidence"]
"""
TEXT = """import { openBasket } from "shop";

export function total(): number {
  const basket = openBasket();
  return basket
}
"""
USER = {"editor.suggestOnTriggerCharacters": False, "editor.quickSuggestions": False}


def tsdk() -> dict[str, Any]:
    return {"typescript.tsdk": str(Path(server("typescript/lib/tsserver.js")).parent)}


def test_typescripts_server_knows_what_a_package_takes(browser: Browser, vsix: Path, tmp_path: Path) -> None:
    config = tmp_path / "m-config" / "config.toml"
    config.parent.mkdir()
    config.write_text('disabled_knowledge = ["index"]\ndisabled_rules = ["confidence"]\n')
    settings = {**SCRIPTED_SETTINGS, **tsdk(), "midfill.path": str(scripted_program(tmp_path))}
    text = TEXT.replace("{ openBasket }", "{ openBasket, weigh }").replace("return basket", "return weigh")
    files = {**PACKAGE, "s.ts": text}
    user = {**USER, **tsdk()}
    with opened(browser, tmp_path, files, vsix, settings, environment(tmp_path), "s.ts", user=user) as bench:
        bench.wait_status("codicon-check")
        bench.script("basket", ", 7")
        bench.focus()
        bench.press("ArrowUp", "ArrowUp", "End")
        said: list[dict[str, Any]] = []
        for _ in range(20):  # a server that still reads its libraries says nothing
            bench.type("(")
            with contextlib.suppress(AssertionError):
                said = until(lambda: [one["params"] for one in bench.wire("midfill/signatures")], bool, bench, 5)
                break
            bench.press("Escape", "Backspace", "Escape")
        assert [one["label"] for one in said[0]["signatures"]] == ["weigh(basket: Basket): number"]
        bench.type(" ")
        bench.wait_seen("basket")  # not the number, which it does not take


@pytest.mark.model
def test_typescripts_server_knows_a_package(
    browser: Browser, vsix: Path, tmp_path: Path, embedded_folder: Path
) -> None:
    env = with_embedded_model(tmp_path, SETTINGS)
    files = {**PACKAGE, "s.ts": TEXT}
    settings, user = {**SCRIPTED_SETTINGS, **tsdk()}, {**USER, **tsdk()}
    with opened(browser, tmp_path, files, vsix, settings, env, "s.ts", user=user) as bench:
        bench.wait_status("codicon-check", patience_s=engine.LOAD_S)
        bench.focus()
        bench.press("ArrowUp", "ArrowUp", "End")

        ghost = ""
        for _ in range(20):  # a server that still reads its libraries names nothing
            bench.type(".")
            with contextlib.suppress(AssertionError):
                ghost = until(bench.ghost, lambda ghost: ghost.startswith(MEMBER), bench, 15)
                break
            bench.press("Escape", "Backspace", "Escape")
        bench.shot("typescript-names")
        assert ghost
