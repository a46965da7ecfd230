"""What a model says becomes what is shown: where its first unit ends, and rules over it."""

from midfill.postprocess.judge import Judge
from midfill.postprocess.place import Place
from midfill.postprocess.rules import NAMES, PIPELINE

__all__ = ["NAMES", "PIPELINE", "Judge", "Place"]
