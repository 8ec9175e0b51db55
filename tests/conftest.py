"""One hypothesis profile: the same cases on every machine, and no deadline (torch's first call takes a second)."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"  # gradio_client, with which the tests knock, would report it
os.environ["TADA_STUDIO_STATE"] = tempfile.mkdtemp(prefix="tada-studio-state-")  # not the sessions of whoever runs them
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers with a thread for each core would wait for each other

import pytest
from hypothesis import settings
from pico import pico_adapter, pico_base, pico_inputs, pico_items

settings.register_profile("tada", deadline=None, derandomize=True, max_examples=30)
settings.load_profile("tada")


@dataclass(frozen=True)
class Pico:
    """Paths of a base of a few thousand parameters, two adapters of it, probe inputs and items."""

    base: Path
    task: Path
    domain: Path
    inputs: Path
    items: Path


@pytest.fixture(scope="session")
def pico(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pico]:
    """Built once; tests copy what they change."""
    folder = tmp_path_factory.mktemp("pico")
    base = pico_base(folder / "base")
    task, domain = pico_adapter(folder / "task", base, seed=1), pico_adapter(folder / "domain", base, seed=2, rank=3)
    yield Pico(base, task, domain, pico_inputs(folder / "probe.txt"), pico_items(folder / "items.jsonl"))
    shutil.rmtree(folder, ignore_errors=True)
