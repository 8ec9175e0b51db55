"""Pairs of the method lab on tiny bases: other seeds, bases and ranks of the samples minerals-tiny and vit-glyphs."""

import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from lab_pairs import LabPair

SAMPLES = Path(__file__).resolve().parent.parent / "sample_adapters"
sys.path.insert(0, str(SAMPLES / "make"))

import minerals_text as text  # noqa: E402
import minerals_tiny as minerals  # noqa: E402
import vit_glyphs as glyphs  # noqa: E402

#: The sample's seed, whose names of minerals its base can read.
SAMPLE = {"minerals-tiny": 7, "vit-glyphs": 0}


def make(pair: LabPair, folder: Path, bases: Path) -> None:
    """Train a pair; its base first, if that is not there yet."""
    {"minerals-tiny": _minerals, "vit-glyphs": _glyphs}[pair.family](pair, folder, bases)


def write_sample(folder: Path, about: dict[str, object], base: Path) -> None:
    """What makes a folder a sample, written last: its base is beside it or elsewhere."""
    about = {**about, "base": os.path.relpath(base, folder)}
    (folder / "sample.json").write_text(json.dumps(about, indent=2), encoding="utf-8")


# -- minerals ------------------------------------------------------------------------------------------------------


def _minerals(pair: LabPair, folder: Path, bases: Path) -> None:
    """New facts about the minerals that the base knows by name only, other general facts to train the task on, new items."""
    known = SAMPLE[pair.family] if pair.base == "sample" else int(pair.base)
    base = SAMPLES / pair.family / "base" if pair.base == "sample" else bases / f"minerals-{known}"
    if not (base / "config.json").is_file():
        minerals.make_base(minerals.world(known, minerals.FULL), base, bases / f"minerals-{known}-work")
    drawn = minerals.world(pair.seed, minerals.FULL)
    named = [
        replace(one, name=name)
        for one, name in zip(drawn.minerals, text.names(len(drawn.minerals), known), strict=True)
    ]
    task, domain = (replace(drawn, minerals=named, size=replace(drawn.size, rank=rank)) for rank in pair.ranks)
    minerals.write_items(task, folder)
    # the plan was committed, and its first pairs scored, when domain inputs were letter questions: so they stay
    text.write_rows(folder / "probe.jsonl", text.probe_questions(task.minerals, 32, task.seed))
    steps = {"task": minerals.make_task(task, base, folder / "task", folder / "work")}
    steps["domain"] = minerals.make_domain(domain, base, folder / "domain", folder / "work")
    write_sample(folder, {**minerals.ABOUT, "name": pair.name, "steps": steps}, base)


# -- glyphs --------------------------------------------------------------------------------------------------------


def _glyphs(pair: LabPair, folder: Path, bases: Path) -> None:
    """Adapters of another seed and their items, and validation items of a stream of their own."""
    base = SAMPLES / pair.family / "base" if pair.base == "sample" else bases / f"glyphs-{pair.base}"
    if not (base / "config.json").is_file():
        glyphs.make_base(base, glyphs.LESSONS["base"], int(pair.base), bases / f"glyphs-{pair.base}-work")
    for name, rank in zip(("task", "domain"), pair.ranks, strict=True):
        glyphs.make_adapter(folder / name, glyphs.LESSONS[name], pair.seed, folder / "work", base, rank)
    glyphs.make_images(folder, pair.seed)
    files = {**glyphs.ABOUT["files"], "validation": {side: f"validation/{side}" for side in glyphs.ITEMS}}
    validation_images(folder, pair.seed)
    write_sample(folder, {**glyphs.ABOUT, "name": pair.name, "files": files}, base)


def validation_images(folder: Path, seed: int) -> None:
    """Two fifths as many images as the items, by label, from a later step of the items' streams."""
    shutil.rmtree(folder / "validation", ignore_errors=True)
    for side, (labels, style, each) in glyphs.ITEMS.items():
        some = each * 2 // 5
        wanted = [label for label in labels for _ in range(some)]
        images = glyphs.draw_these(wanted, style, glyphs.stream(seed, f"{side} items", 1))
        for label, drawn in zip(labels, images.split(some), strict=True):
            glyphs._save(drawn, folder / "validation" / side / label)
