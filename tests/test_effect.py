"""Effects of a merge's parts: each equals scoring the merge without it; geometry beside it; a stop keeps what is done."""

import pytest
import torch
from pico import pico_items

from tada_studio import studio
from tada_studio.effect import Change, Effects, Part, energy_shares, margins, measure, parts, without
from tada_studio.errors import InputError, Stopped
from tada_studio.evaluate import Item, read_items
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


def measured(session, sides, todo, report=lambda progress: None, into=None):
    pair, into = session.pair, into or Effects(Recipe(), "some items")
    measure(
        session.load_base(), session.view.adapter, {"task": pair.task, "domain": pair.domain}, sides, todo, into, report
    )
    return into


def test_an_effect_is_what_scoring_without_the_part_says(session, sides):
    todo = parts(session.pair.addresses, ("layer", "projection"))
    assert [part.name for part in todo][:4] == ["layer 0", "layer 1", "layer 2", "q_proj"] and len(todo) == 10
    found, merged = measured(session, sides, todo), session.view.adapter
    for part in (todo[1], todo[5]):
        rest = without(merged, part.modules)
        assert set(merged.modules) - set(rest.modules) == set(part.modules) and rest.modules
        for side, items in sides.items():
            scores = studio.evaluate(session.base, {"whole": merged, "rest": rest}, items)
            change = found.changes[part][side]
            assert change.gold == pytest.approx(scores["whole"].nll - scores["rest"].nll, abs=1e-6)
            by_hand = margins(scores["rest"].loglik, items) - margins(scores["whole"].loglik, items)
            assert change.margin == pytest.approx(float(by_hand.mean()), abs=1e-6)
            assert change.low <= change.gold <= change.high


def test_without_everything_there_is_the_base_and_without_nothing_no_change(session, sides):
    merged = session.view.adapter
    found = measured(session, sides, [Part("layer", "all", tuple(merged.modules)), Part("layer", "none", ())])
    for side, items in sides.items():
        scores = studio.evaluate(session.base, {"whole": merged, "base": None}, items)
        changes = {part.name: change[side] for part, change in found.changes.items()}
        assert changes["all"].gold == pytest.approx(scores["whole"].nll - scores["base"].nll, abs=1e-6)
        assert changes["none"] == Change(0.0, 0.0, 0.0, 0.0)
    assert [found.energy[part] for part in found.changes] == pytest.approx([1.0, 0.0])


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
    todo, into = parts(session.pair.addresses, ("layer",)), Effects(Recipe(), "some items")
    ids = torch.tensor([[5, 6, 7]])
    bare = session.load_base().model(input_ids=ids).logits

    def stop(progress):
        if progress.done == 2:
            raise Stopped("enough")

    with pytest.raises(Stopped):
        measured(session, sides, todo, stop, into)
    assert [part.name for part in into.changes] == ["layer 0"]
    assert torch.equal(session.base.model(input_ids=ids).logits, bare)
    steps = []
    measured(session, sides, todo, steps.append, into)
    assert len(into.changes) == 3 and not any("layer 0" in step.note for step in steps)


def test_items_for_verdicts_are_never_measured_on(session, sides):
    found = session.measure_effects(("projection",), most=4, sides=sides)
    assert found is session.effects and len(found.changes) == 7 and "half of the items" in found.says
    assert session.measure_effects(("layer",), most=4, sides=sides) is found and len(found.changes) == 10
    with pytest.raises(InputError, match="sample's items"):
        session.measure_effects(("layer",))


def effects(lost, energy):
    found = Effects(Recipe(), "40 validation items")
    for i, (gold, share) in enumerate(zip(lost, energy, strict=True)):
        part = Part("layer", f"layer {i}", ())
        found.changes[part] = {"task": Change(-gold, -gold - 0.01, -gold + 0.01, None)}
        found.energy[part] = share
    return found


def test_the_words_say_what_matters_what_harms_and_whether_size_tells():
    said = " ".join(effect_sentences(effects([0.1, 0.5, -0.2, 0.3], [0.2, 0.4, 0.1, 0.3])))
    assert (
        "Without layer 1 the right answers lose most: task -0.500" in said
        and "better without layer 2 on every side" in said
    )
    assert "rho +1.00" in said and "how large a part is tells which matter" in said and "40 validation items" in said
    against = " ".join(effect_sentences(effects([0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1])))
    assert "rho -1.00" in against and "tells little about which matter" in against
