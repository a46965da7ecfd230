"""The real VS Code: its server from code-server's package, its workbench in a headless Chromium."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

T = TypeVar("T")

REPOSITORY = Path(__file__).parents[3]
TOOLS = REPOSITORY / ".tools" / "vscode"
NODE = TOOLS / "node_modules" / ".bin" / "node"
CODE = TOOLS / "code"
TIMEOUT_S = 30.0  # generous: a busy machine must not count as a failure
CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"]  # fmt: skip
SETTINGS = {
    "workbench.startupEditor": "none",
    "workbench.colorTheme": "Default Dark Modern",
    "workbench.secondarySideBar.defaultVisibility": "hidden",
    "chat.disableAIFeatures": True,
    "telemetry.telemetryLevel": "off",
    "editor.minimap.enabled": False,
    "editor.fontSize": 16,
    "editor.quickSuggestions": {"other": "off", "comments": "off", "strings": "off"},
    "editor.parameterHints.enabled": False,
    "explorer.autoReveal": False,
    "git.enabled": False,
    "extensions.autoCheckUpdates": False,
    "extensions.autoUpdate": False,
    "extensions.ignoreRecommendations": True,
    "files.autoSave": "off",
    "security.workspace.trust.enabled": False,
    "workbench.tips.enabled": False,
}
MACHINE = {"workbench.welcomePage.walkthroughs.openOnInstall": False}
# Ghost text as a user reads it: each line once, without the real text around it.
GHOST = """() => {
  const text = nodes => nodes.map(node => node.textContent).join('').replace(/\\u00a0/g, ' ');
  const all = selector => [...document.querySelectorAll('.monaco-editor ' + selector)]
    .filter(node => node.getClientRects().length);
  const inline = all('.view-line [class*="ghost-text-decoration"]');
  const lines = new Map();
  for (const node of all('.suggest-preview-text .ghost-text')) {
    const y = Math.round(node.getBoundingClientRect().top);
    lines.set(y, [...(lines.get(y) || []), node]);
  }
  const rest = [...lines].sort((a, b) => a[0] - b[0]).map(([, nodes]) => text(nodes));
  return [text(inline), ...rest].filter(Boolean).join('\\n');
}"""
# What the extension itself draws beside the cursor.
BESIDE = """() => [...document.querySelectorAll('.monaco-editor .view-line span')]
  .map(node => getComputedStyle(node, '::after').content)
  .filter(text => text.startsWith('"') && text !== '""').map(text => text.slice(1, -1).replace(/\\u00a0/g, ' '))"""
# Calls `look` before each paint of a changed page, after the frame's other work and layout. In a task after the paint,
# as before the next frame, the editor may have taken a zone away that it draws again in that frame: nobody sees that.
BEFORE_PAINT = """look => {
  const probe = document.documentElement.appendChild(document.createElement('i'));
  let n = 0;
  const resize = () => { probe.style.width = `${n = n % 999 + 1}px`; };
  probe.style.cssText = 'position: fixed; visibility: hidden; height: 1px';
  new ResizeObserver(look).observe(probe);
  const observer = new MutationObserver(resize);
  for (const part of [document.head, document.body]) {
    observer.observe(part, { subtree: true, childList: true, characterData: true, attributes: true });
  }
  resize();
}"""


class Workbench:
    """One window."""

    ITEM = '.statusbar-item[id="midfill.midfill.midfill.status"]'

    def __init__(self, page: Page, workspace: Path, folder: Path) -> None:
        self.page, self.workspace, self.folder = page, workspace, folder
        self.begun = 0
        self.head = ""  # the first line of the document, different in every test: the server knows old answers

    # ---- hands -----------------------------------------------------------------------------------------------------

    def focus(self) -> None:
        """Put the cursor at the end of the document."""
        self.page.click(".editor-instance .monaco-editor .view-lines")
        self.press("Control+End")

    def type(self, text: str, delay_ms: float = 30) -> None:
        self.page.keyboard.type(text, delay=delay_ms)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def command(self, title: str) -> None:
        """Run a command of the palette."""
        self.press("F1")
        box = self.page.locator(".quick-input-widget input.input")
        box.wait_for(state="visible")
        box.fill(">" + title)
        self.page.locator(".quick-input-list .monaco-list-row", has_text=title).first.wait_for()
        self.press("Enter")
        box.wait_for(state="hidden")

    def pick(self, label: str) -> None:
        """Choose an entry of the open quick pick."""
        row = self.page.locator(".quick-input-list .monaco-list-row", has_text=label).first
        if not row.count():  # further down: a list contains only the visible rows
            self.type(label)
        row.click()

    def write(self, text: str) -> None:
        """Replace the focused document's text below its head with ``text``, and put the cursor at its end."""
        self.begun = len(self.wire())
        self.press("Escape", "Escape", "Control+a", "Delete")
        for number, line in enumerate((self.head + text).split("\n")):
            if number:
                self.press("Enter", "Shift+Home", "Shift+Home", "Delete") if line else self.press("Enter")
            self.page.keyboard.insert_text(line)

    # ---- eyes ------------------------------------------------------------------------------------------------------

    def ghost(self) -> str:
        return str(self.page.evaluate(GHOST))

    def seen(self) -> str:
        """Return the ghost text, whether the editor or the extension draws it."""
        return "".join([self.ghost(), *self.page.evaluate(BESIDE)])

    def wait_seen(self, wanted: str) -> str:
        """Wait until that is ``wanted``."""
        return until(self.seen, lambda seen: seen == wanted, self)

    def wait_ghost(self, wanted: str | Callable[[str], object], patience_s: float = TIMEOUT_S) -> str:
        """Wait until the ghost text is, or fulfils, ``wanted``."""
        fulfils = wanted if callable(wanted) else lambda ghost: ghost == wanted
        return until(self.ghost, fulfils, self, patience_s)

    def settled_ghost(self) -> str:
        """Return the ghost text once nothing is being generated."""
        self.wait_status("codicon-check")
        return self.ghost()

    def status(self) -> str:
        """Return the status bar item: its icon's name and its text."""
        item = self.page.locator(self.ITEM)
        icons = item.locator(".codicon").evaluate_all("nodes => nodes.map(node => node.className)")
        return " ".join([*icons, item.inner_text().strip()]) if item.count() else ""

    def wait_status(self, *words: str, patience_s: float = TIMEOUT_S) -> str:
        return until(self.status, lambda status: all(word in status for word in words), self, patience_s)

    def record(self) -> None:
        """From now on, record the ghost text of every painted frame in which it changes."""
        self.page.evaluate(f"""() => new Promise(begun => {{
          const seen = window.seen = []; window.looking = true;
          ({BEFORE_PAINT})(() => {{
            begun();
            if (!window.looking || window.seen !== seen) return;
            const now = ({GHOST})(); if (now !== seen.at(-1)) seen.push(now); }}) }})""")

    def frames(self) -> list[str]:
        return list(self.page.evaluate("() => window.seen"))

    def stop_recording(self) -> list[str]:
        self.page.evaluate("() => { window.looking = false; }")
        return self.frames()

    def saved(self, file: str, wanted: str | Callable[[str], object]) -> str:
        """Save until the file is, or fulfils, ``wanted`` below its head: an edit may still be on its way."""
        fulfils = wanted if callable(wanted) else lambda text: text == wanted

        def read() -> str:
            self.press("Control+s")
            self.page.wait_for_timeout(200)
            return (self.workspace / file).read_text(encoding="utf-8").removeprefix(self.head)

        return until(read, fulfils, self)

    def shot(self, name: str) -> None:
        folder = Path(os.environ.get("MIDFILL_SHOTS") or REPOSITORY / "tests" / "editors" / "vscode" / "shots")
        folder.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=folder / f"{name}.png")

    def wire(self, method: str = "", direction: str = "in") -> list[dict[str, Any]]:
        """Return the messages on the wire, by method; all of them if method is ""."""
        file = self.folder / "wire.jsonl"
        lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
        messages = [{"n": n, **json.loads(line)} for n, line in enumerate(lines) if line.endswith("}")]
        return [m for m in messages if not method or (m["direction"] == direction and m.get("method") == method)]

    def news(self, method: str = "", direction: str = "in") -> list[dict[str, Any]]:
        """Return those messages since the last call of ``write``."""
        return [m for m in self.wire(method, direction) if m["n"] >= self.begun]

    def script(
        self, *chunks: str, delay_s: float = 0.0, others: list[list[str]] | None = None, loading: bool = False
    ) -> None:
        """Set what the scripted engine writes from now on; ``loading``: an engine that starts keeps loading until told
        otherwise."""
        script = {"chunks": chunks, "delay_s": delay_s, "others": others or [], "loading": loading}
        part = self.folder / "script.json.part"
        part.write_text(json.dumps(script), encoding="utf-8")
        part.replace(self.folder / "script.json")


