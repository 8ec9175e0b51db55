"""Multiple choice by log-likelihood: the same items for any number of variants of one loaded base.

A question is run once: its choices stand behind it, and a mask lets each of them see the question and itself. What questions
begin with alike is run once for all of them (tree.py). Every variant gets the same batches in the same order, so in float32 two
variants differ only where they really differ.
"""

import copy
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tada_studio.errors import BaseError, InputError
from tada_studio.evaluation.batches import in_batches, room
from tada_studio.evaluation.scores import Rates, Score, commonest, interval
from tada_studio.evaluation.tree import Row, Target, common, pack, packed, shared_batch, targets_of
from tada_studio.progress import ProgressFn, silent

#: Longest question with its choices, in tokens; of what is longer the beginning is cut, and counted.
LONGEST = 2048
#: Tokens in one row of a batch; a batch of more has several rows. Attention within a row costs its length squared.
WIDTH = 512
#: A beginning that all items share is read ahead of them, once, if it has this many tokens; a shorter one is not worth a cache.
WORTH_KEEPING = 32
#: Log-likelihoods of the two ways to score must agree to this (nats), or the slower, plainer one is used.
AGREEMENT = 1e-3


@dataclass(frozen=True)
class Item:
    """A question with its choices; ``answer`` is the index of the right one."""

    question: str
    choices: tuple[str, ...]
    answer: int


def read_choice(value: Mapping[str, Any], where: str, items_file: Path) -> Item:
    """``{"question": str, "choices": [str, ...], "answer": int}``. Raises InputError."""
    question, choices, answer = value.get("question"), value["choices"], value.get("answer")
    texts = isinstance(choices, list) and all(isinstance(text, str) and text.strip() for text in choices)
    if not isinstance(question, str) or not texts or len(set(choices)) < max(2, len(choices)):
        raise InputError(f"{where}: needs a question and at least two different, non-empty choices.")
    if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < len(choices):
        raise InputError(f"{where}: answer = {answer!r}; give the index of a choice, 0 to {len(choices) - 1}.")
    return Item(question, tuple(choices), answer)


# -- rows ----------------------------------------------------------------------------------------------------------


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


class Past(NamedTuple):
    """A beginning that all items share, as a model has read it: how many tokens, and what it keeps of them."""

    tokens: int
    kept: Any


NO_PAST = Past(0, None)


def _run(model: nn.Module, inputs: Mapping[str, Tensor], **how: Any) -> Any:
    causal: Any = model  # transformers' classes say what they are by their methods, not by a type
    body = causal.get_decoder() if hasattr(causal, "get_decoder") else causal.base_model
    device = next(model.parameters()).device
    return body(**{name: tensor.to(device) for name, tensor in inputs.items()}, **how)


