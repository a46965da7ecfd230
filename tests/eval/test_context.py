"""The real index of a repository's copy knows the other files, and never the hole."""

from __future__ import annotations

from pathlib import Path

from midfill.client.scripted import CharRenderer
from midfill.completer import Completer
from midfill.config import Config
from midfill.engine.scripted import ScriptedEngine
from midfill.eval.ask import EndToEnd
from midfill.eval.context import ProjectContext
from midfill.eval.repository import Cutter, copied
from midfill.types import ModelInfo
from tests.eval.made import project

INFO = ModelInfo("scripted", "", "qwen2.5-coder", 4096, 8192, "cpu", "float32")


async def test_the_index_sees_the_copy_with_the_hole(tmp_path: Path) -> None:
    completer = Completer(ScriptedEngine(["x"]), CharRenderer(), INFO, Config())
    with copied(project(tmp_path / "project")) as workspace:
        context = ProjectContext(completer, workspace.folder)
        server = EndToEnd(completer, prepare=context.open)
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
    completer = Completer(ScriptedEngine(["x"]), CharRenderer(), INFO, Config(disabled_context=everything))
    with copied(project(tmp_path / "project")) as workspace:
        context = ProjectContext(completer, workspace.folder)
        snapshot = workspace.see(Cutter(workspace.texts).cut(1, ["cross-file"])[0])
        context.open(snapshot)
        assert not [snippet for source in completer.sources for snippet in source.snippets(snapshot)]
        context.close()
