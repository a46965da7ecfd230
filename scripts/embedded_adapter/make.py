"""Train the adapter of the embedded model, and put it into the package if it passes the gate.

    python -m scripts.embedded_adapter.make [FOLDER] [--steps N] [--fresh]

Training continues from the adapter in the package, and the new adapter must be better than that one. With --fresh it
starts with a new adapter, which must be better than the model without any. The sources are downloaded into FOLDER
(default: build/embedded_adapter) and kept there. If a run was interrupted, the same command continues it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from midfill.train import card

from .sources import read_sources

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "server" / "midfill" / "embedded_adapter"
NAME = "midfill-embedded"
# What midfill reads, and what shows its origin. The rest (including a pickle) is for a trainer.
SHIPPED = ("adapter_model.safetensors", "adapter_config.json", "README.md", "midfill.json", "loss.svg")
# A step changes less if most is learned already; each hole comes only once, so there is no dropout.
FRESH = ("--steps", "460", "--against", "none", "--prompt-share", "0", "--end-weight", "1")
ON = ("--steps", "200", "--against", "embedded", "--rate", "2e-4", "--dropout", "0", "--seed", "2",
      "--prompt-share", "0", "--end-weight", "1")  # fmt: skip
HOLES = 240


def main() -> int:
    """Fetch, train, judge, and ship what is better; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "build" / "embedded_adapter")
    parser.add_argument("--steps", type=int, default=0, help="training steps (default: 200, or 460 with --fresh)")
    parser.add_argument("--fresh", action="store_true", help="start with a new adapter")
    arguments = parser.parse_args()
    sources = arguments.folder / "sources"
    if not (sources / "SOURCES.md").is_file():
        _run("-m", "scripts.embedded_adapter.fetch", str(sources))
    train, held_out = (
        sorted(str(path) for path in (sources / half).glob("*/*") if path.is_dir()) for half in ("train", "held-out")
    )
    env = {**os.environ, "MIDFILL_DATA_DIR": str(arguments.folder / "data")}
    way = FRESH if arguments.fresh or not PACKAGE.is_dir() else ON
    steps = ("--steps", str(arguments.steps)) if arguments.steps else ()
    _run(
        "-m", "midfill", "train", *train, "--name", NAME, "--model", "embedded", *way, *steps,
        "--priority", "normal", "--holes", str(HOLES), "--held-out", *held_out, env=env,
    )  # fmt: skip
    ship(arguments.folder / "data" / "adapters" / NAME)
    return 0


def _run(*arguments: str, env: dict[str, str] | None = None) -> None:
    """Run a program; exit if it fails, or if it says that the adapter is not better."""
    done = subprocess.run([sys.executable, *arguments], check=False, env=env, cwd=ROOT)  # noqa: S603 - our own words
    if done.returncode:
        sys.exit(done.returncode)


def ship(adapter: Path) -> None:
    """Copy a promoted adapter into the package, with its weights in sixteen bits, which halves their size."""
    from safetensors.torch import load_file, save_file

    figures = json.loads((adapter / "midfill.json").read_text(encoding="utf-8"))
    if not figures["gate"]["promoted"]:
        sys.exit("the gate says that it is not better: not shipped")
    shutil.rmtree(PACKAGE, ignore_errors=True)
    PACKAGE.mkdir()
    for name in SHIPPED[1:]:
        shutil.copyfile(adapter / name, PACKAGE / name)
    figures["data"]["projects"] = {source.label: source.licence for source in read_sources()}
    figures["data"]["held_out"] = [source.label for source in read_sources() if source.use == "held-out"]
    card.write(PACKAGE, NAME, figures)
    import torch

    weights = load_file(adapter / SHIPPED[0])
    save_file({name: value.to(torch.bfloat16) for name, value in weights.items()}, PACKAGE / SHIPPED[0])
    size = (PACKAGE / SHIPPED[0]).stat().st_size
    print(f"shipped: {PACKAGE.relative_to(ROOT)}, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    sys.exit(main())
