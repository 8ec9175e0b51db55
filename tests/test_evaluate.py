"""Log-likelihoods against a computation of one choice at a time by the plain model, and the base left as it was."""

import json
import random
import weakref
from functools import partial

import pytest
import torch

from tada_studio import pipeline
from tada_studio.base_model.families import causal
from tada_studio.base_model.families.causal import pick_scorer, rows_of, score_plain, score_shared
from tada_studio.base_model.generate import Sampling, answers, tokens_of
from tada_studio.base_model.tree import Tree, common
from tada_studio.errors import InputError, Stopped
from tada_studio.evaluation import Item, batches, choose, read_items
from tada_studio.evaluation import items as kinds
from tada_studio.evaluation import score as score_any
from tada_studio.evaluation.choice import blind_rates, score

ITEMS = [
    Item("question : what is quartz ? answer :", ("hard", "soft rock", "red hot metal"), 1),
    Item("quartz is", ("black", "white"), 0),
    Item("the colour of gold in water is", ("yellow and old", "blue"), 1),
]


@pytest.fixture(scope="module")
def base(pico):
    return pipeline.load_base(pico.base, device="cpu")


@pytest.fixture(scope="module")
def task(pico):
    return pipeline.read_adapter(pico.task)


def plain_loglik(base, question, choice):
    """Sum of log p(token) over the choice's tokens, by one call of the whole model."""
    context, whole = (base.tokenizer(text).input_ids for text in (question, f"{question} {choice}"))
    log_probs = base.model(input_ids=torch.tensor([whole])).logits[0].double().log_softmax(-1)
    return sum(log_probs[i - 1, whole[i]] for i in range(len(context), len(whole)))


def test_logliks_equal_the_plain_one_by_one_computation(base, task):
    with base.with_adapter(task):
        found = score(base.model, base.tokenizer, ITEMS).loglik
        for i, item in enumerate(ITEMS):
            for j, choice in enumerate(item.choices):
                assert float(found[i, j]) == pytest.approx(float(plain_loglik(base, item.question, choice)), abs=1e-4)
    assert found[1, 2] == -torch.inf  # item 1 has two choices only


def test_a_free_answer_is_what_greedy_decoding_says(base, task):
    """Against the model's own generation, of one word and of two, and with another word behind what it says."""

    def said(prompt, tokens):
        return answers(base, [tokens_of(base, prompt)], Sampling(most=tokens))[0]

    def items_of(most):
        asked = [f"{word} {of} is" for word in ("quartz", "gold", "iron", "salt") for of in ("water", "rock", "the")]
        words = {prompt: said(prompt, most) for prompt in asked}
        whole = {prompt: text for prompt, text in words.items() if len(text.split()) == most}  # no special token in it
        return [Item(prompt, (text, f"{text} ?"), i) for prompt, text in whole.items() for i in (0, 1)]

    for adapter in (None, task):
        with base.with_adapter(adapter):
            items = items_of(1) + items_of(2)
            right = [said(i.question, len(i.choices[i.answer].split())) == i.choices[i.answer] for i in items]
            assert True in right and False in right
            for way in (score_plain, score_shared):
                found = score(base.model, base.tokenizer, items, way=partial(causal.score, scorer=way))
                assert found.free.tolist() == right
                assert found.to_dict()["accuracy_free"] == pytest.approx(sum(right) / len(right))


def test_the_shared_prefix_is_really_shared_and_agrees_with_the_plain_way(base):
    rows = rows_of(base.tokenizer, ITEMS)
    assert pick_scorer(base.model, base.tokenizer, rows) is score_shared
    plain, shared = (
        score(base.model, base.tokenizer, ITEMS, way=partial(causal.score, scorer=way)).loglik
        for way in (score_plain, score_shared)
    )
    torch.testing.assert_close(shared, plain, rtol=0, atol=1e-5)
    assert sum(row.length for row in rows) < sum(
        len(base.tokenizer(f"{i.question} {c}").input_ids) for i in ITEMS for c in i.choices
    )


