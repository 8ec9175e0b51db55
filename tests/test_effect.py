"""Effects of a merge's parts: each equals scoring the merge without it; geometry beside it; a stop keeps what is done."""

import math

import pytest
import torch
from pico import pico_items
from transformers import AutoModelForCausalLM, AutoTokenizer

from tada_studio import pipeline
from tada_studio.errors import InputError, Stopped
from tada_studio.evaluation import Item, Passage, read_items
from tada_studio.evaluation.effect import PROBE, Change, Effects, Part, energy_shares, margins, measure, parts, without
from tada_studio.recipe import Recipe
from tada_studio.report import effect_sentences
from tada_studio.session import Session


@pytest.fixture(scope="module")
def session(pico):
    session = Session()
    session.open(str(pico.task), str(pico.domain), str(pico.base))
    yield session
    session.close()


@pytest.fixture(scope="module")
def sides(tmp_path_factory):
    folder = tmp_path_factory.mktemp("items")
    return {
        side: read_items(pico_items(folder / f"{side}.jsonl", 10, seed=i)) for i, side in enumerate(("domain", "task"))
    }


NOTHING = Effects(Recipe(), "some items")


def steps(session, sides, todo, progress=lambda progress: None, start=NOTHING):
    heads = {"task": session.pair.task, "domain": session.pair.domain}
    return measure(session.load_base(), session.view.adapter, heads, sides, todo, start, progress)


def measured(*what):
    *_, last = steps(*what)
    return last


def test_an_effect_is_what_scoring_without_the_part_says(session, sides):
    todo = parts(session.pair.addresses, ("layer", "projection"))
    assert [part.name for part in todo][:4] == ["layer 0", "layer 1", "layer 2", "q_proj"] and len(todo) == 10
    found, merged = measured(session, sides, todo), session.view.adapter
    for part in (todo[1], todo[5]):
        rest = without(merged, part.modules)
        assert set(merged.modules) - set(rest.modules) == set(part.modules) and rest.modules
        for side, items in sides.items():
            scores = pipeline.evaluate(session.base, {"whole": merged, "rest": rest}, items)
            change = found.changes[part][side]
            assert change.gold == pytest.approx(scores["whole"].nll - scores["rest"].nll, abs=1e-6)
            by_hand = margins(scores["rest"].loglik, items) - margins(scores["whole"].loglik, items)
            assert change.margin == pytest.approx(float(by_hand.mean()), abs=1e-6)
            assert change.low <= change.gold <= change.high


