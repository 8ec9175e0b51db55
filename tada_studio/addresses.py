"""Where a module sits in its base: tower, layer and projection, read from its dotted name.

A tower is a stack of layers beside others: encoder and decoder, a vision tower and the language model, the ways down and up of a
U-Net. Nothing is compared across towers: layer 3 of one is no neighbour of layer 3 of another.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import takewhile
from typing import NamedTuple


class Address(NamedTuple):
    """Where a module sits: ``layer`` counts from 0 at the tower's input, ``projection`` is the name people use (``v_proj``).

    tower: "" in a base that has one stack of layers, else such as "encoder"
    """

    layer: int
    projection: str
    tower: str = ""

    def __str__(self) -> str:
        return f"{self.row} {self.projection}"

    @property
    def row(self) -> str:
        """Its layer in words: "layer 3", "decoder layer 3"."""
        return row_words(self.tower, self.layer)

    @property
    def selector(self) -> str:
        """It as selector lines write it: "layer 3 : v_proj", "decoder : layer 3 : v_proj"."""
        return f"{self.tower} : layer {self.layer} : {self.projection}".removeprefix(" : ")


def row_words(tower: str, layer: int) -> str:
    """ "layer 3", or "decoder layer 3" where there is more than one tower."""
    return f"{tower} layer {layer}".strip()


def rows_of(places: Iterable[Address]) -> list[tuple[str, int]]:
    """(tower, layer) of the rows of a map: tower by tower in the order in which they come, layers in order of depth."""
    rows = dict.fromkeys((place.tower, place.layer) for place in places)
    towers = {tower: i for i, tower in enumerate(dict.fromkeys(tower for tower, _ in rows))}
    return sorted(rows, key=lambda row: (towers[row[0]], row[1]))


def split_name(name: str) -> tuple[str, int | None, str]:
    """("model.layers", 3, "self_attn.q_proj") of "model.layers.3.self_attn.q_proj"; no number outside the layers."""
    parts = name.split(".")
    for i, part in enumerate(parts[:-1]):
        if part.isdecimal() and len(part) < 10:  # a longer one is no layer, and from 4,300 digits on no number
            return ".".join(parts[:i]), int(part), ".".join(parts[i + 1 :])
    return "", None, name


#: Parts of the names of modules that stand before the first layer; what else has no layer (heads) stands behind the last.
_BEFORE_THE_LAYERS = ("embed", "wte", "wpe", "patch", "stem", "projector", "proj_in", "conv_in")


def _layer_outside(name: str, numbers: Iterable[int]) -> int:
    """Embeddings count with the first layer, heads with the last: depth is what a gate is about."""
    before = any(part in name.lower() for part in _BEFORE_THE_LAYERS)
    return (min if before else max)(numbers, default=0)


def addresses(names: Iterable[str]) -> dict[str, Address]:
    """The address of every module, tower by tower in order of depth, then in the order in which the projections first appear.

    A module outside the numbered layers is addressed with the first of them (embeddings) or the last (heads) of its tower.

    A projection is called by the last part of its name; where that would call two kinds of module alike (BERT has
    attention.output.dense and output.dense) it gets as much of its path as tells them apart within its tower.
    """
    return dict(_addresses(tuple(names)))


@lru_cache(64)  # reading, pairing and merging all ask for the same names
def _addresses(names: tuple[str, ...]) -> Mapping[str, Address]:
    split = {name: split_name(name) for name in names}
    split |= _in_unets(split)
    towers = _towers(list(dict.fromkeys(stack for stack, layer, _ in split.values() if layer is not None)))
    tower_of = {name: _tower_of(name, where, towers) for name, where in split.items()}
    in_order = sorted(set(tower_of.values()), key=lambda tower: (_reading_order(tower), tower))
    found = [_in_tower({name: split[name] for name in split if tower_of[name] == tower}, tower) for tower in in_order]
    return {name: place for tower in found for name, place in tower.items()}


@lru_cache(64)
def towers_of(names: tuple[str, ...]) -> tuple[str, ...]:
    """The tower of each module."""
    places = addresses(names)
    return tuple(places[name].tower for name in names)


def _in_tower(split: Mapping[str, tuple[str, int | None, str]], tower: str) -> dict[str, Address]:
    numbers = [layer for _, layer, _ in split.values() if layer is not None]
    kinds = list(dict.fromkeys((stack, tail) for stack, _, tail in split.values()))
    labels = dict(zip(kinds, _short_names(kinds), strict=True))
    found = {
        name: Address(_layer_outside(name, numbers) if layer is None else layer, labels[stack, tail], tower)
        for name, (stack, layer, tail) in split.items()
    }
    usual = _usual_place_beside_others if tower else _usual_place
    order = {label: i for i, label in enumerate(sorted(labels.values(), key=usual))}
    return dict(sorted(found.items(), key=lambda item: (item[1].layer, order[item[1].projection])))


# -- U-Nets ------------------------------------------------------------------------------------------------------------

#: A layer of a U-Net of diffusers: its side, a block of it (the middle is one), and in that block a kind of part with a number.
_OF_UNET = re.compile(
    r"(?P<side>(?:.+\.)?(?:down_blocks|mid_block|up_blocks))(?:(?<=s)\.(?P<block>\d+))?\.(?P<kind>\w+)\.(?P<part>\d+)\.(?P<inside>.+)"
)
_TRANSFORMER_BLOCK = re.compile(r"((?:.*\.)?transformer_blocks)\.(\d+)\.(.+)")
#: What stands before the first block of a U-Net or transformer of diffusers, and behind the last.
_AROUND = re.compile(
    r"(?P<prefix>(?:\w+\.)?)(?:(?P<before>conv_in|(?:time|add|class)_embedding|(?:x|context)_embedder|time_text_embed)"
    r"|conv_out|norm_out|proj_out)(?:\..+)?"
)

#: (block, part of the block, transformer block of that part); None stands for the last that there is
_Place = tuple[int, int | None, int | None]


def _in_unets(names: Iterable[str]) -> dict[str, tuple[str, int, str]]:
    """(side, row, path inside) of the layers of U-Nets. Each transformer block is a row, counted from 0 in the order of depth.

    A resnet shares the row of the attention with its number; what is around an attention's blocks (proj_in, proj_out) has the
    row of its first or last, and what changes the size behind a block the last row of that block.
    """
    found = {name: _place_in_unet(match) for name in names if (match := _OF_UNET.fullmatch(name))}
    rows: dict[str, list[_Place]] = {side: [] for side, _, _ in found.values()}
    for side, place, _ in sorted(found.values(), key=lambda one: one[1].count(None)):  # the surest first
        if _row(place, rows[side]) is None:
            rows[side].append((place[0], place[1] or 0, place[2] or 0))
    in_order = {side: sorted(places) for side, places in rows.items()}
    return {
        name: (side, in_order[side].index(_row(place, in_order[side])), inside)  # type: ignore[arg-type]
        for name, (side, place, inside) in found.items()
    }


def _place_in_unet(match: re.Match[str]) -> tuple[str, _Place, str]:
    """(side, place, path inside without numbers of rows)."""
    side, block, kind, inside = match["side"], int(match["block"] or 0), match["kind"], match["inside"]
    if kind in ("downsamplers", "upsamplers"):
        return side, (block, None, None), f"{kind}.{inside}"
    part = int(match["part"])
    if inner := _TRANSFORMER_BLOCK.fullmatch(inside):
        return side, (block, part, int(inner[2])), f"{kind}.{inner[1]}.{inner[3]}"
    return side, (block, part, None if inside.endswith("proj_out") else 0), f"{kind}.{inside}"


def _row(place: _Place, rows: Sequence[_Place]) -> _Place | None:
    """The last row that a place means, if there is one."""
    ours = [row for row in rows if all(mine in (None, its) for mine, its in zip(place, row, strict=True))]
    return max(ours, default=None)


# -- towers ------------------------------------------------------------------------------------------------------------


def _towers(stacks: Sequence[str]) -> dict[str, str]:
    """Stack of layers -> its tower: "encoder" of model.encoder.layers beside model.decoder.layers; "" if there is one tower."""
    paths = {stack: stack.split(".") for stack in stacks}
    named = _distinct(paths)
    return dict.fromkeys(stacks, "") if len(set(named.values())) < 2 else named


def _distinct(paths: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The first part of each path that not all share; where several share that too, with the next that they do not."""
    shared = set.intersection(*map(set, paths.values())) if paths else set()
    rest = {stack: [part for part in path if part not in shared] for stack, path in paths.items()}
    first = {stack: path[0] if path else "" for stack, path in rest.items()}
    found = {}
    for head in dict.fromkeys(first.values()):
        ours = {stack: rest[stack][1:] for stack in paths if first[stack] == head}
        below = _distinct(ours) if head and len(ours) > 1 else dict.fromkeys(ours, "")
        found.update({stack: f"{head}.{name}".strip(".") for stack, name in below.items()})
    return found


