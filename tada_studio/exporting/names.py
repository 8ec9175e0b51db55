"""Which names go into adapter_config.json, and which modules PEFT could not load under any name.

PEFT finds the layers of a folder by its own rule: a module is adapted if its name is one of ``target_modules``, or ends in a
dot and one of them. A short name that means twelve layers to the merge may mean eighteen to the base.
"""

import re
from collections.abc import Collection, Iterable

from torch import nn

from tada_studio.errors import ExportError
from tada_studio.lora import Adapter

#: The task types that PEFT's LoraConfig takes; it refuses every other.
TASK_TYPES = ("SEQ_CLS", "SEQ_2_SEQ_LM", "CAUSAL_LM", "TOKEN_CLS", "QUESTION_ANS", "FEATURE_EXTRACTION")
#: Parts of a name that are tried before the full names are written.
_MOST_PARTS = 3


def task_type(adapter: Adapter) -> str | None:
    """The adapter's task type as PEFT spells it; None for one that PEFT does not know, which it would refuse to load."""
    written = (adapter.task_type or "").upper()
    return written if written in TASK_TYPES else None


def target_modules(adapter: Adapter, layers: Collection[str] | None = None) -> list[str] | str:
    """The shortest names that mean exactly the adapter's modules.

    layers: the names of all modules of the base's own class; None: no base is at hand, and the full names are written
    A pattern (which PEFT takes, but no server) is the last resort, where a full name is also the end of another.
    """
    wanted, others = set(adapter.modules), set(layers or ()) | {*adapter.modules}
    for parts in range(1, _MOST_PARTS + 1) if layers else ():
        tails = {".".join(name.split(".")[-parts:]) for name in wanted}
        if not any(tail[0].isdecimal() for tail in tails) and _hit(tails, others, adapter.heads) == wanted:
            return sorted(tails)
    if _hit(wanted, others, adapter.heads) == wanted:
        return sorted(wanted)
    return f"(?:{'|'.join(map(re.escape, sorted(wanted)))})"


def _hit(targets: Collection[str], names: Iterable[str], heads: Collection[str]) -> set[str]:
    """The modules that PEFT would adapt: by name or by the end of it, but for those in a module that is kept whole."""
    ends = tuple(f".{target}" for target in targets)
    return {name for name in names if (name in targets or name.endswith(ends)) and not _kept_whole(name, heads)}


def _kept_whole(name: str, heads: Collection[str]) -> str | None:
    """The head that PEFT takes a module to lie in: its name stands among the parts of the module's."""
    return next((head for head in heads if f".{head}." in f".{name}."), None)


def check_names(adapter: Adapter) -> None:
    """Raise ExportError, in one sentence, for modules that PEFT cannot load beside each other or at all."""
    for name in adapter.modules:
        _check_attributes(name)
        _check_beside(name, adapter)


_TAKEN = frozenset(dir(nn.Module()))


def _check_attributes(name: str) -> None:
    taken = next((part for part in name.split(".") if part in _TAKEN), None)
    if taken is not None:
        raise ExportError(
            f"{name}: has a part called {taken!r}, which every torch module has as its own attribute; neither PEFT nor torch "
            "finds a layer by that name. Rename the layer in the base and train again."
        )


def _check_beside(name: str, adapter: Adapter) -> None:
    path = name.split(".")
    above = [".".join(path[:i]) for i in range(1, len(path))]
    if whole := _kept_whole(name, adapter.heads):
        raise ExportError(
            f"{name}: is adapted by a LoRA and {'kept whole' if whole == name else f'lies in {whole}, which is kept whole'} "
            "(modules_to_save) at once, which PEFT cannot load. Take adapters that agree: train that module one way in both."
        )
    if outer := next((outer for outer in above if outer in adapter.modules), None):
        raise ExportError(
            f"{name}: lies inside {outer}, which is adapted too: one layer under two names, of two versions or classes of the "
            "base. Take adapters that were trained on one class of the base."
        )
