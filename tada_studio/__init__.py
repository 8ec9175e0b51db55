"""TaDA Studio: merge a task LoRA and a domain LoRA into one adapter that you understand and can trust.

    import tada_studio as tada
    pair     = tada.read_pair(task="path-or-hub-id", domain="path-or-hub-id")
    base     = tada.load_base("path-or-hub-id")
    readings = tada.probe(pair, base, inputs)
    merged   = tada.merge(pair, readings, tada.Recipe(rank=16))
    certificate = tada.export(merged, "out/", base=base)

Names are loaded when first used, so importing this package costs next to nothing. What there is, and of which type, stands
in ``__init__.pyi``; editors and type checkers read it too.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
