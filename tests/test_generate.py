"""Answers against transformers' own generation, and the dice against the distribution that they are thrown for."""

import pytest
import torch

from tada_studio import pipeline
from tada_studio.base_model.families.causal import left_padded
from tada_studio.base_model.generate import Sampling, _pick, answers, has_chat, stream, tokens_of
from tada_studio.errors import InputError

PROMPTS = ("question : what is quartz ? answer :", "gold is", "the red rock in deep water is old and")


@pytest.fixture
def base(pico):
    return pipeline.load_base(pico.base, device="cpu")


def tokens(base):
    return [tokens_of(base, prompt) for prompt in PROMPTS]


def theirs(base, ids, most):
    made = base.model.generate(torch.tensor([ids]), max_new_tokens=most, do_sample=False)
    return base.tokenizer.decode(made[0, len(ids) :], skip_special_tokens=True)


def test_a_greedy_answer_is_transformers_own_alone_and_in_a_batch(base, pico):
    with base.with_adapter(pipeline.read_adapter(pico.task)):
        expected = [theirs(base, ids, 9) for ids in tokens(base)]
        assert answers(base, tokens(base), Sampling(most=9)) == expected
        assert [answers(base, [ids], Sampling(most=9))[0] for ids in tokens(base)] == expected
    assert answers(base, tokens(base), Sampling(most=9)) != expected


def test_an_answer_grows_token_by_token_and_ends_where_the_base_or_the_caller_says(base):
    whole = answers(base, tokens(base)[:1], Sampling(most=8))[0]
    pieces = [texts[0] for texts in stream(base, tokens(base)[:1], Sampling(most=8))]
    lengths = [len(piece.split()) for piece in pieces]
    assert lengths == [1, 2, 3, 4, 4]  # the base itself ends it there, with its eos token
    assert pieces[-1] == whole and all(whole.startswith(piece) for piece in pieces)
    third = whole.split()[2]
    cut = answers(base, tokens(base)[:1], Sampling(most=8, until=(third,)))[0]
    assert cut == whole[: whole.find(third)]
    base.model.generation_config.eos_token_id = [base.tokenizer(third).input_ids[0]]
    assert third not in answers(base, tokens(base)[:1], Sampling(most=8))[0].split()


def test_the_dice_follow_the_distribution_and_every_row_has_its_own():
    # p = (.5, .3, .2); 3,000 throws: the largest standard error is .009
    logits = torch.tensor([[0.5, 0.3, 0.2]]).log()
    dice = torch.Generator().manual_seed(0)
    thrown = torch.tensor([_pick(logits, 1.0, [dice])[0] for _ in range(3000)]).bincount(minlength=3) / 3000
    torch.testing.assert_close(thrown, torch.tensor([0.5, 0.3, 0.2]), atol=0.03, rtol=0)
    cold = torch.tensor([_pick(logits, 0.1, [dice])[0] for _ in range(300)])
    assert (cold == 0).float().mean() > 0.95
    rows = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    both = _pick(torch.zeros(2, 1000), 1.0, rows)
    assert both[0] != both[1]


def test_one_seed_one_answer_whatever_else_is_in_the_batch(base):
    how = Sampling(most=12, temperature=1.0, seed=5)
    together = answers(base, tokens(base), how)
    assert together == [answers(base, [ids], how)[0] for ids in tokens(base)] == answers(base, tokens(base), how)
    assert together != answers(base, tokens(base), Sampling(most=12, temperature=1.0, seed=6))


def test_a_chat_template_wraps_the_prompt_and_its_absence_is_said(base):
    assert not has_chat(base)
    with pytest.raises(InputError, match="no chat template"):
        tokens_of(base, "gold is", chat=True)
    base.tokenizer.chat_template = "{% for m in messages %}question : {{ m.content }}{% endfor %} answer :"
    assert tokens_of(base, "gold is", chat=True) == base.tokenizer("question : gold is answer :").input_ids
    base.tokenizer.chat_template = "{{ nothing.at.all }}"
    with pytest.raises(InputError, match=r"template of .* fails"):
        tokens_of(base, "gold is", chat=True)


@pytest.mark.parametrize("wrong", [{"most": 0}, {"temperature": -1.0}, {"temperature": float("nan")}, {"seed": -1}])
def test_a_manner_out_of_range_is_refused(wrong):
    with pytest.raises(InputError, match="give"):
        Sampling(**wrong)


def test_what_does_not_fit_is_said_and_an_answer_ends_where_the_base_does(base):
    with pytest.raises(InputError, match="empty"):
        tokens_of(base, "  ")
    with pytest.raises(InputError, match="reads 128 in all"):
        answers(base, [[5] * 128], Sampling())
    assert len(answers(base, [[5] * 126], Sampling(most=9))[0].split()) == 2


def test_padding_on_the_left_counts_no_position():
    inputs = left_padded([[5], [5, 6, 7]], pad=3, device=torch.device("cpu"))
    assert inputs["input_ids"].tolist() == [[3, 3, 5], [5, 6, 7]]
    assert inputs["position_ids"].tolist() == [[0, 0, 0], [0, 1, 2]]
    assert inputs["attention_mask"].tolist() == [[0, 0, 1], [1, 1, 1]]
