"""Decoders: language models that go on from a text (Llama, Qwen, Gemma, GPT-2).

A question is scored once: its choices stand behind it, and a mask lets each of them see the question and itself. What questions
begin with alike is run once for all of them (tree.py).
"""

import copy
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tada_studio.base_model.devices import is_spread, number_format, runs_on
from tada_studio.base_model.family import (
    LONGEST,
    Batch,
    Family,
    Found,
    Opened,
    Question,
    Scoring,
    Writing,
    no_tokens,
    padded,
    text_batches,
    text_part,
    tokenizer_of,
)
from tada_studio.base_model.tree import Row, Target, common, pack, packed, shared_batch, targets_of

#: Tokens in one row of a batch; a batch of more has several rows. Attention within a row costs its length squared.
WIDTH = 512
#: A beginning that all items share is read ahead of them, once, if it has this many tokens; a shorter one is not worth a cache.
WORTH_KEEPING = 32
#: Log-likelihoods of the two ways to score must agree to this (nats), or the slower, plainer one is used.
AGREEMENT = 1e-3


def open_folder(folder: Path, how: Mapping[str, Any]) -> Opened:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(str(folder), **how)
    return Opened(model, tokenizer_of(folder))


def feed(tokenizer: Any, inputs: Sequence[str]) -> list[Batch]:
    """Texts as batches for a probe."""
    return text_batches(
        tokenizer, inputs, lambda ids, mask: {"input_ids": ids, "attention_mask": mask, "use_cache": False}
    )


def text_config(model: Any) -> Any:
    """The part of a config that is about the language model; None for a model without one."""
    return text_part(getattr(model, "config", None))


# -- rows ----------------------------------------------------------------------------------------------------------


def rows_of(tokenizer: Any, questions: Sequence[Question]) -> list[Row]:
    """Every question with its choices, as tokens. Raises InputError."""
    return [_row(tokenizer, i, item) for i, item in enumerate(questions)]


def _row(tokenizer: Any, number: int, item: Question) -> Row:
    """Question and choice are encoded together and split after the question, as lm-evaluation-harness does."""
    question = item.question.rstrip()
    blank = item.question[len(question) :] or " "
    context = tokenizer(question).input_ids
    whole = [tokenizer(question + blank + choice.lstrip()).input_ids for choice in item.choices]
    choices = [ids[len(context) :] for ids in whole]
    if not all(choices) or not context:
        raise no_tokens(number, item)
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
    device = runs_on(model)
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


def _found(model: nn.Module, hidden: Tensor, targets: list[Target]) -> Found:
    flat = [(target.row, position) for target in targets for position in target.positions]
    rows, positions = (torch.tensor(list(column), device=hidden.device) for column in zip(*flat, strict=True))
    # choices often share the position before them: apply the head, the costliest layer, once to each
    places, which = torch.unique(rows * hidden.shape[1] + positions, return_inverse=True)
    tokens = torch.tensor([token for target in targets for token in target.tokens], device=hidden.device)
    logits = _logits(model, hidden.flatten(0, 1)[places]).float()
    tokens, which = tokens.to(logits.device), which.to(logits.device)  # the head may lie on another device
    per_token, likeliest = _of_tokens(logits, tokens, which), logits.argmax(-1)[which] == tokens
    lengths = [len(target.tokens) for target in targets]
    loglik = torch.stack([part.sum() for part in per_token.split(lengths)]).cpu()
    return Found(targets, loglik, torch.stack([part.all() for part in likeliest.split(lengths)]).cpu())


def token_logliks(model: nn.Module, hidden: Tensor, tokens: Tensor) -> Tensor:
    """Log-likelihood of each token, in nats, after the state at its place in ``hidden``."""
    logits = _logits(model, hidden).float()
    return _of_tokens(logits, tokens.to(logits.device), torch.arange(len(tokens), device=logits.device))


@torch.inference_mode()
def text_logliks(model: nn.Module, pad: int, rows: Sequence[Sequence[int]]) -> Tensor:
    """(n,) log-likelihood of each row's tokens after the first, in nats, in float64."""
    ids, mask = padded(rows, pad)
    hidden = hidden_states(model, {"input_ids": ids[:, :-1], "attention_mask": mask[:, :-1]})
    where = mask[:, 1:].bool().to(hidden.device)
    found = token_logliks(model, hidden[where], ids[:, 1:].to(hidden.device)[where])
    return torch.stack([part.sum() for part in found.double().cpu().split([len(row) - 1 for row in rows])])


