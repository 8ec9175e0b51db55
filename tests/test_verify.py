"""A folder that claims more, less or other than it holds does not verify; each of these passed once, or could."""

import json
import random
import shutil

import pytest
from pico import pico_base
from safetensors.torch import load_file, save_file

from tada_studio import cli, pipeline
from tada_studio.base_model.inputs import read_inputs
from tada_studio.errors import TadaError
from tada_studio.exporting.certificate import CARD, CERTIFICATE, RECIPE, _digest, canonical, read_certificate
from tada_studio.files import sha256
from tada_studio.lora import CONFIG, WEIGHTS
from tada_studio.pipeline.merge import merge
from tada_studio.recipe import Recipe

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def base(pico):
    return pipeline.load_base(pico.base, device="cpu")


@pytest.fixture(scope="module")
def exported(pico, base, tmp_path_factory):
    out = tmp_path_factory.mktemp("verify") / "merged"
    pipeline.export(merge(pipeline.read_pair(pico.task, pico.domain), None, Recipe(rank=5)), out, base)
    return out


@pytest.fixture
def folder(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "out")


def wrong(folder, base=None):
    """What verify says is wrong, whether it lists it or refuses to go on."""
    try:
        return pipeline.verify(folder, base)[0]
    except TadaError as error:
        assert "\n" not in str(error)
        return [str(error)]


def test_what_was_exported_verifies(exported, base):
    assert wrong(exported) == [] and wrong(exported, base) == []


def test_a_folder_that_came_from_the_hub_verifies_and_no_other_file_may_lie_beside(folder):
    (folder / ".gitattributes").write_text("*.safetensors filter=lfs")
    (folder / ".cache" / "huggingface").mkdir(parents=True)
    (folder / ".git").mkdir()
    assert wrong(folder) == []
    (folder / ".adapter_model.bin").write_bytes(b"")
    assert wrong(folder) == [".adapter_model.bin was not there when the folder was certified."]


def claims(change, sealed=True):
    """A certificate that says something else; ``sealed``: with a digest to match."""

    def harm(folder):
        content = read_certificate(folder)
        content.pop("digest")
        change(content)
        digest = _digest(content) if sealed else read_certificate(folder)["digest"]
        (folder / CERTIFICATE).write_text(canonical({**content, "digest": digest}))

    return harm


def other_weights(folder):
    held = {key: tensor * 2 for key, tensor in load_file(folder / WEIGHTS).items()}
    save_file(held, folder / WEIGHTS, {"format": "pt"})
    claims(lambda c: c["outputs"].update({WEIGHTS: sha256(folder / WEIGHTS)}), sealed=False)(folder)


def other_recipe(folder):
    content = json.loads((folder / RECIPE).read_text())
    content["inputs"]["task"]["content_sha256"] = "0" * 64
    (folder / RECIPE).write_text(canonical(content))
    claims(lambda c: c["outputs"].update({RECIPE: sha256(folder / RECIPE)}))(folder)


LIES = {
    "no outputs": (claims(lambda c: c.update(outputs={})), "not among the certified files"),
    "one output fewer": (claims(lambda c: c["outputs"].pop(CARD)), f"{CARD} is not among"),
    "other inputs": (claims(lambda c: c["inputs"]["task"].update(content_sha256="0" * 64)), "name different inputs"),
    "no inputs": (claims(lambda c: c.update(inputs={})), "name different inputs"),
    "other inputs in the recipe": (other_recipe, "name different inputs"),
    "other weights and their hash": (other_weights, "does not have its own digest"),
    "a module fewer": (claims(lambda c: c["modules"].popitem()), "other modules"),
    "another rank": (claims(lambda c: c.update(rank=7)), "says rank 7"),
    "an unsealed change": (claims(lambda c: c.update(logit_error=1e-9), sealed=False), "its own digest"),
    "the same in other words": (lambda f: (f / CERTIFICATE).write_text(json.dumps(read_certificate(f))), "not the text"),
    "a pickle beside": (lambda f: (f / "adapter_model.bin").write_bytes(b"\x80\x04."), "adapter_model.bin was not there"),
    "a folder beside": (lambda f: (f / "checkpoint-1").mkdir(), "checkpoint-1 was not there"),
    "a file fewer": (lambda f: (f / CARD).unlink(), f"{CARD} is not the file"),
    "a path as a name": (claims(lambda c: c["outputs"].update({"../x": "0"})), "no certificate could be read"),
    "endless nesting": (lambda f: (f / CERTIFICATE).write_text("[" * 100_000), "no certificate could be read"),
    "a list": (lambda f: (f / CERTIFICATE).write_text("[]"), "no certificate could be read"),
    "outputs that are a list": (claims(lambda c: c.update(outputs=[WEIGHTS])), "no certificate could be read"),
    "bytes that are no text": (lambda f: (f / CERTIFICATE).write_bytes(b"\xff\xfe"), "no certificate could be read"),
}  # fmt: skip


