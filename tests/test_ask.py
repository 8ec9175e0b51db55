"""One prompt to all variants: each answers as it would alone, the odds are the choices' likelihoods, Stop keeps what was said."""

from itertools import pairwise

import pytest
import torch

from tada_studio.base_model.generate import Sampling, answers, tokens_of
from tada_studio.errors import InputError, Stopped
from tada_studio.evaluation import Item, score
from tada_studio.evaluation.prompts import Answer, Question
from tada_studio.session import Session

ITEM = Item("question : what is quartz ? answer :", ("hard", "soft rock", "red hot metal"), 1)
EVERYBODY = ("base", "task", "domain", "merge")


@pytest.fixture
def session(pico):
    session = Session()
    session.open(str(pico.task), str(pico.domain), str(pico.base))
    yield session
    session.close()


def test_every_variant_answers_as_it_would_alone(session):
    how = Sampling(most=6, temperature=0.8, seed=3)
    session.ask(Question(ITEM.question), EVERYBODY, how)
    view = session.view
    for name, adapter in zip(EVERYBODY, (None, view.pair.task, view.pair.domain, view.adapter), strict=True):
        with session.base.with_adapter(adapter):
            alone = answers(session.base, [tokens_of(session.base, ITEM.question)], how)[0]
        assert session.answers[name].text == alone and session.answers[name].done
    assert len({answer.text for answer in session.answers.values()}) > 1


def test_the_odds_are_the_shares_of_the_choices_likelihoods(session):
    session.ask(Question(ITEM.question, item=ITEM), ("task",), Sampling(most=1))
    with session.base.with_adapter(session.pair.task):
        expected = score(session.base, [ITEM]).loglik[0].double().softmax(0)
    odds = session.answers["task"].odds
    assert [one.choice for one in odds] == list(ITEM.choices) and [one.right for one in odds] == [False, True, False]
    torch.testing.assert_close(torch.tensor([one.share for one in odds], dtype=torch.float64), expected)
    assert sum(one.share for one in odds) == pytest.approx(1)


def test_stop_keeps_what_was_said_and_leaves_the_base_bare(session):
    ids = torch.tensor([[5, 6, 7]])
    bare = session.load_base().model(input_ids=ids).logits

    def stop_in_the_middle(progress):
        if progress.note == "task answers" and session.answers["task"].text:
            session.stop()

    with pytest.raises(Stopped):
        session.ask(Question("gold is"), EVERYBODY, Sampling(most=40), stop_in_the_middle)
    assert session.answers["base"].done and session.answers["task"].text and not session.answers["task"].done
    assert set(session.answers) == {"base", "task"}
    assert torch.equal(session.base.model(input_ids=ids).logits, bare)


def test_an_answer_that_was_handed_out_does_not_change(session):
    seen = []
    session.ask(
        Question("gold is"),
        ("base", "task"),
        Sampling(most=4),
        lambda step: seen.append(session.answers or {"base": Answer()}),
    )
    texts = [{name: answer.text for name, answer in answers.items()} for answers in seen]
    assert len({str(text) for text in texts}) > 2 and list(texts[0]) == ["base"] and list(texts[-1]) == ["base", "task"]
    assert all(later["base"].startswith(first["base"]) for first, later in pairwise(texts))


def test_an_empty_prompt_is_refused_before_anybody_speaks(session):
    with pytest.raises(InputError, match="empty"):
        session.ask(Question(" "), EVERYBODY, Sampling())
    assert session.answers == {}
