"""TaDA Studio: merge a task LoRA and a domain LoRA into one adapter that you understand and can trust.

    import tada_studio as tada
    pair     = tada.read_pair(task="path-or-hub-id", domain="path-or-hub-id")
    base     = tada.load_base("path-or-hub-id")
    readings = tada.probe(pair, base, inputs)
    merged   = tada.merge(pair, readings, tada.Recipe(rank=16))
    report   = tada.export(merged, "out/", base=base)

Names are loaded when first used, so importing this package costs next to nothing.
"""

import importlib
import sys
from types import ModuleType
from typing import Any

__version__ = "0.1.0"

_WHERE = {
    "Adapter": "lora",
    "AdapterError": "errors",
    "Base": "base",
    "BaseError": "errors",
    "Certificate": "certify",
    "ExportError": "errors",
    "Gates": "core.gates",
    "InputError": "errors",
    "Item": "evaluate",
    "LoraModule": "lora",
    "METHODS": "core.methods",
    "MismatchError": "errors",
    "Pair": "lora",
    "Progress": "progress",
    "Readings": "probe",
    "Recipe": "recipe",
    "RecipeError": "errors",
    "Score": "evaluate",
    "Session": "session",
    "TadaError": "errors",
    "evaluate": "studio",
    "export": "studio",
    "gates": "studio",
    "load_base": "studio",
    "merge": "studio",
    "probe": "studio",
    "push": "studio",
    "read_adapter": "studio",
    "read_inputs": "probe",
    "read_items": "evaluate",
    "read_pair": "studio",
    "samples": "samples",
    "search": "tuning",
    "verify": "studio",
}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'tada_studio' has no attribute {name!r}")
    return getattr(importlib.import_module(f"tada_studio.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__doc__"]


class _Package(ModuleType):
    """Keeps ``tada_studio.probe`` the function: the import system would bind the submodule of that name here."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _WHERE and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
