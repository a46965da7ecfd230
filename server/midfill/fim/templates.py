"""How each family of models writes a hole, and which family a model belongs to.

Orders: PSM is prefix, suffix, middle; SPM has the suffix first and the prefix beside the middle (Bavarian et al. 2022,
"Efficient Training of Language Models to Fill in the Middle", arXiv:2207.14255; its SPM keeps the prefix sentinel in
front). What each model was trained on comes from its authors' model card or report, named beside the template.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from midfill.tokenizer import CodeTokenizer
from midfill.types import MidfillError


class Placeholder(Enum):
    """What fills a part of a prompt."""

    PREFIX = "prefix"
    SUFFIX = "suffix"
    PATH = "path"
    CODE = "code"
    REPO = "repo"
    LANGUAGE = "language"  # its name, as people write it
    COMMENT = "comment"  # a comment of the file's language that holds its path; empty if the language has no comments


@dataclass(frozen=True, slots=True)
class Control:
    """A control token by its name, or by the first of several spellings that the tokenizer has.

    ``or_text``: if the tokenizer has none of them, the name is written as text; ``or_nothing``: it is left out.
    """

    names: tuple[str, ...]
    or_text: bool = False
    or_nothing: bool = False


Part = Placeholder | Control | str


def _control(*names: str) -> Control:
    return Control(names)


@dataclass(frozen=True, slots=True)
class FimTemplate:
    """How one family of models writes a hole.

    ``psm`` and ``spm`` are the file with the hole; ``start`` opens every prompt, ``repo`` a prompt of several files.
    ``file`` is one of the other files. ``here`` comes before the file with the hole and ``title`` begins its prefix:
    they name the file, always. ``inside`` puts the other files and ``here`` into the prefix (after its sentinel)
    instead of before the sentinels. ``path_needs_repo``: the model never saw a path without the repository's name
    before it. ``models`` are parts of the names of models that a tokenizer cannot tell from another family's.
    """

    name: str
    psm: tuple[Part, ...] | None = None
    spm: tuple[Part, ...] | None = None
    start: tuple[Part, ...] = ()
    repo: tuple[Part, ...] = ()
    file: tuple[Part, ...] | None = None
    here: tuple[Part, ...] = ()
    title: tuple[Part, ...] = ()
    inside: bool = False
    path_needs_repo: bool = False
    stops: tuple[str, ...] = ()
    end: tuple[str, ...] = ()  # the token that training puts after a middle, if not the first of ``stops``
    models: tuple[str, ...] = ()

    @property
    def parts(self) -> tuple[Part, ...]:
        """Everything that a prompt may need."""
        hole = (*(self.psm or ()), *(self.spm or ()))
        return (*hole, *self.start, *self.repo, *(self.file or ()), *self.here, *self.title)


P, S = Placeholder.PREFIX, Placeholder.SUFFIX
_PIPE_PRE, _PIPE_SUF, _PIPE_MID = _control("<|fim_prefix|>"), _control("<|fim_suffix|>"), _control("<|fim_middle|>")
_STAR_PRE, _STAR_SUF, _STAR_MID = _control("<fim_prefix>"), _control("<fim_suffix>"), _control("<fim_middle>")
_SANTA_PRE, _SANTA_SUF, _SANTA_MID = _control("<fim-prefix>"), _control("<fim-suffix>"), _control("<fim-middle>")
_SEED_PRE, _SEED_SUF, _SEED_MID = _control("<[fim-prefix]>"), _control("<[fim-suffix]>"), _control("<[fim-middle]>")
_LLAMA_PRE, _LLAMA_SUF, _LLAMA_MID = (
    _control("▁<PRE>", "<PRE>"),
    _control("▁<SUF>", "<SUF>"),
    _control("▁<MID>", "<MID>"),
)
_DEEP_PRE, _DEEP_HOLE, _DEEP_END = _control("<｜fim▁begin｜>"), _control("<｜fim▁hole｜>"), _control("<｜fim▁end｜>")
_MISTRAL_SUF, _MISTRAL_PRE = _control("[SUFFIX]"), _control("[PREFIX]")
_GLM_PRE, _GLM_SUF, _GLM_MID = _control("<|code_prefix|>"), _control("<|code_suffix|>"), _control("<|code_middle|>")
_FILENAME = _control("<filename>")


def _optional(*names: str) -> Control:
    return Control(names, or_nothing=True)


_PIPE_PSM: tuple[Part, ...] = (_PIPE_PRE, P, _PIPE_SUF, S, _PIPE_MID)
_PIPE_SPM: tuple[Part, ...] = (_PIPE_PRE, _PIPE_SUF, S, _PIPE_MID, P)
_STAR_PSM: tuple[Part, ...] = (_STAR_PRE, P, _STAR_SUF, S, _STAR_MID)
_STAR_SPM: tuple[Part, ...] = (_STAR_PRE, _STAR_SUF, S, _STAR_MID, P)

# In the order in which they are tried: the more demanding first.
TEMPLATES = {
    template.name: template
    for template in (
        FimTemplate(  # CodeGemma technical report and model card (Google, 2024); they give no form for a path
            "codegemma",
            psm=_PIPE_PSM,
            spm=_PIPE_SPM,
            start=(_optional("<bos>"),),
            file=(Placeholder.CODE, _control("<|file_separator|>")),
            title=(Placeholder.COMMENT,),
            stops=("<|file_separator|>", "<eos>", "<end_of_turn>"),
        ),
        FimTemplate(  # Qwen2.5-Coder technical report and README (Alibaba, 2024)
            "qwen2.5-coder",
            psm=_PIPE_PSM,
            spm=_PIPE_SPM,
            repo=(_control("<|repo_name|>"), Placeholder.REPO, "\n"),
            file=(_control("<|file_sep|>"), Placeholder.PATH, "\n", Placeholder.CODE, "\n"),
            here=(_control("<|file_sep|>"), Placeholder.PATH, "\n"),
            stops=("<|endoftext|>", "<|fim_pad|>", "<|file_sep|>", "<|repo_name|>", "<|im_end|>"),
        ),
        FimTemplate(  # CodeGeeX4 README, infilling (Zhipu, 2024)
            "codegeex4",
            spm=(
                _control("<|user|>"), "\n###PATH:", Placeholder.PATH, "\n###LANGUAGE:", Placeholder.LANGUAGE,
                "\n###MODE:BLOCK\n", _GLM_SUF, S, _GLM_PRE, P, _GLM_MID, _control("<|assistant|>"), "\n",
            ),
            start=(_optional("[gMASK]"), _optional("<sop>")),
            stops=("<|user|>", "<|endoftext|>", "<|observation|>", "<|assistant|>"),
        ),
        FimTemplate(  # StarCoder2 paper, section on repository context (BigCode, 2024)
            "starcoder2",
            psm=_STAR_PSM,
            spm=_STAR_SPM,
            repo=(_control("<repo_name>"), Placeholder.REPO),
            file=(_control("<file_sep>"), Placeholder.PATH, "\n", Placeholder.CODE),
            here=(_control("<file_sep>"),),
            title=(Placeholder.PATH, "\n"),
            path_needs_repo=True,
            stops=("<|endoftext|>", "<file_sep>", "<repo_name>"),
        ),
        FimTemplate(  # CodeQwen1.5 README, repository-level completion (Alibaba, 2024)
            "codeqwen1.5",
            psm=_STAR_PSM,
            repo=(_control("<reponame>"), Placeholder.REPO, "\n"),
            file=(_control("<file_sep>"), Placeholder.PATH, "\n", Placeholder.CODE, "\n"),
            here=(_control("<file_sep>"), Placeholder.PATH, "\n"),
            stops=("<|endoftext|>", "<fim_pad>", "<file_sep>", "<reponame>", "<|im_end|>"),
        ),
        FimTemplate(  # Mellum-4b model card (JetBrains, 2025); its tokenizer looks like Granite's
            "mellum",
            spm=(_STAR_SUF, S, _STAR_PRE, P, _STAR_MID),
            file=(_FILENAME, Placeholder.PATH, "\n", Placeholder.CODE),
            here=(_FILENAME, Placeholder.PATH, "\n"),
            stops=("<|endoftext|>", "<filename>", "<reponame>"),
            models=("mellum",),
        ),
        FimTemplate(  # Granite code models follow StarCoder's tokens (IBM, 2024)
            "granite",
            psm=_STAR_PSM,
            spm=_STAR_SPM,
            repo=(_control("<reponame>"), Placeholder.REPO),
            file=(_FILENAME, Placeholder.PATH, "\n", Placeholder.CODE),
            here=(_FILENAME, Placeholder.PATH, "\n"),
            stops=("<|endoftext|>", "<filename>", "<reponame>"),
        ),
        FimTemplate(  # Code Llama paper (Meta, 2023); the spaces belong to the sentinels
            "codellama",
            psm=(_LLAMA_PRE, " ", P, _LLAMA_SUF, S, _LLAMA_MID),
            spm=(_LLAMA_PRE, _LLAMA_SUF, S, _LLAMA_MID, " ", P),
            start=(_optional("<s>"),),
            title=(Placeholder.COMMENT,),
            stops=("▁<EOT>", "<EOT>", "</s>"),
            end=("▁<EOT>", "<EOT>"),
        ),
        FimTemplate(  # DeepSeek-Coder README (2023)
            "deepseek-coder",
            psm=(_DEEP_PRE, P, _DEEP_HOLE, S, _DEEP_END),
            start=(_optional("<｜begin▁of▁sentence｜>"),),
            file=("#", Placeholder.PATH, "\n", Placeholder.CODE, "\n"),
            here=("#", Placeholder.PATH, "\n"),
            inside=True,
            stops=("<｜end▁of▁sentence｜>", "<|EOT|>"),
        ),
        FimTemplate(  # mistral-common's FIM encoding of Codestral (Mistral, 2024)
            "codestral",
            spm=(_MISTRAL_SUF, S, _MISTRAL_PRE, P),
            start=(_optional("<s>"),),
            file=("+++++ ", Placeholder.PATH, "\n", Placeholder.CODE, "\n"),
            here=("+++++ ", Placeholder.PATH, "\n"),
            inside=True,
            stops=("[PREFIX]", "[SUFFIX]", "</s>"),
            end=("</s>",),
        ),
        FimTemplate(  # Seed-Coder README (ByteDance, 2025); "<filename>" is text to its tokenizer
            "seed-coder",
            spm=(_SEED_SUF, S, _SEED_PRE, P, _SEED_MID),
            start=(_optional("<[begin▁of▁sentence]>"),),
            file=(Control(("<filename>",), or_text=True), Placeholder.PATH, "\n", Placeholder.CODE, "\n"),
            here=(Control(("<filename>",), or_text=True), Placeholder.PATH, "\n"),
            inside=True,
            stops=("<[end▁of▁sentence]>",),
        ),
        FimTemplate(  # SantaCoder model card (BigCode, 2023); it was trained on code without paths
            "santacoder",
            psm=(_SANTA_PRE, P, _SANTA_SUF, S, _SANTA_MID),
            spm=(_SANTA_PRE, _SANTA_SUF, S, _SANTA_MID, P),
            title=(Placeholder.COMMENT,),
            stops=("<|endoftext|>",),
        ),
        FimTemplate(  # Granite 4 documentation (IBM, 2025)
            "granite4",
            psm=_PIPE_PSM,
            spm=_PIPE_SPM,
            title=(Placeholder.COMMENT,),
            stops=("<|end_of_text|>", "<|fim_pad|>"),
        ),
    )
}  # fmt: skip

# For a model that was never taught to fill: only the text before the cursor.
PREFIX_ONLY = FimTemplate(
    "prefix",
    psm=(P,),
    start=(_optional("<bos>", "<s>", "<|begin_of_text|>", "<｜begin▁of▁sentence｜>"),),
    title=(Placeholder.COMMENT,),
)

# Models that have a family's tokens but learned something else: parts of their names, and what they learned.
NOT_FILLING = {
    "opencoder": "OpenCoder has fill-in-the-middle tokens and was never trained on them",
    "next-edit": "a next-edit model rewrites lines around the cursor and does not fill in the middle",
    "nextedit": "a next-edit model rewrites lines around the cursor and does not fill in the middle",
    "sweep": "Sweep's models predict the next edit and do not fill in the middle",
    "zeta": "Zeta predicts the next edit and does not fill in the middle",
    "instinct": "Instinct predicts the next edit and does not fill in the middle",
}


def why_not_filling(model: str) -> str:
    """Return why a model of this name is not asked to fill in the middle; "" if nothing is known against it."""
    return next((why for part, why in NOT_FILLING.items() if part in model.lower()), "")


def detect(tokenizer: CodeTokenizer, model: str = "") -> FimTemplate:
    """Return a model's template: by its name if that decides, otherwise by the control tokens of its tokenizer."""
    if why_not_filling(model):
        return PREFIX_ONLY
    fitting = [template for template in TEMPLATES.values() if missing(template, tokenizer) is None]
    for template in fitting:
        if any(part in model.lower() for part in template.models):
            return template
    return next((template for template in fitting if not template.models), PREFIX_ONLY)


def find(name: str, tokenizer: CodeTokenizer, model: str = "") -> FimTemplate:
    """Return the template called ``name`` ("auto" detects it). Raises MidfillError if the tokenizer does not fit it."""
    if name == "auto":
        return detect(tokenizer, model)
    template = PREFIX_ONLY if name == PREFIX_ONLY.name else TEMPLATES.get(name)
    if template is None:
        raise MidfillError(f"unknown template {name!r}", f"use auto, prefix or one of {', '.join(TEMPLATES)}")
    if lacking := missing(template, tokenizer):
        raise MidfillError(f"the model has no token {lacking!r}, which template {name} needs", 'set template = "auto"')
    return template


def missing(template: FimTemplate, tokenizer: CodeTokenizer) -> str | None:
    """Return a control token that ``template`` needs and ``tokenizer`` lacks."""
    for part in template.parts:
        if isinstance(part, Control) and not (part.or_text or part.or_nothing) and tokenizer.id_of(part.names) is None:
            return part.names[0]
    return None
