"""How a base goes on from a prompt, token by token, with whatever adapter is attached: greedy, or sampled by a seed.

Sampling adds seeded noise to the log-probabilities and takes the largest (Gumbel's way to draw from a distribution). Every
variant gets the same noise at the same step, so two answers part only where the models do.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from tada_studio.base_model.answering import Answering, InProcess, Sampling
from tada_studio.base_model.families.causal import text_config
from tada_studio.base_model.family import Writing
from tada_studio.errors import InputError

__all__ = ["Sampling", "answers", "has_chat", "next_log_probs", "stream", "tokens_of"]


def has_chat(base: Answering) -> bool:
    """Whether the base was made for chat and says how a turn is written."""
    return bool(getattr(base.tokenizer, "chat_template", None))


def tokens_of(base: Answering, prompt: str, chat: bool = False) -> list[int]:
    """The prompt as tokens; ``chat``: as a person's turn in the base's own chat template. Raises InputError."""
    if base.family.write is None:
        does = "answers with labels" if base.classifies else f"is {base.family.name}"
        raise InputError(f"{base.name} {does} and writes no text. Compare its answers on the Evaluate tab.")
    if not prompt.strip():
        raise InputError("The prompt is empty. Write a question, or take an example.")
    if not chat:
        ids = base.tokenizer(prompt).input_ids
    elif not has_chat(base):
        raise InputError(f"{base.ref} has no chat template: put the prompt as plain text.")
    else:
        ids = base.tokenizer(_turn(base, prompt), add_special_tokens=False).input_ids
    if not ids:
        raise InputError(f"The tokenizer of {base.ref} makes nothing of the prompt.")
    return list(ids)


def _turn(base: Answering, prompt: str) -> str:
    turns = [{"role": "user", "content": prompt}]
    try:
        return base.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # a template is a program of somebody else's: anything can go wrong in it
        raise InputError(
            f"The chat template of {base.ref} fails ({str(error)[:200]}): put the prompt as plain text."
        ) from error


def answers(base: Answering, prompts: Sequence[Sequence[int]], how: Sampling) -> list[str]:
    """What follows each of a batch of prompts, to its end."""
    *_, whole = base.stream(prompts, how)
    return whole


def stream(base: InProcess, prompts: Sequence[Sequence[int]], how: Sampling) -> Iterator[list[str]]:
    """The answers to a batch of prompts so far, after each new token. Raises InputError for a prompt that is too long."""
    ends, limit = _ends(base), _room(base, prompts)
    replies: list[list[int]] = [[] for _ in prompts]
    texts, live = [""] * len(prompts), [True] * len(prompts)
    for following in _tokens(base, prompts, how, min(how.most, limit)):
        for row, token in enumerate(following):
            live[row] = live[row] and token not in ends
            if live[row]:
                replies[row].append(token)
                texts[row], live[row] = _text(base.tokenizer, replies[row], how.until)
        yield list(texts)
        if not any(live):
            return


def next_log_probs(base: InProcess, prompts: Sequence[Sequence[int]]) -> Tensor:
    """(n, vocabulary) log-probabilities of what follows each of a batch of prompts, in float32. Raises InputError."""
    return next(_writing(base, prompts, keep=False)).float().log_softmax(-1).cpu()


def _writing(base: InProcess, prompts: Sequence[Sequence[int]], keep: bool = True) -> Writing:
    if base.family.write is None:
        raise InputError(
            f"{base.name} is {base.family.name} and writes no text. Compare its answers on the Evaluate tab."
        )
    return base.family.write(base.model, base.tokenizer.pad_token_id or 0, prompts, keep)


def _tokens(base: InProcess, prompts: Sequence[Sequence[int]], how: Sampling, most: int) -> Iterator[list[int]]:
    """The next token of every row, again and again."""
    dice = [torch.Generator().manual_seed(how.seed) for _ in prompts]
    writing = _writing(base, prompts)
    logits = next(writing)
    for step in range(most):
        following = _pick(logits.float().cpu(), how.temperature, dice)
        yield following
        if step + 1 < most:
            logits = writing.send(following)


def _pick(logits: Tensor, temperature: float, dice: Sequence[torch.Generator]) -> list[int]:
    if temperature > 0:
        noise = torch.stack([torch.empty(logits.shape[1]).exponential_(generator=die) for die in dice])
        logits = logits / temperature - noise.log()  # minus the log of an exponential draw is a Gumbel draw
    return logits.argmax(1).tolist()


def _ends(base: InProcess) -> set[int]:
    """Tokens after which the base has nothing more to say."""
    model: Any = base.model
    known = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    several = known if isinstance(known, (list, tuple)) else [known]
    return {token for token in (*several, base.tokenizer.eos_token_id) if token is not None}


def _room(base: InProcess, prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens fit behind the longest prompt."""
    config, longest = text_config(base.model), max(map(len, prompts))
    limit = getattr(config, "max_position_embeddings", None) or 1 << 30
    if longest >= limit:
        raise InputError(f"The prompt has {longest} tokens, and {base.ref} reads {limit} in all. Give a shorter one.")
    return limit - longest


def _text(tokenizer: Any, tokens: list[int], until: Sequence[str]) -> tuple[str, bool]:
    """(text of an answer, whether it goes on)."""
    text: str = tokenizer.decode(tokens, skip_special_tokens=True)
    found = [place for end in until if (place := text.find(end)) >= 0]
    # the first bytes of a character that takes several tokens are no text yet
    return (text[: min(found)], False) if found else (text.rstrip("\ufffd"), True)