def hidden_states(model: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
    """Last hidden states; the head is applied only where a prediction is wanted."""
    return _run(model, inputs, use_cache=False).last_hidden_state


def _read_once(model: nn.Module, tokens: Sequence[int]) -> Past:
    kept = _run(model, {"input_ids": torch.tensor([list(tokens)])}, use_cache=True).past_key_values
    return Past(len(tokens), kept)


def _after(model: nn.Module, inputs: Mapping[str, Tensor], past: Past) -> Tensor:
    """Last hidden states of what comes after ``past``, which is as good as new afterwards."""
    if past.kept is None:
        return hidden_states(model, inputs)
    kept = copy.deepcopy(past.kept)  # the model would add to it
    kept.batch_repeat_interleave(len(inputs["input_ids"]))
    return _run(model, inputs, past_key_values=kept, use_cache=True).last_hidden_state


class Found(NamedTuple):
    """What a model makes of choices: where each stands, its log-likelihood in nats, and whether the model would have given it by
    itself: every token of it is the likeliest of the whole vocabulary, which is greedy decoding that matches exactly."""

    targets: list[Target]
    loglik: Tensor
    free: Tensor


def _found(model: nn.Module, hidden: Tensor, targets: list[Target]) -> Found:
    flat = [(target.row, position) for target in targets for position in target.positions]
    rows, positions = (torch.tensor(list(column), device=hidden.device) for column in zip(*flat, strict=True))
    # choices often share the position before them: apply the head, the costliest layer, once to each
    places, which = torch.unique(rows * hidden.shape[1] + positions, return_inverse=True)
    tokens = torch.tensor([token for target in targets for token in target.tokens], device=hidden.device)
    logits = _logits(model, hidden.flatten(0, 1)[places]).float()
    per_token, likeliest = _of_tokens(logits, tokens, which), logits.argmax(-1)[which] == tokens
    lengths = [len(target.tokens) for target in targets]
    loglik = torch.stack([part.sum() for part in per_token.split(lengths)]).cpu()
    return Found(targets, loglik, torch.stack([part.all() for part in likeliest.split(lengths)]).cpu())


def token_logliks(model: nn.Module, hidden: Tensor, tokens: Tensor) -> Tensor:
    """Log-likelihood of each token, in nats, after the state at its place in ``hidden``."""
    return _of_tokens(_logits(model, hidden).float(), tokens, torch.arange(len(tokens), device=tokens.device))


def _of_tokens(logits: Tensor, tokens: Tensor, which: Tensor) -> Tensor:
    """Log-likelihood of each token by the logits at its place ``which``."""
    return logits[which, tokens] - logits.logsumexp(-1)[which]


def _logits(model: Any, hidden: Tensor) -> Tensor:
    logits: Tensor = model.get_output_embeddings()(hidden)
    cap = getattr(model.config, "final_logit_softcapping", None)  # Gemma 2
    return logits if not cap else cap * torch.tanh(logits / cap)


#: (model, tokenizer, batch, what all its rows begin with, read already) -> what the model makes of the choices
Scorer = Callable[..., Found]


# -- scoring -------------------------------------------------------------------------------------------------------


def score_shared(model: nn.Module, tokenizer: Any, batch: Sequence[Row], past: Past = NO_PAST) -> Found:
    """Each question once, its choices behind it, and what questions begin with alike once for all of them."""
    # as wide as the longest question at least: narrower rows would be padded to it
    width = max(WIDTH, *(row.length - past.tokens for row in batch))
    packed_rows = pack(batch, width, past.tokens)
    targets, inputs = (
        targets_of(packed_rows),
        shared_batch(packed_rows, tokenizer.pad_token_id or 0, next(model.parameters()).dtype, past.tokens),
    )
    return _found(model, _after(model, inputs, past), targets)


def score_plain(model: nn.Module, tokenizer: Any, batch: Sequence[Row], past: Past = NO_PAST) -> Found:
    """Each choice in a row of its own, one at a time: slow, and right for any causal model."""
    found = []
    for row in batch:
        for c, tokens in enumerate(row.choices):
            whole = row.context + tokens[:-1]
            target = Target(row.item, c, 0, list(range(len(row.context) - 1, len(whole))), tokens)
            found.append(_found(model, hidden_states(model, {"input_ids": torch.tensor([whole])}), [target]))
    targets, loglik, free = zip(*found, strict=True)
    return Found([one for some in targets for one in some], torch.cat(loglik), torch.cat(free))


@torch.inference_mode()
def pick_scorer(model: nn.Module, tokenizer: Any, rows: Sequence[Row]) -> Scorer:
    """``score_shared`` if this architecture honours the mask: the two ways are compared on the item with most to go wrong, in
    company."""
    hardest = max(rows, key=lambda row: sum(len(choice) - 1 for choice in row.choices))
    test = [hardest, *(row for row in rows[:1] if row is not hardest)]
    return score_shared if _agree(model, tokenizer, test, score_plain) else score_plain


def _agree(model: nn.Module, tokenizer: Any, test: Sequence[Row], other: Scorer, past: Past = NO_PAST) -> bool:
    """Whether ``score_shared`` after ``past`` finds what another way finds without it."""
    try:
        shared, found = (
            one.loglik for one in (score_shared(model, tokenizer, test, past), other(model, tokenizer, test))
        )
    except (TypeError, ValueError, RuntimeError, AttributeError):
        return False
    most = AGREEMENT if next(model.parameters()).dtype == torch.float32 else 0.5
    return bool((shared - found).abs().max() < most)


#: What was picked for a model stays: the architecture decides, not the adapter on it, and trying costs as much as many items.
_PICKED: "weakref.WeakKeyDictionary[nn.Module, Scorer]" = weakref.WeakKeyDictionary()
#: Whether a model goes on from what it keeps of a beginning; likewise.
_GOES_ON: "weakref.WeakKeyDictionary[nn.Module, bool]" = weakref.WeakKeyDictionary()


def _picked(model: nn.Module, tokenizer: Any, rows: Sequence[Row]) -> Scorer:
    window = getattr(getattr(model, "config", None), "sliding_window", None)
    if window and max(row.length for row in rows) > window:
        return score_plain  # the model's own mask would let tokens see less than ours does
    if model not in _PICKED:
        _PICKED[model] = pick_scorer(model, tokenizer, rows)
    return _PICKED[model]


def _past(model: nn.Module, tokenizer: Any, rows: Sequence[Row], tokens: int) -> Past:
    """What all rows begin with, read once, if more than one batch of so many tokens would have to read it."""
    shared = min(common([row.context for row in rows]), min(len(row.context) for row in rows) - 1)
    if shared < WORTH_KEEPING or len(packed(rows, tokens)) < 2 or not _GOES_ON.get(model, True):
        return NO_PAST
    try:
        past = _read_once(model, rows[0].context[:shared])
    except (TypeError, ValueError, RuntimeError, AttributeError):  # it keeps nothing
        _GOES_ON[model] = False
        return NO_PAST
    if model not in _GOES_ON:
        _GOES_ON[model] = _agree(model, tokenizer, [rows[0], rows[-1]], score_shared, past)
    return past if _GOES_ON[model] else NO_PAST


@torch.inference_mode()
def score(
    model: nn.Module,
    tokenizer: Any,
    items: Sequence[Item],
    name: str = "",
    progress: ProgressFn = silent,
    scorer: Scorer | None = None,
) -> Score:
    """One variant's score on the items. Raises BaseError if the model's numbers are not finite."""
    rows, device = _rows(tokenizer, items), next(model.parameters()).device
    scorer = scorer or _picked(model, tokenizer, rows)
    past = _past(model, tokenizer, rows, room(device)) if scorer is score_shared else NO_PAST
    loglik = torch.full((len(items), max(len(item.choices) for item in items)), -torch.inf)
    free = torch.zeros(loglik.shape, dtype=torch.bool)

    def work(batch: list[Row]) -> None:
        found = scorer(model, tokenizer, batch, past)
        places = [target.item for target in found.targets], [target.choice for target in found.targets]
        loglik[places], free[places] = found.loglik, found.free

    def pack(waiting: Sequence[Row], tokens: int) -> list[list[Row]]:
        return packed(waiting, tokens, past.tokens)

    in_batches(rows, lambda row: row.length, device, work, progress, name, pack)
    return _score(name, items, loglik, free, sum(row.cut for row in rows))


def _score(name: str, items: Sequence[Item], loglik: Tensor, free: Tensor, cut: int) -> Score:
    rows, answers = torch.arange(len(items)), torch.tensor([item.answer for item in items])
    gold = -loglik.double().log_softmax(1)[rows, answers]
    if not gold.isfinite().all():
        raise BaseError(f"{name}: the model's log-likelihoods are not finite numbers; load the base in float32.")
    correct = loglik.argmax(1) == answers
    normed = per_character(items, loglik).argmax(1) == answers
    return Score(
        name, loglik, correct, float(gold.mean()), *interval(correct), cut, gold, normed, rates=blind_rates(items),
        free=free[rows, answers],
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
