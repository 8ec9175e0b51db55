"""Multiple choice by log-likelihood: the same items for any number of variants of one loaded base.

A question is run once: its choices stand behind it in one row, and a mask lets each of them see the question and itself.
Every variant gets the same batches in the same order, so in float32 two variants differ only where they really differ.
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from tada_studio.core import stats
from tada_studio.errors import BaseError, InputError
from tada_studio.progress import Progress, Report, silent

#: Tokens in one batch, padding included; on a CPU small batches are two to three times as fast as large ones.
BATCH_TOKENS = 512
#: Longest question with its choices, in tokens; of what is longer the beginning is cut, and counted.
LONGEST = 2048
#: Log-likelihoods of the two ways to score must agree to this (nats), or the slower, plainer one is used.
AGREEMENT = 1e-3


@dataclass(frozen=True)
class Item:
    """A question with its choices; ``answer`` is the index of the right one."""

    question: str
    choices: tuple[str, ...]
    answer: int


@dataclass(frozen=True, eq=False)
class Score:
    """What one variant made of n items.

    loglik:  (n, most choices) log-likelihood of each choice in nats, -inf where an item has fewer
    correct: whether the likeliest choice is the right one
    nll:     mean negative log-probability of the right choice among the choices, in nats: finer than accuracy
    low, high: 95 % interval of the accuracy (Wilson)
    cut:     how many questions were too long and lost their beginning
    """

    name: str
    loglik: Float[Tensor, "n choices"]
    correct: Bool[Tensor, " n"]
    nll: float
    low: float
    high: float
    cut: int = 0

    @property
    def n(self) -> int:
        return len(self.correct)

    @property
    def accuracy(self) -> float:
        return float(self.correct.double().mean())

    def to_dict(self) -> dict[str, Any]:
        """Flat JSON values for a table."""
        return {
            "name": self.name, "accuracy": self.accuracy, "low": self.low, "high": self.high, "n": self.n, "nll": self.nll,
        }  # fmt: skip


# -- items ---------------------------------------------------------------------------------------------------------


def read_items(path: str | Path) -> list[Item]:
    """Items from .jsonl: ``{"question": str, "choices": [str, ...], "answer": int}`` on each line. Raises InputError."""
    path = Path(path)
    try:
        rows = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}). Give a .jsonl file of items.") from error
    items = [_item(row, f"{path}, line {i}") for i, row in enumerate(rows, 1) if row.strip()]
    if not items:
        raise InputError(f"{path}: holds no item. Each line is a question with its choices and the answer's index.")
    return items


def _item(row: str, where: str) -> Item:
    try:
        value = json.loads(row)
        question, choices, answer = value["question"], value["choices"], value["answer"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f'{where}: expected {{"question": "...", "choices": ["...", "..."], "answer": 0}}.') from None
    texts = isinstance(choices, list) and all(isinstance(text, str) and text.strip() for text in choices)
    if not isinstance(question, str) or not texts or len(set(choices)) < max(2, len(choices)):
        raise InputError(f"{where}: needs a question and at least two different, non-empty choices.")
    if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < len(choices):
        raise InputError(f"{where}: answer = {answer!r}; give the index of a choice, 0 to {len(choices) - 1}.")
    return Item(question, tuple(choices), answer)


def choose(items: Sequence[Item], limit: int | None, seed: int = 0) -> list[Item]:
    """At most ``limit`` items, drawn by seed (files are often sorted by subject), in their order in the file."""
    if limit is not None and limit < 1:
        raise InputError(f"limit = {limit}: at least one item is needed.")
    if limit is None or len(items) <= limit:
        return list(items)
    return [items[i] for i in sorted(random.Random(seed).sample(range(len(items)), limit))]


# -- rows ----------------------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """One item as tokens."""

    item: int
    context: list[int]
    choices: list[list[int]]
    cut: bool

    @property
    def length(self) -> int:
        # the last token of a choice is predicted, never read
        return len(self.context) + sum(len(choice) - 1 for choice in self.choices)


def _rows(tokenizer: Any, items: Sequence[Item]) -> list[Row]:
    rows = [_row(tokenizer, i, item) for i, item in enumerate(items)]
    return sorted(rows, key=lambda row: -row.length)


def _row(tokenizer: Any, number: int, item: Item) -> Row:
    """Question and choice are encoded together and split after the question, as lm-evaluation-harness does."""
    question = item.question.rstrip()
    blank = item.question[len(question) :] or " "
    context = tokenizer(question).input_ids
    whole = [tokenizer(question + blank + choice.lstrip()).input_ids for choice in item.choices]
    choices = [ids[len(context) :] for ids in whole]
    if not all(choices) or not context:
        raise InputError(
            f"Item {number + 1} ({item.question[:40]!r}): the tokenizer makes nothing of the question or a choice."
        )
    room = LONGEST - sum(map(len, choices))
    return Row(number, context[-room:], choices, cut=len(context) > room)


def _packed(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows, longest first, in batches of about ``BATCH_TOKENS``."""
    batches: list[list[Row]] = [[]]
    for row in rows:
        if batches[-1] and (len(batches[-1]) + 1) * batches[-1][0].length > BATCH_TOKENS:
            batches.append([])
        batches[-1].append(row)
    return batches


