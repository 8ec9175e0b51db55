"""A start for a small Llama-like decoder from which looking back in a text is learned in a hundred steps instead of thousands.

Before any training, two heads of the first layer attend to the token before, and heads of later layers find where the token at
hand stood earlier and copy what followed it (an induction circuit: Olsson et al. 2022). To begin with the structure that
trained models show is mimetic initialisation (Trockman and Kolter 2023). Nothing is frozen: training is free to change it all.
"""

import math
from typing import Any

import torch
from torch import Tensor

#: Column of the embeddings that is the same for all tokens: a head that looks at places, not at words, needs a constant.
CONSTANT = 0.3
#: Logit of the attention to the token before; a match's query and key; how strongly values are read and written.
NEAR, MATCH, CARRY, COPY = 25.0, 2.0, 0.4, 0.8
#: What attention and feed-forward layers write at first, against the library's start: words must not drown in noise.
QUIET = 0.1


@torch.no_grad()
def look_back(model: Any, seed: int, layers: tuple[int, ...], heads: int = 2) -> Any:
    """The model with that start; ``layers`` are those that find and copy."""
    generator = torch.Generator().manual_seed(seed)
    embeddings = model.model.embed_tokens.weight
    embeddings[:, 0] = CONSTANT
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight.mul_(QUIET)
        layer.mlp.down_proj.weight.mul_(QUIET)
    wide, size = model.config.hidden_size, model.config.hidden_size // model.config.num_attention_heads
    level = CONSTANT / float(embeddings.square().mean().sqrt())  # what the constant is after the norm
    for head in range(heads):
        rows = slice(head * size, (head + 1) * size)
        read, write = _words(wide, size, generator).mT, _words(wide, size, generator)
        first = model.model.layers[0].self_attn
        first.q_proj.weight[rows], first.k_proj.weight[rows] = _one_back(wide, size, level)
        first.v_proj.weight[rows], first.o_proj.weight[:, rows] = CARRY * read, CARRY * write
        for later in (model.model.layers[i].self_attn for i in layers):
            copied = _words(wide, size, generator)
            later.q_proj.weight[rows], later.k_proj.weight[rows] = MATCH * read, MATCH * write.mT
            later.v_proj.weight[rows], later.o_proj.weight[:, rows] = COPY * copied.mT, COPY * copied
    return model


def _words(wide: int, size: int, generator: torch.Generator) -> Tensor:
    """(wide, size) orthonormal directions that leave the constant column alone."""
    directions = torch.zeros(wide, size)
    directions[1:] = torch.linalg.qr(torch.randn(wide - 1, size, generator=generator)).Q
    return directions


def _one_back(wide: int, size: int, level: float) -> tuple[Tensor, Tensor]:
    """(query, key) that read the constant alone; the three fastest rotary frequencies make one step back the best match."""
    query, key = torch.zeros(size, wide), torch.zeros(size, wide)
    amplitude = math.sqrt(NEAR * math.sqrt(size) / 3) / level
    for i in range(3):
        angle = 10000.0 ** (-2 * i / size)
        key[i, 0] = amplitude
        query[i, 0], query[i + size // 2, 0] = amplitude * math.cos(angle), -amplitude * math.sin(angle)
    return query, key