def test_a_tree_holds_every_beginning_once_and_each_token_sees_its_own():
    draw = random.Random(0)
    for size in (1, 2, 3, 9):
        tree, paths = Tree(), [[draw.randrange(3) for _ in range(draw.randint(1, 6))] for _ in range(size)]
        grown, nodes = [], []
        for path in paths:
            grown.append((tree.growth([path]), len(tree)))
            nodes.append(tree.add(path))
            assert len(tree) == sum(grown[-1])
        assert Tree().growth(paths) == len(tree) == len({tuple(p[:k]) for p in paths for k in range(1, len(p) + 1)})
        assert tree.growth(paths) == 0
        sees = tree.sees(len(tree) + 1)
        for path, way in zip(paths, nodes, strict=True):
            assert [tree.tokens[node] for node in way] == path and [tree.depths[node] for node in way] == list(
                range(len(path))
            )
            for k, node in enumerate(way):
                assert sees[node].nonzero().flatten().tolist() == sorted(way[: k + 1])
        assert sees[-1].nonzero().flatten().tolist() == [len(tree)]
    assert common([[1, 2, 3], [1, 2], [1, 2, 4]]) == 2 and common([[1], []]) == 0 and common([[5, 6]]) == 2


@pytest.fixture
def told(base):
    """How many tokens went through the model, call by call."""
    counts = []
    hook = base.model.model.embed_tokens.register_forward_hook(
        lambda layer, given, out: counts.append(given[0].numel())
    )
    yield counts
    hook.remove()


def test_what_questions_begin_with_alike_goes_through_the_model_once(base, told):
    items = [Item(f"question : what is {word} ? answer :", ("hard", "soft"), 0) for word in ("gold", "iron", "salt")]
    score(base.model, base.tokenizer, items, way=partial(causal.score, scorer=score_shared))
    # "question : what is" once; a word and "? answer :" for each; single tokens behind them are predicted, not read
    assert told == [4 + 3 * 4]


SHOTS = " ".join(["question : what is old ? answer : rock ."] * 4)


def test_a_beginning_that_all_share_is_read_once_and_kept_for_every_batch(base, task, told, monkeypatch):
    items = [Item(f"{SHOTS} {item.question}", item.choices, item.answer) for item in ITEMS]
    monkeypatch.setitem(batches.ROOM, "cpu", 12)
    score(base.model, base.tokenizer, items)  # what the model can do is tried once
    told.clear()
    with base.with_adapter(task):
        found = score(base.model, base.tokenizer, items).loglik
        assert told == [40, 11, 2 + 9]  # four times ten words; the first question and its choices; the other two
        for i, item in enumerate(items):
            for j, choice in enumerate(item.choices):
                assert float(found[i, j]) == pytest.approx(float(plain_loglik(base, item.question, choice)), abs=1e-4)


@pytest.mark.parametrize("shots", ["", f"{SHOTS} "], ids=["alone", "after a shared beginning"])
def test_a_batch_of_several_rows_gives_the_same_numbers(shots, base, task, told, monkeypatch):
    """As on a GPU, where one row would be too long for its attention."""
    words = ("gold", "iron", "salt", "copper", "ore")
    items = [Item(f"{shots}{word} {word} in {word} is a", ("soft rock", "hard red metal"), 0) for word in words]
    module = causal
    rows, past = rows_of(base.tokenizer, items), module.NO_PAST
    with torch.inference_mode(), base.with_adapter(task):
        if shots:
            past = module._read_once(base.model, rows[0].context[:40])
        monkeypatch.setattr(module, "WIDTH", 20)
        told.clear()
        wants, found, _ = score_shared(base.model, base.tokenizer, rows, past)
        assert told == [3 * 18]  # two questions of nine tokens to a row, the last alone
        for want, loglik in zip(wants, found, strict=True):
            item = items[want.item]
            plain = plain_loglik(base, item.question, item.choices[want.choice])
            assert float(loglik) == pytest.approx(float(plain), abs=1e-4)


def test_short_questions_beside_a_long_one_are_not_padded_to_it_one_by_one(base, told, monkeypatch):
    module = causal
    monkeypatch.setattr(module, "WIDTH", 2)
    items = [
        Item(f"{SHOTS} is", ("hard", "soft"), 0),
        *(Item(f"{w} is", ("hard", "soft"), 0) for w in ("gold", "iron", "ore")),
    ]
    with torch.inference_mode():
        score_shared(base.model, base.tokenizer, rows_of(base.tokenizer, items))
    assert told == [2 * 41]  # not four times