class Want(NamedTuple):
    """Where in a batch's output the prediction of one choice is: tokens[i] is predicted at (row, positions[i])."""

    item: int
    choice: int
    row: int
    positions: list[int]
    tokens: list[int]


def _wants(batch: Sequence[Row]) -> list[Want]:
    wants = []
    for r, row in enumerate(batch):
        start = len(row.context)
        for c, tokens in enumerate(row.choices):
            positions = [len(row.context) - 1, *range(start, start + len(tokens) - 1)]
            wants.append(Want(row.item, c, r, positions, tokens))
            start += len(tokens) - 1
    return wants


def _shared_batch(batch: Sequence[Row], pad: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """Ids, positions and a (rows, 1, length, length) mask in which each choice sees its question and itself only."""
    length = batch[0].length
    ids, positions = torch.full((len(batch), length), pad), torch.zeros(len(batch), length, dtype=torch.long)
    sees = torch.eye(length, dtype=torch.bool).repeat(
        len(batch), 1, 1
    )  # padding sees itself: a softmax needs something
    for r, row in enumerate(batch):
        n = start = len(row.context)
        ids[r, :n], positions[r, :n] = torch.tensor(row.context), torch.arange(n)
        sees[r, :n, :n] = torch.ones(n, n, dtype=torch.bool).tril()
        for tokens in row.choices:
            span = slice(start, start + len(tokens) - 1)
            m = len(tokens) - 1
            ids[r, span], positions[r, span] = torch.tensor(tokens[:-1], dtype=torch.long), torch.arange(n, n + m)
            sees[r, span, :n] = True
            sees[r, span, span] = torch.ones(m, m, dtype=torch.bool).tril()
            start += m
    mask = torch.zeros(len(batch), 1, length, length, dtype=dtype).masked_fill_(~sees[:, None], torch.finfo(dtype).min)
    return {"input_ids": ids, "attention_mask": mask, "position_ids": positions}


def _hidden(model: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
    """Last hidden states; the head is applied only where a prediction is wanted."""
    causal: Any = model  # transformers' classes say what they are by their methods, not by a type
    body = causal.get_decoder() if hasattr(causal, "get_decoder") else causal.base_model
    device = next(model.parameters()).device
    return body(**{name: tensor.to(device) for name, tensor in inputs.items()}, use_cache=False).last_hidden_state


def _loglik(model: nn.Module, hidden: Tensor, wants: Sequence[Want]) -> Tensor:
    """Log-likelihood of every wanted choice, in nats."""
    flat = [(want.row, position) for want in wants for position in want.positions]
    rows, positions = (torch.tensor(list(column), device=hidden.device) for column in zip(*flat, strict=True))
    # choices often share the position before them: apply the head, the costliest layer, once to each
    places, which = torch.unique(rows * hidden.shape[1] + positions, return_inverse=True)
    log_probs = _logits(model, hidden.flatten(0, 1)[places]).float().log_softmax(-1)
    tokens = torch.tensor([token for want in wants for token in want.tokens], device=hidden.device)
    per_token = log_probs[which, tokens]
    return torch.stack([part.sum() for part in per_token.split([len(want.tokens) for want in wants])]).cpu()


def _logits(model: Any, hidden: Tensor) -> Tensor:
    logits: Tensor = model.get_output_embeddings()(hidden)
    cap = getattr(model.config, "final_logit_softcapping", None)  # Gemma 2
    return logits if not cap else cap * torch.tanh(logits / cap)


# -- scoring -------------------------------------------------------------------------------------------------------


def score_shared(model: nn.Module, tokenizer: Any, batch: Sequence[Row]) -> tuple[list[Want], Tensor]:
    """Each question once, its choices behind it."""
    wants = _wants(batch)
    inputs = _shared_batch(batch, tokenizer.pad_token_id or 0, next(model.parameters()).dtype)
    return wants, _loglik(model, _hidden(model, inputs), wants)


def score_plain(model: nn.Module, tokenizer: Any, batch: Sequence[Row]) -> tuple[list[Want], Tensor]:
    """Each choice in a row of its own, one at a time: slow, and right for any causal model."""
    wants, found = [], []
    for row in batch:
        for c, tokens in enumerate(row.choices):
            alone = Row(row.item, row.context, [tokens], row.cut)
            hidden = _hidden(model, {"input_ids": torch.tensor([row.context + tokens[:-1]])})
            wants.append(Want(row.item, c, 0, *_wants([alone])[0][3:]))
            found.append(_loglik(model, hidden, wants[-1:]))
    return wants, torch.cat(found)


Scorer = Callable[[nn.Module, Any, Sequence[Row]], tuple[list[Want], Tensor]]


@torch.inference_mode()
def pick_scorer(model: nn.Module, tokenizer: Any, rows: Sequence[Row]) -> Scorer:
    """``score_shared`` if this architecture honours the mask: the two ways are compared on the item with most to go wrong."""
    test = [max(rows, key=lambda row: sum(len(choice) - 1 for choice in row.choices))]
    try:
        (_, shared), (_, plain) = (score(model, tokenizer, test) for score in (score_shared, score_plain))
    except (TypeError, ValueError, RuntimeError, AttributeError):
        return score_plain
    room = AGREEMENT if next(model.parameters()).dtype == torch.float32 else 0.5
    return score_shared if bool((shared - plain).abs().max() < room) else score_plain


@torch.inference_mode()
def score(
    model: nn.Module,
    tokenizer: Any,
    items: Sequence[Item],
    name: str = "",
    report: Report = silent,
    scorer: Scorer | None = None,
) -> Score:
    """One variant's score on the items. Raises BaseError if the model's numbers are not finite."""
    rows = _rows(tokenizer, items)
    scorer = scorer or pick_scorer(model, tokenizer, rows)
    loglik = torch.full((len(items), max(len(item.choices) for item in items)), -torch.inf)
    done = 0
    for batch in _packed(rows):
        report(Progress("evaluate", done, len(items), name))
        wants, found = scorer(model, tokenizer, batch)
        loglik[[want.item for want in wants], [want.choice for want in wants]] = found
        done += len(batch)
    report(Progress("evaluate", len(items), len(items), name))
    return _score(name, items, loglik, sum(row.cut for row in rows))


def _score(name: str, items: Sequence[Item], loglik: Tensor, cut: int) -> Score:
    answers = torch.tensor([item.answer for item in items])
    gold = loglik.log_softmax(1)[torch.arange(len(items)), answers]
    if not gold.isfinite().all():
        raise BaseError(f"{name}: the model's log-likelihoods are not finite numbers; load the base in float32.")
    correct = loglik.argmax(1) == answers
    low, high = stats.wilson(int(correct.sum()), len(items)) or (0.0, 1.0)
    return Score(name, loglik, correct, float(-gold.double().mean()), low, high, cut)
