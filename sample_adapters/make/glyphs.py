"""Glyphs drawn with Pillow's built-in font, in two styles. Nothing is copied from a data set, and every draw takes a generator.

clean:    white on black; turned, sheared, stretched and shifted a little, with a little noise
shifted:  the same glyphs at low contrast, under a light gradient and stripes, with heavy noise
"""

import string
from functools import lru_cache

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

SIDE = 20
#: The labels that the base knows, and the ten letters that it never saw.
TASK = tuple("GHJKMNPRSW")
BASE = (*string.digits, *(letter for letter in string.ascii_uppercase if letter not in TASK))
CLEAN, SHIFTED = "clean", "shifted"


@lru_cache
def _masters(label: str) -> Tensor:
    """(4, 32, 32) drawings of a glyph in two sizes and two stroke widths, in [0, 1]."""
    return torch.stack([_drawn(label, stroke, size) for stroke in (0, 1) for size in (22, 26)])


def _drawn(label: str, stroke: int, size: int) -> Tensor:
    sheet = Image.new("L", (32, 32))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size)
    left, top, right, bottom = pen.textbbox((0, 0), label, font=font, stroke_width=stroke)
    pen.text((16 - (left + right) / 2, 16 - (top + bottom) / 2), label, fill=255, font=font, stroke_width=stroke)
    return torch.from_numpy(np.array(sheet, dtype=np.float32)) / 255


def draw(labels: tuple[str, ...], n: int, style: str, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """``n`` images of glyphs drawn at random, (n, 1, 20, 20) bytes, and which of the labels each one is, (n,)."""
    which = torch.randint(len(labels), (n,), generator=generator)
    return draw_these([labels[i] for i in which.tolist()], style, generator), which


def draw_these(wanted: list[str], style: str, generator: torch.Generator) -> Tensor:
    """One image of each wanted glyph, (n, 1, 20, 20) bytes."""
    n = len(wanted)

    def between(low: float, high: float) -> Tensor:
        return torch.rand(n, generator=generator) * (high - low) + low

    master = torch.randint(4, (n,), generator=generator).tolist()
    ink = torch.stack([_masters(label)[i] for label, i in zip(wanted, master, strict=True)])[:, None]
    turn, shear = between(-0.15, 0.15), between(-0.1, 0.1)
    across, down = between(0.9, 1.15), between(0.9, 1.15)
    move = torch.stack(
        [
            torch.stack([across * turn.cos(), shear - turn.sin(), between(-0.15, 0.15)], 1),
            torch.stack([turn.sin(), down * turn.cos(), between(-0.15, 0.15)], 1),
        ],
        1,
    )
    grid = torch.nn.functional.affine_grid(move, [n, 1, SIDE, SIDE], align_corners=False)
    image = torch.nn.functional.grid_sample(ink, grid, align_corners=False)
    image = (image * between(0.8, 1.1)[:, None, None, None]).clamp(0, 1)
    image = image + 0.04 * torch.randn(image.shape, generator=generator)
    if style == SHIFTED:
        x, y = torch.linspace(-1, 1, SIDE), torch.arange(SIDE, dtype=torch.float32)
        light = x[None, None, None, :] * between(-0.2, 0.2)[:, None, None, None]
        waves = torch.sin(between(1.5, 3.0)[:, None] * y + between(0, 6.28)[:, None])[:, None, :, None]
        image = 0.2 + 0.45 * image + light + 0.15 * waves + 0.1 * torch.randn(image.shape, generator=generator)
    return (image.clamp(0, 1) * 255).round().to(torch.uint8)


def pixels(images: Tensor) -> Tensor:
    """Bytes as the model reads them: [0, 255] to [-1, 1], which is what the base's preprocessor_config.json says too."""
    return (images.float() / 255 - 0.5) / 0.5