def test_a_model_that_does_not_go_on_from_what_it_keeps_reads_everything_again(base, told, monkeypatch):
    module = causal
    items = [Item(f"{SHOTS} {item.question}", item.choices, item.answer) for item in ITEMS]
    right = score(base.model, base.tokenizer, items).loglik
    monkeypatch.setattr(module, "_GOES_ON", weakref.WeakKeyDictionary())
    monkeypatch.setitem(batches.ROOM, "cpu", 60)
    after = module._after

    def forgets(model, inputs, past):
        return after(model, inputs, past) + (0.0 if past.kept is None else 1.0)

    monkeypatch.setattr(module, "_after", forgets)
    torch.testing.assert_close(score(base.model, base.tokenizer, items).loglik, right, rtol=0, atol=1e-4)
    told.clear()
    score(base.model, base.tokenizer, items)
    assert told == [40 + 11, 40 + 2 + 9]


def test_rows_longer_than_a_window_of_the_model_s_own_are_scored_the_plain_way(base, monkeypatch):
    module, used = causal, []
    monkeypatch.setattr(module, "score_plain", lambda *args: used.append(1) or score_plain(*args))
    score(base.model, base.tokenizer, ITEMS)
    assert not used
    monkeypatch.setattr(base.model.config, "sliding_window", 8, raising=False)
    score(base.model, base.tokenizer, ITEMS)
    assert used


def test_a_model_that_ignores_the_mask_falls_back_to_the_plain_way(base, monkeypatch):
    module = causal
    honest = module.shared_batch

    def blind(*args):
        inputs = honest(*args)
        return {**inputs, "attention_mask": torch.zeros_like(inputs["attention_mask"]).tril()}

    monkeypatch.setattr(module, "shared_batch", blind)
    assert pick_scorer(base.model, base.tokenizer, rows_of(base.tokenizer, ITEMS)) is score_plain


def test_the_way_to_score_is_picked_once_for_a_model(base, task, monkeypatch):
    module, tried = causal, []
    monkeypatch.setattr(module, "_PICKED", weakref.WeakKeyDictionary())
    monkeypatch.setattr(module, "pick_scorer", lambda *args: tried.append(1) or pick_scorer(*args))
    score(base.model, base.tokenizer, ITEMS)
    with base.with_adapter(task):
        score(base.model, base.tokenizer, ITEMS[:1])
    assert len(tried) == 1


def test_any_batch_size_gives_the_same_numbers(base, task, pico, monkeypatch):
    items = read_items(pico.items)
    with base.with_adapter(task):
        usual = score(base.model, base.tokenizer, items)
        monkeypatch.setitem(batches.ROOM, "cpu", 1)
        alone = score(base.model, base.tokenizer, items)
    torch.testing.assert_close(alone.loglik, usual.loglik, rtol=0, atol=1e-4)
    assert torch.equal(alone.correct, usual.correct)


def test_accuracy_interval_and_nll_follow_from_the_logliks(base):
    found = score(base.model, base.tokenizer, ITEMS)
    right = [int(found.loglik[i].argmax()) == item.answer for i, item in enumerate(ITEMS)]
    probabilities = [torch.exp(found.loglik[i, : len(item.choices)].double()) for i, item in enumerate(ITEMS)]
    gold = [-torch.log(p[item.answer] / p.sum()) for p, item in zip(probabilities, ITEMS, strict=True)]
    assert found.correct.tolist() == right and found.n == 3
    assert found.nll == pytest.approx(float(sum(gold) / 3), abs=1e-6)
    torch.testing.assert_close(found.gold, torch.stack(gold), rtol=0, atol=1e-6)
    assert found.low <= found.accuracy <= found.high


def test_the_choice_likeliest_per_character_and_the_blind_rates_by_hand(base):
    # three items: "soft rock" (9 characters) of hard/soft rock/red hot metal; "black" of two of 5; "yellow and old" of two
    found = score(base.model, base.tokenizer, ITEMS)
    for i, item in enumerate(ITEMS):
        each = [float(found.loglik[i, j]) / len(choice) for j, choice in enumerate(item.choices)]
        assert bool(found.normed[i]) == (each.index(max(each)) == item.answer)
    # chance (1/3 + 1/2 + 1/2) / 3; index 1 is right twice; the longest is wrong, a guess among two, wrong
    assert found.rates == pytest.approx((4 / 9, 2 / 3, 0.5 / 3))
    same = [Item("a", ("yes", "no"), 0), Item("b", ("no", "yes"), 1), Item("c", ("yes", "no"), 0)]
    assert blind_rates(same).majority == 1.0  # "yes" is always right, wherever it stands
    flat = found.to_dict()
    assert flat["longest"] == pytest.approx(1 / 6) and flat["kind"] == "choice" and flat["perplexity"] is None


