"""The members that another language server of VS Code lists after a dot, and the parameters that it knows, reach
midfill's server, and the model keeps to them."""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser

from midfill.context.knowledge.store import SETTLE_S

from .conftest import SCRIPTED_SETTINGS, environment, scripted_program
from .workbench import CODE, NODE, opened, until

TEXT = "export function f(shop: Shop) {\n  return shop\n}\n"
# An extension that completes, as TypeScript's own would: members of a class behind a dot, and a word of the text.
MANIFEST = {
    "name": "other", "publisher": "test", "version": "1.0.0", "engines": {"vscode": "^1.90.0"},
    "main": "./main.js", "activationEvents": ["onLanguage:typescript"],
}  # fmt: skip
MAIN = """
const vscode = require('vscode');
const { CompletionItem, CompletionItemKind: Kind } = vscode;
exports.activate = ({ subscriptions }) => {
  const provideCompletionItems = () => [
    new CompletionItem('lines', Kind.Field), new CompletionItem({ label: 'price', detail: '()' }, Kind.Method),
    new CompletionItem('if', Kind.Keyword),
  ];
  const wrong = vscode.languages.createDiagnosticCollection('other');
  const range = new vscode.Range(1, 2, 1, 8);
  const found = [new vscode.Diagnostic(range, 'no such shop'), new vscode.Diagnostic(range, 'a hint', 3)];
  const show = () => {
    vscode.workspace.textDocuments.filter((one) => one.languageId === "typescript")
      .forEach(({ uri }) => wrong.set(uri, found));
  };
  setInterval(show, 2000);
  const signature = new vscode.SignatureInformation("find(at: number): void");
  signature.parameters = [new vscode.ParameterInformation([5, 15])];
  const provideSignatureHelp = () => ({ signatures: [signature], activeSignature: 0, activeParameter: 0 });
  const provideTypeDefinition = ({ uri }) => new vscode.Location(uri.with({ path: '/lib/shop.ts' }), range);
  const provideHover = () => new vscode.Hover(new vscode.MarkdownString('```typescript\\nclass Shop(a)\\n```'));
  subscriptions.push(wrong);
  subscriptions.push(vscode.languages.registerTypeDefinitionProvider("typescript", { provideTypeDefinition }));
  subscriptions.push(vscode.languages.registerHoverProvider("typescript", { provideHover }));
  subscriptions.push(vscode.languages.registerSignatureHelpProvider("typescript", { provideSignatureHelp }, "("));
  subscriptions.push(vscode.languages.registerCompletionItemProvider("typescript", { provideCompletionItems }, "."));
};
"""
PACKAGE = """<?xml version="1.0" encoding="utf-8"?>
<PackageManifest Version="2.0.0" xmlns="http://schemas.microsoft.com/developer/vsx-schema/2011">
<Metadata><Identity Language="en-US" Id="other" Version="1.0.0" Publisher="test"/><DisplayName>other</DisplayName>
<Description>other</Description></Metadata>
<Installation><InstallationTarget Id="Microsoft.VisualStudio.Code"/></Installation><Dependencies/>
<Assets><Asset Type="Microsoft.VisualStudio.Code.Manifest" Path="extension/package.json" Addressable="true"/></Assets>
</PackageManifest>
"""


def install_other(folder: Path) -> None:
    vsix = folder / "other.vsix"
    with zipfile.ZipFile(vsix, "w") as archive:
        archive.writestr("extension.vsixmanifest", PACKAGE)
        archive.writestr("extension/package.json", json.dumps(MANIFEST))
        archive.writestr("extension/main.js", MAIN)
    command = [
        str(NODE), str(CODE / "out" / "server-main.js"), "--accept-server-license-terms", "--server-data-dir",
        str(folder / "data"), "--user-data-dir", str(folder / "user"), "--extensions-dir", str(folder / "extensions"),
        "--install-extension", str(vsix),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=120, env={**os.environ, "HOME": str(folder)})


def test_what_another_extension_knows(browser: Browser, vsix: Path, tmp_path: Path) -> None:
    config = tmp_path / "m-config" / "config.toml"
    config.parent.mkdir()
    config.write_text('disabled_rules = ["confidence"]\ndisabled_context = []\n')
    settings: dict[str, Any] = {**SCRIPTED_SETTINGS, "midfill.path": str(scripted_program(tmp_path))}
    install_other(tmp_path)
    with opened(browser, tmp_path, {"s.ts": TEXT}, vsix, settings, environment(tmp_path), "s.ts") as bench:
        bench.wait_status("codicon-check")
        told_wrong = until(lambda: [one["params"]["diagnostics"] for one in bench.wire("midfill/diagnostics")], any)
        wrong = {(one["message"], one["severity"], one["range"]["start"]["line"]) for one in told_wrong[-1]}
        assert ("no such shop", 1, 1) in wrong
        assert "a hint" not in {message for message, _, _ in wrong}
        bench.page.wait_for_timeout(1000 * SETTLE_S)  # what is said of a document just opened is not all
        bench.focus()
        bench.press("ArrowUp", "ArrowUp", "End")
        bench.script("prise()")  # what the class lacks
        bench.type(".")

        def told() -> list[dict[str, Any]]:
            return [message["params"] for message in bench.wire("midfill/names")]

        (list_of_names, *_) = until(told, bool)
        assert {"lines", "price"} <= set(list_of_names["names"])
        assert "if" not in list_of_names["names"]
        assert list_of_names["position"] == {"line": 1, "character": 14}
        assert list_of_names["complete"] is True
        (name, *_) = until(lambda: [one["params"] for one in bench.wire("midfill/definitions")], bool)
        assert name["position"] == {"line": 1, "character": 9}
        (target,) = name["targets"]
        assert (target["uri"], target["range"]["start"]["line"]) == ("file:///lib/shop.ts", 1)
        assert "class Shop(a)" in name["hover"]
        # Typed on: the member that the model spells is none of these; then one that is.
        for said, letter, shown in (("rise()", "p", ""), ("ines", "l", "ines")):
            bench.script(said)
            bench.press("Escape", "End")
            bench.type(letter)
            bench.page.wait_for_timeout(1000)
            assert bench.seen() == shown
            bench.press("Escape", "Backspace", "Escape")
        assert len(told()) == 1  # once for a place

        bench.script("3", ", 4")
        bench.press("Escape", "Backspace", "Escape")
        bench.type(".find(")

        (call, *_) = until(lambda: [one["params"] for one in bench.wire("midfill/signatures")], bool)
        assert call["signatures"] == [{"label": "find(at: number): void", "parameters": [{"label": [5, 15]}]}]
        assert call["position"] == {"line": 1, "character": 19}
        bench.type(" ")
        bench.wait_seen("3")  # not the fourth, which it does not take
