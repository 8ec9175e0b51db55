"""The gate map and its mean over depth as PNG files for a model card: plain pixels, drawn without a browser.

Blue is the task, orange the domain, as on the screen; white is where the base has no module.
"""

import io
from collections.abc import Mapping, Sequence

from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

#: Names of the files, in the order of the card.
MAP, DEPTH = "gates.png", "depth.png"
_TASK, _EVEN, _DOMAIN = (47, 118, 196), (169, 169, 176), (207, 99, 33)
_INK, _PAPER = (40, 44, 52), (255, 255, 255)
#: Pixels: a cell, the room for names, the height of the depth profile.
_WIDE, _HIGH, _LEFT, _TOP, _PROFILE = 72, 16, 96, 30, 220


def pictures(rows: Sequence[str], columns: Sequence[str], values: Float[Tensor, "rows columns"]) -> Mapping[str, bytes]:
    """Both files. rows, columns: what they stand for; values: the domain's share, NaN where no module is."""
    return {MAP: _png(_map(rows, columns, values)), DEPTH: _png(_depth(rows, values))}


def _map(rows: Sequence[str], columns: Sequence[str], values: Tensor) -> Image.Image:
    image = Image.new("RGB", (_LEFT + _WIDE * len(columns), _TOP + _HIGH * len(rows)), _PAPER)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(12)
    for j, name in enumerate(columns):
        draw.text((_LEFT + _WIDE * j + 3, 8), name[-10:], _INK, font)
    for i, name in enumerate(rows):
        draw.text((4, _TOP + _HIGH * i), name[-14:], _INK, font)
        for j, share in enumerate(values[i].tolist()):
            if share == share:  # not NaN
                x, y = _LEFT + _WIDE * j, _TOP + _HIGH * i
                draw.rectangle((x, y, x + _WIDE - 2, y + _HIGH - 2), _colour(share))
    return image


def _depth(rows: Sequence[str], values: Tensor) -> Image.Image:
    """The mean share of each row as a bar; the line is an even share."""
    width = max(4, min(24, 600 // max(1, len(rows))))
    image = Image.new("RGB", (_LEFT + width * len(rows) + 8, _PROFILE + 2 * _TOP), _PAPER)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(12)
    for share, name in ((0.0, "task"), (0.5, "even"), (1.0, "domain")):
        y = _TOP + _PROFILE * (1 - share)
        draw.line((_LEFT, y, image.width, y), _EVEN)
        draw.text((4, y - 8), name, _INK, font)
    for i, mean in enumerate(values.nanmean(1).tolist()):
        if mean == mean:
            x, y = _LEFT + width * i, _TOP + _PROFILE * (1 - mean)
            draw.rectangle((x, y - 3, x + width - 2, y + 3), _colour(mean))
    draw.text((_LEFT, _TOP + _PROFILE + 8), f"{rows[0]} (first layer) to {rows[-1]} (last)", _INK, font)
    return image


def _colour(share: float) -> tuple[int, ...]:
    share = min(1.0, max(0.0, share))
    low, high, part = (_TASK, _EVEN, 2 * share) if share < 0.5 else (_EVEN, _DOMAIN, 2 * share - 1)
    return tuple(round(a + (b - a) * part) for a, b in zip(low, high, strict=True))


def _png(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()