@torch.inference_mode()
def one_by_one(folder, merged, gone, items):
    """(log-probability of the right choice among the choices, its lead over the best other), means over the items: the zeroed
    update added to the base's own weights, every choice run alone, the head at every position."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    for name, module in merged.modules.items():
        model.get_submodule(name).weight.data += module.delta() * (0.0 if name in gone else 1.0)
    gold, lead = [], []
    for item in items:
        start = len(tokenizer(item.question).input_ids)
        logliks = []
        for choice in item.choices:
            ids = torch.tensor([tokenizer(f"{item.question} {choice}").input_ids])
            said = model(input_ids=ids).logits[0].log_softmax(-1)
            logliks.append(sum(float(said[i - 1, ids[0, i]]) for i in range(start, ids.shape[1])))
        right = logliks.pop(item.answer)
        gold.append(right - math.log(sum(map(math.exp, [right, *logliks]))))
        lead.append(right - max(logliks))
    return sum(gold) / len(items), sum(lead) / len(items)


def test_an_effect_is_what_zeroing_the_layer_s_update_does_to_items_scored_one_by_one(pico, session, sides):
    merged, (layer, *_) = session.view.adapter, parts(session.pair.addresses, ("layer",))
    change = measured(session, sides, [layer]).changes[layer]
    for side, items in sides.items():
        (whole, lead), (rest, lead_of_rest) = (
            one_by_one(pico.base, merged, gone, items) for gone in ((), layer.modules)
        )
        assert abs(rest - whole) > 1e-3, "the layer does nothing, and nothing is tested"
        assert change[side].gold == pytest.approx(rest - whole, abs=1e-5)
        assert change[side].margin == pytest.approx(lead_of_rest - lead, abs=1e-5)


def test_without_everything_there_is_the_base_and_without_nothing_no_change(session, sides):
    merged = session.view.adapter
    found = measured(session, sides, [Part("layer", "all", tuple(merged.modules)), Part("layer", "none", ())])
    for side, items in sides.items():
        scores = pipeline.evaluate(session.base, {"whole": merged, "base": None}, items)
        changes = {part.name: change[side] for part, change in found.changes.items()}
        assert changes["all"].gold == pytest.approx(scores["whole"].nll - scores["base"].nll, abs=1e-6)
        assert changes["none"] == Change(0.0, 0.0, 0.0, 0.0)
    assert [found.energy[part] for part in found.changes] == pytest.approx([1.0, 0.0])


def test_probe_texts_are_shown_by_the_token_and_do_not_judge(session, sides):
    whole, texts = session.view.adapter, [Passage("the old rock is a hard red crystal"), Passage("iron ore")]
    part = parts(session.pair.addresses, ("layer",))[0]
    found = measured(session, {**sides, PROBE: texts}, [part])
    scores = pipeline.evaluate(session.base, {"whole": whole, "rest": without(whole, part.modules)}, texts)
    change = found.changes[part][PROBE]
    assert change.gold == pytest.approx(scores["whole"].nll - scores["rest"].nll, abs=1e-6) and change.margin is None
    assert abs(change.gold) > 1e-4 and list(found.judged(part)) == list(sides)
    assert found.total(part) == measured(session, sides, [part]).total(part)
    assert "probe texts (a token) " in effect_sentences(found)[0]


def test_energy_shares_are_those_of_the_dense_updates(session):
    merged = session.view.adapter
    dense = {name: float(module.delta().square().sum()) for name, module in merged.modules.items()}
    shares = energy_shares(merged)
    assert shares == pytest.approx({name: value / sum(dense.values()) for name, value in dense.items()})


def test_margins_by_hand():
    items = [Item("a", ("x", "y", "z"), 1), Item("b", ("x", "y"), 0)]
    loglik = torch.tensor([[-1.0, -3.0, -2.5], [-0.5, -2.0, -torch.inf]])
    assert margins(loglik, items).tolist() == [-2.0, 1.5]
    assert margins(None, items) is None and margins(loglik, ["text", "text"]) is None


def test_a_stop_keeps_what_is_done_and_the_base_bare_and_the_rest_follows(session, sides):
    todo, seen = parts(session.pair.addresses, ("layer",)), []
    ids = torch.tensor([[5, 6, 7]])
    bare = session.load_base().model(input_ids=ids).logits

    def stop(progress):
        if progress.done == 2:
            raise Stopped("enough")

    with pytest.raises(Stopped):
        for found in steps(session, sides, todo, stop):
            seen.append(found)
    assert [[part.name for part in found.changes] for found in seen] == [[], ["layer 0"]]
    assert torch.equal(session.base.model(input_ids=ids).logits, bare)
    heard = []
    whole = measured(session, sides, todo, heard.append, seen[-1])
    assert len(whole.changes) == 3 and not any("layer 0" in step.note for step in heard)
    assert len(seen[-1].changes) == 1, "what was handed out has changed since"


def test_items_for_verdicts_are_never_measured_on(session, sides):
    found = session.measure_effects(("projection",), most=4, sides=sides)
    assert found is session.effects and len(found.changes) == 7 and "items of the half" in found.says
    more = session.measure_effects(("layer",), most=4, sides=sides)
    assert more is session.effects and len(more.changes) == 10 and len(found.changes) == 7
    with pytest.raises(InputError, match="sample's items"):
        session.measure_effects(("layer",))


def effects(lost, energy):
    found = Effects(Recipe(), "40 validation items")
    for i, (gold, share) in enumerate(zip(lost, energy, strict=True)):
        change = {"task": Change(-gold, -gold - 0.01, -gold + 0.01, None)}
        found = found.and_also(Part("layer", f"layer {i}", ()), change, share)
    return found


def test_the_words_say_what_matters_what_harms_and_whether_size_tells():
    said = " ".join(effect_sentences(effects([0.1, 0.5, -0.2, 0.3], [0.2, 0.4, 0.1, 0.3])))
    assert (
        "Without layer 1 the right answers lose most: task items -0.500" in said
        and "better without layer 2 on every side" in said
    )
    assert "rho +1.00" in said and "how large a part is tells which matter" in said and "40 validation items" in said
    against = " ".join(effect_sentences(effects([0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1])))
    assert "rho -1.00" in against and "tells little about which matter" in against