def until(
    read: Callable[[], T],
    fulfils: Callable[[T], object],
    workbench: Workbench | None = None,
    patience_s: float = TIMEOUT_S,
) -> T:
    """Wait for a state; return what was read then."""
    deadline = time.monotonic() + patience_s
    while True:
        value = read()
        if fulfils(value):
            return value
        assert time.monotonic() < deadline, f"still {value!r}"
        workbench.page.wait_for_timeout(30) if workbench is not None else time.sleep(0.03)


@contextlib.contextmanager
def machine_setting(bench: Workbench, name: str, value: object) -> Iterator[None]:
    """Set a setting of the machine inside the block."""
    file = bench.folder / "user" / "Machine" / "settings.json"
    before = file.read_text(encoding="utf-8")
    file.write_text(json.dumps({**json.loads(before), name: value}), encoding="utf-8")
    try:
        yield
    finally:
        file.write_text(before, encoding="utf-8")


@contextlib.contextmanager
def opened(
    browser: Browser, folder: Path, files: Mapping[str, str], vsix: Path,
    settings: Mapping[str, Any], env: Mapping[str, str], open_file: str = "",
    *, user: Mapping[str, Any] | None = None, programs: Sequence[str] = (),
) -> Iterator[Workbench]:  # fmt: skip
    """Yield a window on a workspace of ``files``, with the extension installed. ``settings`` are the machine's."""
    workspace = folder / "project"
    for name, text in files.items():
        (workspace / name).parent.mkdir(parents=True, exist_ok=True)
        (workspace / name).write_text(text, encoding="utf-8")
    for name in programs:
        (workspace / name).chmod(0o755)
    # As on every remote machine: settings of machine scope are not taken from the user's settings.
    for scope, own in (("User", {**SETTINGS, **(user or {})}), ("Machine", {**MACHINE, **settings})):
        file = folder / "user" / scope / "settings.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(own), encoding="utf-8")
    common = [str(NODE), str(CODE / "out" / "server-main.js"), "--accept-server-license-terms",
              "--server-data-dir", str(folder / "data"), "--user-data-dir", str(folder / "user"),
              "--extensions-dir", str(folder / "extensions")]  # fmt: skip
    subprocess.run([*common, "--install-extension", str(vsix)], check=True, capture_output=True, timeout=120)
    with _served(common, {**os.environ, **env}, folder / "code.log") as port:
        context = browser.new_context(viewport={"width": 1000, "height": 560})
        page = context.new_page()
        page.set_default_timeout(TIMEOUT_S * 1000)
        remote = f"vscode-remote://127.0.0.1:{port}"
        payload = [["openFile", f"{remote}{workspace / open_file}"]] if open_file else []
        query = urllib.parse.urlencode({"folder": str(workspace), "payload": json.dumps(payload)})
        page.goto(f"http://127.0.0.1:{port}/?{query}")
        page.wait_for_selector(".statusbar-item")
        workbench = Workbench(page, workspace, folder)
        if open_file:
            workbench.focus()
        try:
            yield workbench
        except BaseException:
            workbench.shot(f"failed-{folder.name}")
            raise
        finally:
            context.close()


@contextlib.contextmanager
def _served(common: list[str], env: Mapping[str, str], log: Path) -> Iterator[int]:
    port = _free_port()
    arguments = ["--host", "127.0.0.1", "--port", str(port), "--without-connection-token", "--telemetry-level", "off"]
    with log.open("wb") as out:
        server = subprocess.Popen(
            [*common, *arguments], cwd=CODE, stdout=out, stderr=out, env=env, start_new_session=True
        )
    try:
        until(lambda: _answers(port), bool)
        yield port
    finally:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(5)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)  # an extension host may outlive its server
        server.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/version", timeout=5):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def missing_tool() -> str:
    """Return what the tests need and this machine lacks; "" if it has everything."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "Playwright for Python"
    if not NODE.is_file() or not (CODE / "out" / "server-main.js").is_file():
        return "VS Code"
    return "" if shutil.which("chromium") else "Chromium"
