"""Short answers against greedy decoding by hand, texts against the plain model's loss, and what happens when memory runs out."""

import json

import pytest
import torch

from tada_studio import pipeline
from tada_studio.errors import BaseError, InputError, Stopped
from tada_studio.evaluation import Item, Passage, ShortItem, batches, read_items, score
from tada_studio.evaluation.answers import plain
from tada_studio.evaluation.batches import in_batches, packed
from tada_studio.progress import silent

QUESTIONS = (
    "what is quartz ?",
    "the colour of old gold in deep water is",
    "answer : salt is a rock . true or",
    "iron ore is",
)
TEXTS = (
    "quartz is a hard rock .",
    "what is the colour of gold in deep water ?",
    "salt and water",
    "red hot iron is soft .",
)


@pytest.fixture(scope="module")
def base(pico):
    return pipeline.load_base(pico.base, device="cpu")


@pytest.fixture(scope="module")
def task(pico):
    return pipeline.read_adapter(pico.task)


def by_hand(base, question, steps):
    """The likeliest token again and again, by one call of the whole model each."""
    ids = list(base.tokenizer(question).input_ids)
    for _ in range(steps):
        following = int(base.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
        if following == base.tokenizer.eos_token_id:
            break
        ids.append(following)
    return base.tokenizer.decode(ids[len(base.tokenizer(question).input_ids) :], skip_special_tokens=True).strip()


def test_short_answers_are_greedy_and_right_if_they_match_any_accepted_one(base):
    found = score(base, [ShortItem(question, ("gold",)) for question in QUESTIONS])
    assert list(found.replies) == [
        by_hand(base, question, 9) for question in QUESTIONS
    ]  # one token accepted, 8 to spare
    assert found.accuracy == 0 and len(set(found.replies)) == len(QUESTIONS)
    ended = [min(found.replies, key=len), sorted(found.replies, key=len)[1]]  # these two end by themselves
    items = [ShortItem(q, ("gold", f" {s.upper()}.") if s in ended else ("gold",))
             for q, s in zip(QUESTIONS, found.replies, strict=True)]  # fmt: skip
    again = score(base, items)
    assert again.correct.tolist() == [replies in ended for replies in found.replies]
    assert (again.kind, again.loglik, again.nll, again.rates.majority) == ("answer", None, None, 1.0)
    assert again.low < again.accuracy == 0.5 < again.high


def test_what_surrounds_an_answer_does_not_count():
    assert plain('  "Deep   Water". ') == "deep water" != plain("deepwater")


@pytest.mark.parametrize("room", [1, 12, 512])
def test_any_batch_size_gives_the_same_answers_and_the_same_perplexity(base, task, room, monkeypatch):
    short, texts = [ShortItem(q, ("gold",)) for q in QUESTIONS], [Passage(text) for text in TEXTS]
    with base.with_adapter(task):
        usual = score(base, short), score(base, texts)
        monkeypatch.setitem(batches.ROOM, "cpu", room)
        other = score(base, short), score(base, texts)
    assert other[0].replies == usual[0].replies
    torch.testing.assert_close(other[1].gold, usual[1].gold, rtol=0, atol=1e-5)


def test_perplexity_is_the_plain_models_loss_over_all_tokens(base):
    found = score(base, [Passage(text) for text in TEXTS])
    nats, tokens = [], 0
    for text in TEXTS:
        ids = torch.tensor([base.tokenizer(text).input_ids])
        nats.append(float(base.model(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1))
        tokens += ids.shape[1] - 1
    assert found.nll == pytest.approx(sum(nats) / tokens, abs=1e-5)
    assert float(found.gold.mean()) == pytest.approx(found.nll) and found.accuracy is None and found.n == 4
    assert found.perplexity == pytest.approx(torch.tensor(sum(nats) / tokens).exp().item(), rel=1e-4)
    torch.testing.assert_close(
        found.gold / found.gold.sum(), torch.tensor(nats).double() / sum(nats), rtol=0, atol=1e-6
    )


def test_what_is_left_of_a_text_that_is_too_long_is_counted(base, monkeypatch):
    from tada_studio.evaluation import passages

    monkeypatch.setattr(passages, "LONGEST", 4)
    found, short = score(base, [Passage("the old gold ring is red")]), score(base, [Passage("the old gold ?")])
    assert found.cut == 1 and short.cut == 0


def test_a_text_of_one_token_is_refused(base):
    with pytest.raises(InputError, match=r"Item 2 .*single token"):
        score(base, [Passage("gold is"), Passage("gold")])


ROWS = [
    ({"question": "q", "answer": "gold"}, ShortItem("q", ("gold",))),
    ({"question": "q", "answer": ["gold", "a gold"]}, ShortItem("q", ("gold", "a gold"))),
    ({"text": "gold is old"}, Passage("gold is old")),
    ({"question": "q", "choices": ["a", "b"], "answer": 1}, Item("q", ("a", "b"), 1)),
]
BAD = [
    {"question": "q", "answer": 3}, {"question": "q", "answer": []}, {"question": "q", "answer": ["gold", "."]},
    {"question": " ", "answer": "gold"}, {"answer": "gold"}, {"text": " "}, {"text": 5},
]  # fmt: skip


@pytest.mark.parametrize(("row", "item"), ROWS)
def test_a_line_says_which_kind_it_is(row, item, tmp_path):
    (tmp_path / "items.jsonl").write_text(json.dumps(row))
    assert read_items(tmp_path / "items.jsonl") == [item]


@pytest.mark.parametrize("row", BAD)
def test_a_wrong_line_is_refused_with_what_would_be_right(row, tmp_path):
    (tmp_path / "items.jsonl").write_text("\n" + json.dumps(row))
    with pytest.raises(InputError, match="line 2: expected"):
        read_items(tmp_path / "items.jsonl")


# -- memory ----------------------------------------------------------------------------------------------------------


def test_batches_are_longest_first_and_hold_what_fits_with_padding():
    lengths = {"a": 5, "b": 9, "c": 2, "d": 4, "e": 30}
    assert packed("abcde", lengths.__getitem__, 18) == [["e"], ["b", "a"], ["d", "c"]]


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError, lambda: RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_batches_are_halved_when_memory_runs_out_and_every_row_is_done_once(error, monkeypatch):
    monkeypatch.setitem(batches.ROOM, "cpu", 64)
    done, sizes, steps = [], [], []

    def work(batch):
        if len(batch) * 4 > 20:
            raise error()
        sizes.append(len(batch))
        done.extend(batch)

    in_batches(range(30), lambda row: 4, "cpu", work, steps.append, "tada")
    assert steps[-1].note == "tada; memory ran out, now at most 16 tokens at once"
    assert sorted(done) == list(range(30)) and max(sizes) == 4
    assert batches.ROOM["cpu"] == 16  # 64, 32, 16: and so it stays for the next variant


def test_an_item_that_never_fits_is_named_and_other_errors_go_through(monkeypatch):
    monkeypatch.setitem(batches.ROOM, "cpu", 8)

    def full(batch):
        raise torch.OutOfMemoryError

    def broken(batch):
        raise RuntimeError("a bug")

    with pytest.raises(BaseError, match="tada: memory ran out on a single item of 4 tokens"):
        in_batches([1, 2], lambda row: 4, "cpu", full, silent, "tada")
    with pytest.raises(RuntimeError, match="a bug"):
        in_batches([1, 2], lambda row: 4, "cpu", broken, silent, "tada")


@pytest.mark.parametrize("items", [[ShortItem(q, ("gold",)) for q in QUESTIONS], [Passage(text) for text in TEXTS]])
def test_stopping_inside_any_kind_leaves_the_base_bit_for_bit(items, base, task, monkeypatch):
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    monkeypatch.setitem(batches.ROOM, "cpu", 12)

    def stop(progress):
        if progress.note == "task" and progress.done > len(items):
            raise Stopped("enough")

    seen = []
    with pytest.raises(Stopped):
        pipeline.score_sides(base, {"base": None, "task": task}, {"items": items}, stop, seen.append)
    assert list(seen[-1]["items"]) == ["base"]
    assert all(torch.equal(before[name], tensor) for name, tensor in base.model.state_dict().items())
    assert not any(module._forward_hooks for module in base.model.modules())
