"""Fill-in-the-middle prompts: templates, token budgets, token ids.

One function, ``FimRenderer.render``, writes the prompts of serving, training and evaluation.
"""

from midfill.fim.renderer import FimRenderer, Prompt
from midfill.fim.templates import (
    PREFIX_ONLY,
    TEMPLATES,
    Control,
    FimTemplate,
    Part,
    Placeholder,
    detect,
    find,
    why_not_filling,
)
from midfill.fim.window import CHARS_PER_TOKEN, MAX_STEP, head, tail, word_before

__all__ = [
    "CHARS_PER_TOKEN",
    "MAX_STEP",
    "PREFIX_ONLY",
    "TEMPLATES",
    "Control",
    "FimRenderer",
    "FimTemplate",
    "Part",
    "Placeholder",
    "Prompt",
    "detect",
    "find",
    "head",
    "tail",
    "why_not_filling",
    "word_before",
]  # fmt: skip
