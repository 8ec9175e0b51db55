"""Multiple choice by log-likelihood: the same items for any number of variants of one loaded base.

A question is run once: its choices stand behind it in one row, and a mask lets each of them see the question and itself.
Every variant gets the same batches in the same order, so in float32 two variants differ only where they really differ.
"""

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tada_studio.errors import BaseError, InputError
from tada_studio.evaluate.batches import in_batches
from tada_studio.evaluate.scores import Rates, Score, commonest, interval
from tada_studio.progress import Report, silent

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


def read_choice(value: Mapping[str, Any], where: str, listing: Path) -> Item:
    """``{"question": str, "choices": [str, ...], "answer": int}``. Raises InputError."""
    question, choices, answer = value.get("question"), value["choices"], value.get("answer")
    texts = isinstance(choices, list) and all(isinstance(text, str) and text.strip() for text in choices)
    if not isinstance(question, str) or not texts or len(set(choices)) < max(2, len(choices)):
        raise InputError(f"{where}: needs a question and at least two different, non-empty choices.")
    if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < len(choices):
        raise InputError(f"{where}: answer = {answer!r}; give the index of a choice, 0 to {len(choices) - 1}.")
    return Item(question, tuple(choices), answer)


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
    return [_row(tokenizer, i, item) for i, item in enumerate(items)]


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


def hidden_states(model: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
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
    tokens = torch.tensor([token for want in wants for token in want.tokens], device=hidden.device)
    per_token = token_logliks(model, hidden.flatten(0, 1)[places], tokens, which)
    return torch.stack([part.sum() for part in per_token.split([len(want.tokens) for want in wants])]).cpu()


def token_logliks(model: nn.Module, hidden: Tensor, tokens: Tensor, which: Tensor | None = None) -> Tensor:
    """Log-likelihood of each token, in nats, after the state at its place in ``hidden`` (or at ``which`` of them)."""
    logits = _logits(model, hidden).float()
    which = torch.arange(len(tokens), device=tokens.device) if which is None else which
    return logits[which, tokens] - logits.logsumexp(-1)[which]


def _logits(model: Any, hidden: Tensor) -> Tensor:
    logits: Tensor = model.get_output_embeddings()(hidden)
    cap = getattr(model.config, "final_logit_softcapping", None)  # Gemma 2
    return logits if not cap else cap * torch.tanh(logits / cap)


# -- scoring -------------------------------------------------------------------------------------------------------


def score_shared(model: nn.Module, tokenizer: Any, batch: Sequence[Row]) -> tuple[list[Want], Tensor]:
    """Each question once, its choices behind it."""
    wants = _wants(batch)
    inputs = _shared_batch(batch, tokenizer.pad_token_id or 0, next(model.parameters()).dtype)
    return wants, _loglik(model, hidden_states(model, inputs), wants)


def score_plain(model: nn.Module, tokenizer: Any, batch: Sequence[Row]) -> tuple[list[Want], Tensor]:
    """Each choice in a row of its own, one at a time: slow, and right for any causal model."""
    wants, found = [], []
    for row in batch:
        for c, tokens in enumerate(row.choices):
            alone = Row(row.item, row.context, [tokens], row.cut)
            hidden = hidden_states(model, {"input_ids": torch.tensor([row.context + tokens[:-1]])})
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


#: What was picked for a model stays: the architecture decides, not what it wears, and trying costs as much as many items.
_PICKED: "weakref.WeakKeyDictionary[nn.Module, Scorer]" = weakref.WeakKeyDictionary()


def _picked(model: nn.Module, tokenizer: Any, rows: Sequence[Row]) -> Scorer:
    if model not in _PICKED:
        _PICKED[model] = pick_scorer(model, tokenizer, rows)
    return _PICKED[model]


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
    scorer = scorer or _picked(model, tokenizer, rows)
    loglik = torch.full((len(items), max(len(item.choices) for item in items)), -torch.inf)

    def work(batch: list[Row]) -> None:
        wants, found = scorer(model, tokenizer, batch)
        loglik[[want.item for want in wants], [want.choice for want in wants]] = found

    in_batches(rows, lambda row: row.length, next(model.parameters()).device, work, report, name)
    return _score(name, items, loglik, sum(row.cut for row in rows))


def _score(name: str, items: Sequence[Item], loglik: Tensor, cut: int) -> Score:
    answers = torch.tensor([item.answer for item in items])
    gold = -loglik.double().log_softmax(1)[torch.arange(len(items)), answers]
    if not gold.isfinite().all():
        raise BaseError(f"{name}: the model's log-likelihoods are not finite numbers; load the base in float32.")
    correct = loglik.argmax(1) == answers
    normed = per_character(items, loglik).argmax(1) == answers
    return Score(
        name, loglik, correct, float(gold.mean()), *interval(correct), cut, gold, normed, rates=blind_rates(items)
    )  # fmt: skip


def per_character(items: Sequence[Item], loglik: Tensor) -> Tensor:
    """(n, most choices) log-likelihoods divided by the choices' lengths in characters, as lm-evaluation-harness's acc_norm."""
    lengths = torch.ones_like(loglik)
    for i, item in enumerate(items):
        lengths[i, : len(item.choices)] = torch.tensor([float(len(choice)) for choice in item.choices])
    return loglik / lengths


def blind_rates(items: Sequence[Item]) -> Rates:
    """What a guess, one constant answer (a place or a text), and the longest choice get right."""
    return Rates(
        chance=sum(1 / len(item.choices) for item in items) / len(items),
        majority=max(
            commonest([item.answer for item in items]), commonest([item.choices[item.answer] for item in items])
        ),
        longest=sum(map(_longest_is_right, items)) / len(items),
    )


def _longest_is_right(item: Item) -> float:
    lengths = [len(choice) for choice in item.choices]
    longest = max(lengths)
    return (lengths[item.answer] == longest) / lengths.count(longest)
