"""What the real index knows of a repository's copy: the other files, and never the hole."""

from __future__ import annotations

from pathlib import Path

from midfill.client.scripted import CharRenderer
from midfill.completer import Completer
from midfill.config import Config
from midfill.engine.scripted import ScriptedEngine
from midfill.eval.ask import Server
from midfill.eval.context import ProjectContext
from midfill.eval.repository import Cutter, copied
from midfill.types import ModelInfo

INFO = ModelInfo("scripted", "", "qwen2.5-coder", 4096, 8192, "cpu", "float32")


def project(root: Path) -> Path:
    """Two files that use each other; every line of them is the only one of its kind."""
    root.mkdir()
    names = ("apple", "banana", "cherry", "damson", "elder", "fig", "grape", "hazel")
    made = "".join(f"def make_{name}(weight):\n    return weight * {7919 + n}\n\n\n" for n, name in enumerate(names))
    used = "from making import *\n\n\n" + "".join(
        f"def use_{name}(basket):\n    {name}_total = make_{name}(basket)\n    return {name}_total\n\n\n"
        for name in names
    )
    (root / "making.py").write_text(made)
    (root / "using.py").write_text(used)
    return root


async def test_the_index_sees_the_copy_with_the_hole(tmp_path: Path) -> None:
    completer = Completer(ScriptedEngine(["x"]), CharRenderer(), INFO, Config())
    with copied(project(tmp_path / "project")) as workspace:
        context = ProjectContext(completer, workspace.folder)
        server = Server(completer, prepare=context.open)
        holes = Cutter(workspace.texts).cut(12, ["cross-file", "line"])
        assert {hole.kind for hole in holes} == {"cross-file", "line"}
        n_known = 0
        for hole in holes:
            snapshot = workspace.see(hole)
            await server.answer(snapshot)
            snippets = [snippet for source in completer.sources for snippet in source.snippets(snapshot)]
            assert all(hole.middle not in snippet.text for snippet in snippets)
            if hole.name:
                n_known += any(hole.name in snippet.text for snippet in snippets)
        assert n_known > 0  # else nothing would have been looked at
        context.close()
        assert completer.sources == ()


async def test_sources_that_are_off(tmp_path: Path) -> None:
    everything = ("imports", "names", "similar", "edits", "open", "siblings")
    completer = Completer(ScriptedEngine(["x"]), CharRenderer(), INFO, Config(context_off=everything))
    with copied(project(tmp_path / "project")) as workspace:
        context = ProjectContext(completer, workspace.folder)
        snapshot = workspace.see(Cutter(workspace.texts).cut(1, ["cross-file"])[0])
        context.open(snapshot)
        assert not [snippet for source in completer.sources for snippet in source.snippets(snapshot)]
        context.close()
