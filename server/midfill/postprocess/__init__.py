"""Turns what a model writes into what is shown: where its first unit ends, how sure it was, and rules over it."""

from midfill.postprocess.confidence import AdaptiveThresholds
from midfill.postprocess.finished import is_whole_sentence
from midfill.postprocess.habits import AcceptanceHabits
from midfill.postprocess.invented import invents
from midfill.postprocess.place import Place
from midfill.postprocess.processor import GO_ON, RULES, PostProcessor
from midfill.postprocess.rules import PIPELINE
from midfill.postprocess.sure import closed

__all__ = [
    "GO_ON",
    "PIPELINE",
    "RULES",
    "AcceptanceHabits",
    "AdaptiveThresholds",
    "Place",
    "PostProcessor",
    "closed",
    "invents",
    "is_whole_sentence",
]
