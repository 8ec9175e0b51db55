"""The vision sample holds what it promises, and its script makes such a sample from nothing."""

import hashlib
import json
import sys
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForImageClassification

from tada_studio import pipeline, report
from tada_studio.base_model.images import image_files, opened
from tada_studio.core.gates import depth_profiles
from tada_studio.core.gates import gates as gates_of
from tada_studio.core.stats import holm, paired_p
from tada_studio.pipeline.merge import merge
from tada_studio.probing import Readings
from tada_studio.recipe import Recipe
from tada_studio.sample_pairs import sample

MAKE = Path(__file__).parent.parent / "sample_adapters" / "make"


@pytest.fixture(scope="module")
def make():
    """The script as a module; its neighbours are imported by their plain names."""
    sys.path.insert(0, str(MAKE))
    import vit_glyphs

    yield vit_glyphs
    sys.path.remove(str(MAKE))


@pytest.fixture(scope="module")
def chosen():
    return sample("vit-glyphs")


@pytest.fixture(scope="module")
def opened_sample(chosen):
    """(base, pair, cached readings)"""
    readings = Readings.load(chosen.readings)
    return pipeline.load_base(chosen.base, device="cpu"), pipeline.read_pair(chosen.task, chosen.domain), readings


@pytest.fixture(scope="module")
def scores(chosen, opened_sample):
    base, pair, readings = opened_sample
    sums = {"average": Recipe(method="linear", strength=0.5), "sum": Recipe(method="linear")}
    merges = {name: merge(pair, None, recipe) for name, recipe in sums.items()}
    variants = {
        "base": None,
        "task": pair.task,
        "domain": pair.domain,
        **merges,
        "tada": merge(pair, readings),
    }
    return pipeline.score_sides(base, variants, pipeline.sample_items(chosen))


def test_the_merge_reads_what_neither_parent_can(scores):
    both = scores["both"]
    rivals = ("base", "task", "domain")
    p = holm([paired_p(both["tada"].correct, both[name].correct) for name in rivals])
    assert max(p) < 0.01 and all(both["tada"].accuracy > both[name].accuracy + 0.1 for name in rivals)
    assert both["tada"].n >= 400


def test_every_figure_is_the_one_that_sample_json_promises(chosen, scores):
    promised = chosen.about["measured"]
    assert set(promised) == set(scores)
    for side, found in scores.items():
        for name, score in found.items():
            figures = promised[side][name]
            assert figures["low"] <= score.accuracy <= figures["high"], (side, name)
            # a near tie may fall the other way on another processor
            assert (figures["accuracy"], figures["n"]) == (pytest.approx(score.accuracy, abs=0.011), score.n)
    said = " ".join(report.comparison_sentences(scores))
    assert "base answers with the head of task (10 labels)" in said and "domain answers with the head of task" in said


def test_the_cached_readings_are_those_of_the_probe_images(chosen, opened_sample):
    base, pair, readings = opened_sample
    readings.belongs_to(pair)
    taken = pipeline.probe(pair, base, pipeline.sample_inputs(chosen))
    torch.testing.assert_close(gates_of(taken).values, gates_of(readings).values, rtol=0, atol=1e-4)
    assert taken.about["inputs"] == readings.about["inputs"] and len(readings.tokens) == 32
    depth = depth_profiles(readings, gates_of(readings), Recipe())[""]
    assert depth.rho == pytest.approx(chosen.about["depth"]["rho"], abs=1e-3)
    assert (depth.interval.low, depth.interval.high) == pytest.approx(
        (chosen.about["depth"]["low"], chosen.about["depth"]["high"]), abs=1e-3
    )


def test_the_merge_loads_with_transformers_and_peft_alone(chosen, opened_sample, tmp_path):
    base, pair, readings = opened_sample
    merged = merge(pair, readings)
    assert pipeline.export(merged, tmp_path / "out", base=base).holds
    model = AutoModelForImageClassification.from_pretrained(chosen.base, num_labels=10, ignore_mismatched_sizes=True)
    theirs = PeftModel.from_pretrained(model, tmp_path / "out").eval()
    files = image_files(chosen.probe)
    with base.with_adapter(merged) as ours, torch.inference_mode():
        pixels = base.tokenizer(files)
        torch.testing.assert_close(
            ours(pixel_values=pixels).logits, theirs(pixel_values=pixels).logits, rtol=0, atol=1e-5
        )


def digests(images):
    return [hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in images]


def on_disk(folder):
    """Digests of the pixels, as training would know them."""
    return [hashlib.sha256(opened(file, 1).tobytes()).hexdigest() for file in image_files(folder)]


def test_no_image_of_training_is_probed_or_asked(make, chosen):
    """Every stream of random numbers is its own, and a tenth of all training images, drawn again, meets no image on disk."""
    seeds = {make.stream(0, use, step).initial_seed() for use in make.STREAMS for step in range(1000)}
    assert len(seeds) == 1000 * len(make.STREAMS)
    shipped = [*(path for folder in chosen.items.values() for path in on_disk(folder)), *on_disk(chosen.probe)]
    assert len(set(shipped)) == len(shipped) == 732
    trained = [
        digest
        for lesson in make.LESSONS.values()
        for step in range(0, lesson.plan.steps, 10)
        for digest in digests(make.batch(lesson, 0, step)["images"])
    ]
    assert len(trained) == 190 * 128 and not set(trained) & set(shipped)


def test_the_images_on_disk_are_those_that_the_script_draws(make, chosen):
    for side, folder in chosen.items.items():
        for label, images in make.item_images(side, chosen.about["seed"]).items():
            assert digests(images) == on_disk(folder / label)
    assert digests(make.probe_images(chosen.about["seed"])) == on_disk(chosen.probe)


@pytest.mark.nightly
def test_the_script_makes_a_sample_from_nothing_and_repeats_no_step(make, tmp_path, monkeypatch, capfd):
    """A tenth of the training: too short for a good sample, long enough that every part of it does its work."""
    out, work = tmp_path / "vit-glyphs", tmp_path / "work"
    words = ["--quick", "--out", str(out), "--work", str(work)]
    make.main(words)
    about = json.loads((out / "sample.json").read_text())
    both = {name: figures["accuracy"] for name, figures in about["measured"]["both"].items()}
    assert both["tada"] > both["base"] + 0.05 and about["measured"]["task"]["task"]["accuracy"] > 0.5
    assert set(about) == set(json.loads((MAKE.parent / "vit-glyphs" / "sample.json").read_text()))
    files = {path.name for path in out.rglob("*") if path.is_file() and "items" not in path.parts}
    assert files >= {"labels.json", "preprocessor_config.json", "readings.safetensors", "model.safetensors"}
    assert "/" not in json.loads((out / "task" / "adapter_config.json").read_text())["base_model_name_or_path"]

    before = (out / "domain" / "adapter_model.safetensors").stat().st_mtime_ns
    monkeypatch.setattr(make, "teach", lambda *_: pytest.fail("a finished step was repeated"))
    make.main(words)
    assert (out / "domain" / "adapter_model.safetensors").stat().st_mtime_ns == before
    assert json.loads((out / "sample.json").read_text()) == about
