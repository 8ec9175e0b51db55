"""Whether two spellings of base_model_name_or_path name one model, by rule: owner, name, number format, folder.

A Hub id is ``owner/name``. What number format a model was stored in (-BF16, -FP8, bnb-4bit, GPTQ, AWQ, GGUF ...) makes no other
model of it; who owns it does, unless the owner only stores other people's models anew. A folder's name proves nothing.
"""

import re
from typing import NamedTuple

#: Words at the end of a name that tell how its numbers are stored, not which model it is.
_FORMAT_WORD = re.compile(
    r"[-_. ](bf16|fp16|f16|fp32|f32|fp8|nvfp4|mxfp4|mxfp8|fp4|nf4|w\d+a\d+(-?g\d+)?|\d-?bits?|int\d|bnb|gptq|awq|gguf|exl[23]"
    r"|hqq|autoawq|dwq|kv|ud|imat|i1|eetq|aqlm|autoround|auto-round|quip|quark|torchao|quantized|dynamic|block|unsloth|mlx|onnx|hf|sharded"
    r"|i?q\d([-_](\d|k|nl|xxs|xs|s|m|l|xl))*|g\d+|\d+g|sym|asym|marlin)$"
)
#: Names that the Hub took without an owner before 2024, by how they start, and the owner that it gave them.
_FIRST_NAMES = (
    ("distilbert-", "distilbert"), ("distilroberta-", "distilbert"), ("distilgpt2", "distilbert"), ("bert-", "google-bert"),
    ("xlm-roberta-", "facebookai"), ("roberta-", "facebookai"), ("xlm-", "facebookai"), ("albert-", "albert"),
    ("gpt2", "openai-community"), ("openai-gpt", "openai-community"), ("t5-", "google-t5"), ("xlnet-", "xlnet"),
    ("camembert-", "almanach"), ("flaubert_", "flaubert"), ("ctrl", "salesforce"), ("transfo-xl-", "transfo-xl"),
)  # fmt: skip
#: Owners who store other people's models anew under the models' own names.
_MIRRORS = frozenset(
    "unsloth nousresearch alpindale huggyllama ai-modelscope llm-research modelscope thebloke bartowski mlx-community "
    "lmstudio-community quantfactory hugging-quants neuralmagic redhatai casperhansen ggml-org nvidia".split()
)
#: First parts of relative paths that are folders, not owners.
_FOLDERS = frozenset(
    "model models base bases base_model base_models checkpoint checkpoints ckpt ckpts pretrained pretrained_models output outputs "
    "weights data llm llms hf hub cache tmp local content workspace mnt home root".split()
)
_CACHED = re.compile(r"models--(?P<owner>[^/]+?)--(?P<name>[^/]+)(/snapshots/[^/]+)?$", re.IGNORECASE)


class BaseName(NamedTuple):
    """A base's name in parts, in lower case; ``owner`` is None where none is written, ``stored`` what was cut off its end."""

    owner: str | None
    name: str
    stored: str
    folder: bool


def parse(base: str) -> BaseName:
    """A base_model_name_or_path taken apart; a snapshot in the Hub's cache is the model that it is of."""
    path = base.strip().replace("\\", "/").rstrip("/").lower()
    if cached := _CACHED.search(path):
        path = f"{cached['owner']}/{cached['name']}"
    first, _, _ = path.partition("/")
    folder = (
        base.startswith(("/", ".", "~")) or path.count("/") > 1 or ":" in path or ("/" in path and first in _FOLDERS)
    )
    owner, name = (None, path.rpartition("/")[2]) if folder or "/" not in path else path.split("/", 1)
    plain = _without_format(name)
    if owner is None and not folder:
        owner = next((owner for start, owner in _FIRST_NAMES if plain.startswith(start)), None)
    stored = re.sub(r"[-_.](hf|sharded|unsloth)(?![^-_.])", "", name[len(plain) :])  # packaging, no number format
    return BaseName(owner, plain, stored, folder)


def _without_format(name: str) -> str:
    while match := _FORMAT_WORD.search(name):
        name = name[: match.start()]
    return name


def _squeezed(name: str, owners: tuple[str | None, ...]) -> str:
    """The name without what spellings differ in: owners written into it, and all separators that stand not between digits.

    Those stay: opt-1.3b is not opt-13b.
    """
    starts = [owner for owner in owners if owner] + (["meta-llama", "meta"] if "llama" in name else [])
    for start in sorted(starts, key=len, reverse=True):
        rest = name.removeprefix(start)
        if rest != name and rest[:1] in tuple("-_.") and len(rest) > 1 and (start != "meta-llama" or rest[0] == "_"):
            name = rest[1:]
            break
    return re.sub(r"[-_. ]+", "", re.sub(r"(?<=\d)[-_. ]+(?=\d)", "|", name))


def compare(task: str, domain: str) -> tuple[bool, str | None]:
    """(whether two bases can be one model, what to say about it: a note if they can, the reason if not)."""
    if task == domain:
        return True, None
    one, other = parse(task), parse(domain)
    owners = (one.owner, other.owner)
    if _squeezed(one.name, owners) == _squeezed(other.name, owners):
        return _of_one_name(one, other, f"{task} and {domain}")
    if one.folder or other.folder:
        return True, f"The bases are spelled differently ({task} and {domain}); make sure that they are the same model."
    return False, None


def _of_one_name(one: BaseName, other: BaseName, both: str) -> tuple[bool, str | None]:
    mirrored = bool({one.owner, other.owner} & _MIRRORS) or bool(one.stored) != bool(other.stored)
    if one.owner and other.owner and one.owner != other.owner and not mirrored:
        return False, f"{both} share a name, but belong to different owners: they are two models."
    if one.stored != other.stored:
        return True, f"{both} are taken for one model in two number formats; the merge is for either."
    return True, f"The bases are spelled differently ({both}); make sure that they are the same model."
