"""A base that a server holds, and how variants get there."""

from pathlib import Path

from tada_studio.base_model.engine import Engine, connect
from tada_studio.exporting.folder import write_adapter
from tada_studio.exporting.plain import at_one_rank
from tada_studio.lora import Adapter


def open_engine(url: str, base: str | None = None, folder: str | Path | None = None) -> Engine:
    """The base of an OpenAI-compatible server that loads LoRA adapters while it runs (vLLM), to score and to ask.

    base: folder or Hub id with its tokenizer, which need not hold weights; None: what the server calls its model. folder: where
    variants are exported for the server to read; None: a temporary folder of this machine. Raises BaseError.
    """
    return connect(url, base, _save, None if folder is None else Path(folder))


def _save(adapter: Adapter, folder: Path) -> None:
    write_adapter(at_one_rank(adapter), folder)
