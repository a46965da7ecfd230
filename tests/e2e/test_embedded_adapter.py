"""The adapter that comes with the embedded model: it fits, it answers by default, and it stops where a hole ends."""

from __future__ import annotations

import pytest

from midfill.commands.session import session
from midfill.config import Config
from midfill.engine.adapter_setting import EMBEDDED, embedded_folder
from midfill.engine.base import GenerateRequest
from midfill.engine.local.lora.files import describe
from tests.support import at

pytestmark = pytest.mark.usefixtures("own_runtime")

# None of them is in what it was trained on.
HOLES = (
    ("python", "def area(width, height):\n    return ‸\n\n\nprint(area(2, 3))\n"),
    ("python", "names = ['a', 'b']\nfor name in ‸:\n    print(name)\n"),
    ("python", "class Point:\n    def __init__(self, x, y):\n        self.x = x\n        ‸\n\n    def sum(self):\n"
               "        return self.x + self.y\n"),
    ("javascript", "function total(items) {\n  let sum = 0;\n  for (const item of items) {\n    ‸\n  }\n"
                   "  return sum;\n}\n"),
    ("go", "func Max(a, b int) int {\n\tif a > b {\n\t\t‸\n\t}\n\treturn b\n}\n"),
    ("java", "class Box {\n    private int size;\n    int getSize() {\n        ‸\n    }\n}\n"),
)  # fmt: skip


def test_what_is_shipped() -> None:
    folder = embedded_folder()
    assert folder is not None
    facts = describe(folder)
    assert (facts.rank, facts.alpha, facts.base) == (4, 16, "Qwen/Qwen2.5-Coder-0.5B-Instruct")
    assert facts.size < 6_000_000
    assert {file.name for file in folder.iterdir()} == {
        "adapter_model.safetensors", "adapter_config.json", "README.md", "midfill.json", "loss.svg",
    }  # fmt: skip


@pytest.mark.model
async def test_it_stops_where_the_base_runs_on() -> None:
    """The bare model's own answers, without any rule of ours."""
    ends: dict[str | None, list[str]] = {}
    async with session(Config(model="embedded", engine_idle_exit_s=60)) as completer:
        assert completer.adapter == EMBEDDED
        for adapter in (EMBEDDED, None):
            for language, buffer in HOLES:
                prompt = await completer.renderer.render(at(buffer, language=language), (), 512)
                request = GenerateRequest(prompt.ids, 48, adapter=adapter, forced_prefix=prompt.forced_prefix)
                reasons = [delta.finish_reason async for delta in completer.engine.stream(request)]
                ends.setdefault(adapter, []).append(str(reasons[-1]))
    assert ends[EMBEDDED].count("stop") >= len(HOLES) - 1
    assert ends[None].count("stop") <= 2