def test_wearing_an_adapter_equals_peft_and_leaves_no_trace(base, task, pico):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    ids = torch.tensor([base.tokenizer(ITEMS[0].question).input_ids])
    bare = base.model(input_ids=ids).logits
    with base.with_adapter(task):
        attached = base.model(input_ids=ids).logits
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(pico.base), pico.task).eval()
    torch.testing.assert_close(attached, theirs(input_ids=ids).logits, rtol=0, atol=1e-5)
    assert not torch.allclose(attached, bare, atol=1e-3)
    assert torch.equal(base.model(input_ids=ids).logits, bare)


def test_stopping_in_the_middle_of_a_variant_leaves_the_base_bit_for_bit_and_keeps_what_is_done(base, task, pico):
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    items, seen, calls = read_items(pico.items)[:21], [], []

    def stop_at_the_second_variant(progress):
        calls.append(progress)
        if progress.note == "task" and progress.done > 21:
            raise Stopped("enough")

    with pytest.raises(Stopped):
        pipeline.score_sides(
            base, {"base": None, "task": task}, {"items": items}, stop_at_the_second_variant, seen.append
        )
    assert list(seen[-1]["items"]) == ["base"]
    assert all(torch.equal(before[name], tensor) for name, tensor in base.model.state_dict().items())
    assert not any(module._forward_hooks for module in base.model.modules())


def test_scores_are_kept_by_content_and_renamed(base, task):
    first = pipeline.evaluate(base, {"base": None, "task": task}, ITEMS)
    calls = []
    again = pipeline.evaluate(base, {"plain": None, "same": task}, ITEMS, calls.append)
    assert again["same"].name == "same" and torch.equal(again["same"].loglik, first["task"].loglik)
    assert {progress.note for progress in calls} <= {"plain, items", "same, items", "all variants scored"}


def test_a_file_of_several_kinds_and_items_of_no_kind_are_refused(base, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"one kind.*found Item, str"):
        score_any(base, [*ITEMS, "not an item"])
    with pytest.raises(InputError, match="found nothing"):
        score_any(base, [])
    letters = kinds.Kind("letter", lambda value, where, folder: value["letter"], '{"letter": "a"}')
    monkeypatch.setattr(kinds, "KINDS", (*kinds.KINDS, letters))
    path = tmp_path / "items.jsonl"
    path.write_text('{"letter": "a"}\n{"question": "q", "choices": ["a", "b"], "answer": 0}\n')
    with pytest.raises(InputError, match="several kinds"):
        read_items(path)
    path.write_text('{"letter": "a"}\n')
    assert read_items(path) == ["a"]


BAD_ROWS = [
    ({"question": "a", "choices": ["b", "c"], "answer": 2}, "answer = 2"),
    ({"question": "a", "choices": ["b", "c"], "answer": -1}, "answer = -1"),
    ({"question": "a", "choices": ["b", "c"], "answer": "D"}, "answer = 'D'"),
    ({"question": "a", "choices": ["b"], "answer": 0}, "two different"),
    ({"question": "a", "choices": ["b", "b"], "answer": 0}, "two different"),
    ({"question": "a", "choices": ["b", " "], "answer": 0}, "two different"),
    ({"question": "a", "answer": 0}, "expected"),
    ([], "expected"),
]


@pytest.mark.parametrize(("row", "says"), BAD_ROWS)
def test_a_wrong_item_is_refused_by_its_line(row, says, tmp_path):
    path = tmp_path / "items.jsonl"
    path.write_text(json.dumps({"question": "q", "choices": ["a", "b"], "answer": 0}) + "\n\n" + json.dumps(row))
    with pytest.raises(InputError, match=f"line 3.*{says}"):
        read_items(path)


def test_an_empty_file_and_a_limit_of_zero_are_refused(tmp_path):
    (tmp_path / "none.jsonl").write_text("\n")
    with pytest.raises(InputError, match="holds no item"):
        read_items(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="limit = 0"):
        choose(ITEMS, 0)


def test_a_limit_draws_from_the_whole_file_not_from_its_beginning():
    items = [Item(str(i), ("a", "b"), 0) for i in range(100)]
    picked = [int(item.question) for item in choose(items, 10)]
    assert picked == sorted(picked) and len(picked) == 10 and max(picked) > 50
