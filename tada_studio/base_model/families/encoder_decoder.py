"""Encoder-decoders (T5, FLAN-T5, BART): the encoder reads the question, the decoder answers.

An answer is scored whole, as the tokenizer writes a target: with its end, so that "salt" is no beginning of "salt water".
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tada_studio.base_model.devices import runs_on
from tada_studio.base_model.family import (
    LONGEST,
    Batch,
    Family,
    Found,
    Opened,
    Place,
    Question,
    Scoring,
    Writing,
    is_in,
    no_tokens,
    padded,
    text_batches,
    tokenizer_of,
)


def is_it(config: Mapping[str, Any]) -> bool:
    return bool(config.get("is_encoder_decoder")) and is_in("MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES", config)


def open_folder(folder: Path, how: Mapping[str, Any]) -> Opened:
    from transformers import AutoModelForSeq2SeqLM

    model = AutoModelForSeq2SeqLM.from_pretrained(str(folder), **how)
    tokenizer = tokenizer_of(folder)
    tokenizer.decoder_starts_with = starts_with(model)  # the decoder of a probe input begins with it
    return Opened(model, tokenizer)


def starts_with(model: Any) -> int:
    """The token that the decoder begins with."""
    settings = (getattr(model, "generation_config", None), model.config)
    found = [getattr(one, "decoder_start_token_id", None) for one in settings]
    return next((token for token in found if token is not None), model.config.pad_token_id or 0)


def feed(tokenizer: Any, inputs: Sequence[str]) -> list[Batch]:
    """The encoder reads the text; the decoder reads it too, one place later, as if it were to repeat it: without an answer that is
    what there is for it to read. Position 0, its start, does not count."""
    start = getattr(tokenizer, "decoder_starts_with", tokenizer.pad_token_id or 0)

    def both(ids: Tensor, mask: Tensor) -> dict[str, Any]:
        first = torch.full((len(ids), 1), start)
        return {
            "input_ids": ids, "attention_mask": mask, "decoder_input_ids": torch.cat([first, ids[:, :-1]], 1),
            "decoder_attention_mask": mask, "use_cache": False,
        }  # fmt: skip

    return text_batches(tokenizer, inputs, both)


# -- scoring -----------------------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """A question's tokens, those of each choice, and whether the question was cut."""

    item: int
    question: list[int]
    choices: list[list[int]]
    cut: bool

    @property
    def length(self) -> int:
        """Tokens that are run for it: the question once for every choice that attends to it, and the choices."""
        return len(self.question) + len(self.choices) * max(map(len, self.choices))


def score(model: Any, tokenizer: Any, questions: Sequence[Question], tokens: int) -> Scoring:
    """Log-likelihood of every choice in the decoder, after the question in the encoder."""
    room = min(LONGEST, getattr(model.config, "max_position_embeddings", None) or LONGEST)
    rows = [_row(tokenizer, i, one, room) for i, one in enumerate(questions)]
    return Scoring(rows, partial(_run, model, tokenizer.pad_token_id or 0))


def _row(tokenizer: Any, number: int, one: Question, room: int) -> Row:
    question = list(tokenizer(one.question.strip()).input_ids)
    choices = [list(tokenizer(text_target=choice.strip()).input_ids) for choice in one.choices]
    if not all(choices) or not question:
        raise no_tokens(number, one)
    return Row(number, question[-room:], choices, cut=len(question) > room)


@torch.inference_mode()
def _run(model: Any, pad: int, batch: Sequence[Row]) -> Found:
    ids, mask = padded([row.question for row in batch], pad)
    read = _encoded(model, ids, mask)
    places = [Place(row.item, c) for row in batch for c in range(len(row.choices))]
    of = torch.tensor([k for k, row in enumerate(batch) for _ in row.choices], device=read.device)
    wanted, there = (t.to(read.device) for t in padded([choice for row in batch for choice in row.choices], pad))
    first = torch.full((len(wanted), 1), starts_with(model), device=read.device)
    logits = model(
        encoder_outputs=(read[of],), attention_mask=mask.to(read.device)[of],
        decoder_input_ids=torch.cat([first, wanted[:, :-1]], 1), use_cache=False,
    ).logits.float()  # fmt: skip
    each = logits.log_softmax(-1).gather(2, wanted[:, :, None])[:, :, 0].masked_fill(there == 0, 0)
    likeliest = (logits.argmax(-1) == wanted) | (there == 0)
    return Found(places, each.sum(1).cpu(), likeliest.all(1).cpu())


def _encoded(model: Any, ids: Tensor, mask: Tensor) -> Tensor:
    device = runs_on(model)
    return model.get_encoder()(input_ids=ids.to(device), attention_mask=mask.to(device)).last_hidden_state


# -- writing -----------------------------------------------------------------------------------------------------------


def write(model: nn.Module, pad: int, prompts: Sequence[Sequence[int]], keep: bool = True) -> Writing:
    """Logits of the next token of every answer; what the decoder has read is kept."""
    runs: Any = model
    ids, mask = padded(prompts, pad)
    with torch.inference_mode():
        read = _encoded(runs, ids, mask)
    following, kept, forced = [starts_with(runs)] * len(prompts), None, _forced(runs)
    while True:
        with torch.inference_mode():
            out = runs(
                encoder_outputs=(read,), attention_mask=mask.to(read.device), past_key_values=kept, use_cache=keep,
                decoder_input_ids=torch.tensor(following, device=read.device)[:, None],
            )  # fmt: skip
        logits, kept = out.logits[:, -1], out.past_key_values
        if forced is not None:  # BART begins with a token of its own, whatever its logits say
            logits = torch.full_like(logits, -torch.inf).index_fill(
                1, torch.tensor([forced], device=logits.device), 0.0
            )
        following, forced = (yield logits), None


def _forced(model: Any) -> int | None:
    return getattr(getattr(model, "generation_config", None), "forced_bos_token_id", None)


FAMILY = Family("an encoder-decoder", is_it, open_folder, feed, score=score, write=write, task_type="SEQ_2_SEQ_LM")