def _of_tokens(logits: Tensor, tokens: Tensor, which: Tensor) -> Tensor:
    """Log-likelihood of each token by the logits at its place ``which``."""
    return logits[which, tokens] - logits.logsumexp(-1)[which]


def _logits(model: Any, hidden: Tensor) -> Tensor:
    logits: Tensor = model.get_output_embeddings()(hidden)
    cap = getattr(text_config(model), "final_logit_softcapping", None)  # Gemma 2
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
        shared_batch(packed_rows, tokenizer.pad_token_id or 0, number_format(model), past.tokens),
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
    most = AGREEMENT if number_format(model) == torch.float32 else 0.5
    return bool((shared - found).abs().max() < most)


#: What was picked for a model stays: the architecture decides, not the adapter on it, and trying costs as much as many items.
_PICKED: "weakref.WeakKeyDictionary[nn.Module, Scorer]" = weakref.WeakKeyDictionary()
#: Whether a model goes on from what it keeps of a beginning; likewise.
_GOES_ON: "weakref.WeakKeyDictionary[nn.Module, bool]" = weakref.WeakKeyDictionary()


def _picked(model: nn.Module, tokenizer: Any, rows: Sequence[Row]) -> Scorer:
    window = getattr(text_config(model), "sliding_window", None)
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


def score(
    model: Any, tokenizer: Any, questions: Sequence[Question], tokens: int, scorer: Scorer | None = None
) -> Scoring:
    """Log-likelihood of every choice behind its question. scorer: None picks the faster way that this architecture honours."""
    rows = rows_of(tokenizer, questions)
    with torch.inference_mode():
        scorer = scorer or _picked(model, tokenizer, rows)
        past = _past(model, tokenizer, rows, tokens) if scorer is score_shared else NO_PAST
    run = partial(_scored, scorer, model, tokenizer, past)
    return Scoring(rows, run, lambda waiting, most: packed(waiting, most, past.tokens))


def _scored(scorer: Scorer, model: nn.Module, tokenizer: Any, past: Past, batch: list[Row]) -> Found:
    return scorer(model, tokenizer, batch, past)


# -- writing -----------------------------------------------------------------------------------------------------------


def write(model: nn.Module, pad: int, prompts: Sequence[Sequence[int]], keep: bool = True) -> Writing:
    """Logits of the next token of every prompt, again and again; what was computed for the rows so far is kept."""
    runs: Any = model
    inputs, kept = left_padded(prompts, pad, runs_on(model)), None
    while True:
        # a number where the last layer may lie on another device than the inputs, else an index: faster with hooks in bf16
        last = 1 if is_spread(model) else torch.tensor([inputs["input_ids"].shape[1] - 1], device=runs_on(model))
        with torch.inference_mode():
            out = runs(**inputs, past_key_values=kept, use_cache=keep, logits_to_keep=last)
        kept = out.past_key_values
        following = yield out.logits[:, -1]
        inputs = _next(inputs, following)


def left_padded(prompts: Sequence[Sequence[int]], pad: int, device: torch.device) -> dict[str, Tensor]:
    width = max(map(len, prompts))
    ids = torch.tensor([[pad] * (width - len(row)) + list(row) for row in prompts], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in prompts], device=device)
    return {"input_ids": ids, "attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp_min(0)}


def _next(inputs: Mapping[str, Tensor], following: list[int]) -> dict[str, Tensor]:
    mask = inputs["attention_mask"]
    return {
        "input_ids": torch.tensor(following, device=mask.device)[:, None],
        "attention_mask": torch.cat([mask, mask.new_ones(len(following), 1)], 1),
        "position_ids": inputs["position_ids"][:, -1:] + 1,
    }


FAMILY = Family(
    "a decoder", lambda config: True, open_folder, feed,
    score=score, write=write, continues=True, task_type="CAUSAL_LM",
)  # fmt: skip
