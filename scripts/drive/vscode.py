"""The real VS Code, driven as a user does: keys, the explorer, what the window shows."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.editors.vscode.workbench import BEFORE_PAINT, CHROMIUM, GHOST, REPOSITORY, Workbench, opened, until

from scripts.drive import home
from scripts.drive.film import Film, GhostText, Key
from scripts.drive.hands import State, Way
from scripts.drive.talk import Talk

LOAD_S = 300.0  # the model may have to be prepared first
TAB = 4
# Like the tests' way of reading ghost text, with two additions. If the text begins with a line break, its first line is
# empty. If it replaces a bracket that the editor closed by itself, VS Code draws the text around that bracket: what is
# between belongs to it.
LINES = (
    GHOST.replace(".filter(Boolean)", "")
    .replace("text(inline)", "text(spanned(inline))")
    .replace(
        "() => {",
        """() => {
  const spanned = nodes => {
    const line = nodes.length > 1 ? [...nodes[0].parentElement.children] : nodes;
    const [first, last] = [line.indexOf(nodes[0]), line.indexOf(nodes[nodes.length - 1])];
    return last < 0 ? nodes : line.slice(first, last + 1);
  };""",
        1,
    )
)
# Frames and keys with the page's own clock, in seconds. A frame is read only if something changed: reading every frame
# would take a third of a core from the engine.
RECORD = f"""() => {{
  window.film = {{ frames: [], keys: [] }};
  const typed = event => event.key.length === 1 && !event.ctrlKey && !event.altKey && !event.metaKey ? event.key : '';
  document.addEventListener('keydown', event => {{
    const isKey = !['Shift', 'Control', 'Alt'].includes(event.key);
    if (isKey) window.film.keys.push([performance.now() / 1000, typed(event)]);
  }}, true);
  let last = '';
  ({BEFORE_PAINT})(() => {{
    const now = ({LINES})();
    if (now !== last) window.film.frames.push([performance.now() / 1000, last = now]);
  }});
}}"""
DRAIN = "() => { const film = window.film; window.film = { frames: [], keys: [] }; return film; }"
# User settings that differ from the defaults: otherwise a widget would take Tab and Enter, and tags be closed late.
USER = {
    "editor.suggestOnTriggerCharacters": False,
    "javascript.autoClosingTags": False,
    "typescript.autoClosingTags": False,
    "editor.tabSize": TAB,
}
ACCEPT = {"whole": "Tab", "word": "Control+ArrowRight", "line": "Control+Alt+ArrowRight"}


class VsCode:
    """One window."""

    name = "vscode"

    def __init__(self, bench: Workbench, log: Path) -> None:
        self._bench, self._talk = bench, Talk(log)
        self._film, self._file = Film(), ""
        bench.page.evaluate(RECORD)

    def begin(self, name: str) -> None:
        """Wait until the engine can answer."""
        self._bench.wait_status("codicon-check", patience_s=LOAD_S)

    def open(self, name: str, offset: int) -> float:
        """Open a file and put the cursor there, ready to type; return when it was opened, on the film's clock."""
        at = float(self._bench.page.evaluate("() => performance.now() / 1000"))
        self._bench.page.locator(f'.explorer-folders-view .monaco-list-row[aria-label="{name}"]').dblclick()
        until(lambda: self._talk.text(name), bool, self._bench)
        self._file = name
        self._bench.page.locator(f'.tabs-container .tab.active[data-resource-name="{name}"]').wait_for()
        self._go_to(self._talk.text(name), offset)
        return at

    def _go_to(self, text: str, offset: int) -> None:
        row, column = text.count("\n", 0, offset) + 1, len(text[:offset].rsplit("\n", 1)[-1]) + 1
        self._bench.press("Control+g")
        box = self._bench.page.locator(".quick-input-widget input.input")
        box.wait_for(state="visible")
        box.fill(f":{row}:{column}")
        self._bench.press("Enter")
        box.wait_for(state="hidden")
        until(lambda: self.state().cursor, lambda cursor: cursor == offset, self._bench)

    def type(self, char: str) -> None:
        """Type one character."""
        if char == "\t":  # the key would accept a suggestion
            self._bench.page.keyboard.insert_text(char)
        else:
            self._bench.page.keyboard.type(char)

    def enter(self) -> None:
        """Begin a new line."""
        self._bench.press("Enter")

    def backspace(self) -> None:
        """Delete the character before the cursor."""
        self._bench.press("Backspace")

    def delete(self) -> None:
        """Delete the character after it."""
        self._bench.press("Delete")

    def over(self, text: str) -> None:
        """Move over ``text``, which is after the cursor."""
        for _ in range(text.count("\n")):
            self._bench.press("ArrowDown")
        if "\n" in text:
            self._bench.press("Home")
        for _ in range(len(text.rsplit("\n", 1)[-1].lstrip() if "\n" in text else text)):
            self._bench.press("ArrowRight")

    def begin_undoable(self) -> None:
        """Do nothing: VS Code decides by itself what one undo covers."""

    def undo(self, offset: int) -> None:
        """Undo once; the cursor goes where the change was."""
        self._bench.press("Control+z")

    def accept(self, way: Way) -> None:
        """Take what is shown, or the next piece of it."""
        self._bench.press(ACCEPT[way])

    def dismiss(self) -> None:
        """Hide what is shown."""
        self._bench.press("Escape")

    def state(self) -> State:
        """Return the document as the server knows it, with the cursor from the status bar."""
        text = self._talk.text(self._file)
        shown = self._bench.page.evaluate(
            "() => document.querySelector('.statusbar-item[id=\"status.editor.selection\"]')?.textContent ?? ''"
        )
        found = re.search(r"Ln (\d+), Col (\d+)", str(shown))
        return State(text, offset(text, int(found[1]), int(found[2])) if found else -1)

    def film(self) -> Film:
        """Return all frames and keys until now."""
        new = self._bench.page.evaluate(DRAIN)
        self._film.frames += [GhostText(at, text) for at, text in new["frames"]]
        self._film.keys += [Key(at, text) for at, text in new["keys"]]
        return self._film

    def is_answered(self) -> bool:
        """Return whether the server has answered everything."""
        return self._talk.is_answered()

    def sleep(self, seconds: float) -> None:
        """Do nothing for a while."""
        self._bench.page.wait_for_timeout(seconds * 1000)

    def save(self, name: str) -> str:
        """Save; return what is in the file on disk."""
        file = self._bench.workspace / name
        wanted = self._talk.text(name)
        for _ in range(20):
            self._bench.press("Control+s")
            self.sleep(0.2)
            if file.read_text(encoding="utf-8") == wanted == self._talk.text(name):
                break
            wanted = self._talk.text(name)
        return file.read_text(encoding="utf-8")

    def replace(self, name: str, text: str, offset: int) -> None:
        """Overwrite the file with the right text, after a fault of the drive."""
        self._bench.press("Escape")
        self.save(name)
        (self._bench.workspace / name).write_text(text, encoding="utf-8")
        until(lambda: self._talk.text(name), lambda now: now == text, self._bench)
        self._go_to(text, offset)

    def shot(self, file: Path) -> None:
        """Take a picture of the window."""
        self._bench.page.screenshot(path=file)


def offset(text: str, row: int, column: int) -> int:
    """Return the offset of a row and a column as the status bar counts them: a tab extends to the next stop."""
    lines = text.split("\n")
    if row > len(lines):
        return -1
    line, width = lines[row - 1], 1
    for n, char in enumerate(line):
        if width >= column:
            return sum(len(each) + 1 for each in lines[: row - 1]) + n
        width += TAB - (width - 1) % TAB if char == "\t" else 1
    return sum(len(each) + 1 for each in lines[: row - 1]) + len(line)


@contextlib.contextmanager
def window(folder: Path, files: Mapping[str, str], env: Mapping[str, str]) -> Iterator[VsCode]:
    """Yield a window on a project, with the extension that `make vsix` packed."""
    from playwright.sync_api import sync_playwright

    vsix = max((REPOSITORY / "dist").glob("midfill-*.vsix"), key=lambda file: file.stat().st_mtime)
    log = folder / "wire.jsonl"
    settings = {"midfill.path": str(home.program(folder, log))}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
        with opened(browser, folder, files, vsix, settings, {**env, "HOME": str(folder)}, user=USER) as bench:
            yield VsCode(bench, log)
        browser.close()