def _tower_of(name: str, where: tuple[str, int | None, str], towers: Mapping[str, str]) -> str:
    """A module outside the layers belongs to the tower that its name begins like (vision_tower.patch_embed), else to the last."""
    if where[1] is not None or len(set(towers.values())) < 2:
        return towers.get(where[0], "")
    if around := _AROUND.fullmatch(name):
        stacks = re.compile(rf"{re.escape(around['prefix'])}\w+_blocks?")
        if ours := sorted((t for stack, t in towers.items() if stacks.fullmatch(stack)), key=_reading_order):
            return ours[0 if around["before"] else -1]
    alike = {stack: _alike(name, stack) for stack in towers}
    longest = max(alike, key=alike.__getitem__)
    in_all = min(_alike(longest, stack) for stack in towers)
    return towers[longest] if alike[longest] >= in_all + 3 else max(towers.values(), key=_reading_order)


def _alike(one: str, other: str) -> int:
    """How many letters two names begin with alike."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


#: Parts of towers' names in the order in which a model reads: what takes its input in stands before what answers.
_READ_FIRST = (
    "vision",
    "visual",
    "image",
    "audio",
    "text_encoder",
    "encoder",
    "down",
    "mid",
    "up",
    "single",
    "text",
    "language",
    "decoder",
)


def _reading_order(tower: str) -> int:
    return next((i for i, part in enumerate(_READ_FIRST) if part in tower), len(_READ_FIRST) // 2)


def tower_called(word: str, towers: Collection[str]) -> str | None:
    """The tower that a word names: by its name, its last part or its first word ("vision" for vision_tower); None for none."""
    word = word.lower()
    known = [tower for tower in dict.fromkeys(towers) if tower]
    for ways in (lambda t: (t,), lambda t: (t.rpartition(".")[2], t.rpartition(".")[2].split("_")[0])):
        found = [tower for tower in known if word in (way.lower() for way in ways(tower))]
        if len(found) == 1:
            return found[0]
    return None


def is_called(tower: str, projection: str, word: str) -> bool:
    """Whether a word names this projection: q_proj, q, encoder.q_proj. Before there were towers a stack's whole path stood there
    (vision_tower.encoder.q_proj); recipes of that time are still read.
    """
    if word in (projection, projection.removesuffix("_proj")):
        return True
    return bool(tower) and word.startswith(f"{tower}.") and word.endswith(f".{projection}")


# -- projections -------------------------------------------------------------------------------------------------------

#: The order in which a layer computes them, so that maps of different models read alike.
_USUAL_ORDER = (
    "q", "query", "q_lin", "k", "key", "k_lin", "v", "value", "v_lin", "qkv", "c_attn", "query_key_value",
    "o", "out", "out_lin", "attn.c_proj", "attention.output.dense", "gate", "up", "c_fc", "fc1", "lin1",
    "intermediate.dense", "down", "mlp.c_proj", "fc2", "lin2", "output.dense",
)  # fmt: skip
_FIRST_OF_MLP = _USUAL_ORDER.index("gate")
#: How attention to another tower is called, beside attention within one.
_ACROSS = ("encoder_attn", "encdec", "cross", "attn2", "add_")
#: How diffusers writes a projection: to_q, add_q_proj, to_out.0.
_OF_DIFFUSERS = re.compile(r"^(?:to_)?(?:add_)?(\w+?)(?:_proj)?(?:\.\d+)?$")


def _usual_place(label: str) -> tuple[int, str]:
    short = label if label in _USUAL_ORDER else _OF_DIFFUSERS.sub(r"\1", label)
    return (_USUAL_ORDER.index(short) if short in _USUAL_ORDER else len(_USUAL_ORDER), label)


def _usual_place_beside_others(label: str) -> tuple[int, int, str]:
    """The same where a layer may attend to another tower too: attention within, attention across, the rest."""
    last = re.split(r"\.(?=[^.\d])", label)[-1]  # to_out.0 is one name
    place = min(_usual_place(label)[0], _usual_place(last)[0])
    across = any(part in label.lower() for part in _ACROSS)
    return (1 if across else 0 if place < _FIRST_OF_MLP else 2, place, label)


#: What a name must not lose: "proj" and "net.2" say nothing of diffusers' feed-forward layers (ff.net.0.proj, ff.net.2).
_SPELLED_OUT = ("ff", "ff_context")


def in_usual_order(labels: Iterable[str]) -> list[str]:
    """Labels of several towers in one order, which is each tower's own too."""
    return sorted(labels, key=_usual_place_beside_others)


def _short_names(kinds: list[tuple[str, str]]) -> list[str]:
    """For each (stack, path inside a layer) its shortest end that no other ends in, or that whole path if no other has it."""

    def ends(stack: str, inside: str) -> list[str]:
        parts = [*stack.split("."), *inside.split(".")]
        return [".".join(parts[i:]) for i in range(len(parts) - 1, -1, -1)]

    seen = Counter(end for kind in kinds for end in ends(*kind))
    paths = Counter(inside for _, inside in kinds)

    def tells_apart(end: str, inside: str) -> bool:
        if end.isdecimal():  # to_out.0 is no "0"
            return False
        if any(part in inside.split(".") and part not in end.split(".") for part in _SPELLED_OUT):
            return False
        return seen[end] == 1 or (end == inside and paths[inside] == 1)

    return [next((end for end in ends(*kind) if tells_apart(end, kind[1])), ".".join(kind)) for kind in kinds]