@pytest.mark.parametrize(("harm", "says"), LIES.values(), ids=LIES)
def test_a_false_certificate_is_found_out(harm, says, folder):
    harm(folder)
    assert says in " ".join(wrong(folder))


def test_another_base_of_the_same_shape_is_not_the_certified_one(folder, tmp_path):
    other = pipeline.load_base(pico_base(tmp_path / "base", seed=9), device="cpu")
    assert any("base is not the one that was certified" in says for says in wrong(folder, other))


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS, RECIPE, CERTIFICATE, CARD])
def test_any_flipped_bit_of_any_file_is_caught_in_words(name, exported, tmp_path):
    draw, content = random.Random(name), (exported / name).read_bytes()
    folder = shutil.copytree(exported, tmp_path / "out")
    for at in draw.sample(range(8 * len(content)), 10):
        flipped = bytearray(content)
        flipped[at // 8] ^= 1 << at % 8
        (folder / name).write_bytes(flipped)
        assert wrong(folder), at


def test_a_flipped_bit_of_the_certificate_never_leaves_the_same_text(exported):
    """All bits of the certificate, without loading anything."""
    from tada_studio.exporting.certificate import _parsed

    content = (exported / CERTIFICATE).read_bytes()
    for at in range(0, 8 * len(content), 7):
        flipped = bytearray(content)
        flipped[at // 8] ^= 1 << at % 8
        try:
            text = flipped.decode()
            found = _parsed(exported / CERTIFICATE, text)
        except (TadaError, UnicodeDecodeError):
            continue
        claimed = found.pop("digest", None)
        assert text != canonical({**found, "digest": claimed}) or claimed != _digest(found), at


# -- made again from its parents -----------------------------------------------------------------------------------


def run(*words):
    return cli.main([str(word) for word in words])


def forged(folder):
    """Other weights under a certificate made for them: only the parents can tell."""
    shutil.rmtree(folder)
    other = merge(pipeline.read_pair(*FORGED["pair"]), None, Recipe(rank=5, strength=1.5))
    recipe = FORGED["recipe"].read_text()
    pipeline.export(other, folder)
    content = read_certificate(folder)
    content.pop("digest")
    (folder / RECIPE).write_text(recipe)
    content["inputs"], content["outputs"][RECIPE] = json.loads(recipe)["inputs"], sha256(folder / RECIPE)
    (folder / CERTIFICATE).write_text(canonical({**content, "digest": _digest(content)}))


FORGED = {}


def test_with_both_parents_the_merge_is_made_again_and_its_bytes_compared(pico, exported, folder, capsys):
    parents = ("--task", pico.task, "--domain", pico.domain)
    assert run("verify", folder, *parents) == 0
    FORGED.update(pair=(pico.task, pico.domain), recipe=exported / RECIPE)
    forged(folder)
    assert run("verify", folder) == 0  # nothing in the folder contradicts itself
    capsys.readouterr()
    assert run("verify", folder, *parents) == 2
    assert "is not the merge of these two adapters by recipe.json" in capsys.readouterr().out


def test_the_readings_are_asked_for_if_the_merge_had_some(pico, base, tmp_path, capsys):
    pair = pipeline.read_pair(pico.task, pico.domain)
    readings = pipeline.probe(pair, base, read_inputs(pico.inputs))
    readings.save(tmp_path / "readings.json")
    pipeline.export(merge(pair, readings, Recipe(rank=5)), tmp_path / "out")
    parents = ("--task", pico.task, "--domain", pico.domain)
    assert run("verify", tmp_path / "out", *parents) == 2
    assert "made with probe readings" in capsys.readouterr().err
    assert run("verify", tmp_path / "out", *parents, "--readings", tmp_path / "readings.json") == 0
    assert run("verify", tmp_path / "out", "--task", pico.task) == 2


def test_a_swapped_pair_is_not_the_same_merge(pico, folder):
    assert run("verify", folder, "--task", pico.domain, "--domain", pico.task) == 2
