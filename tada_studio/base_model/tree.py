"""Texts that begin alike as a tree of tokens: what they share stands in it once, and each token sees the way to itself.

Several questions, each with its choices behind it, make one row for a model: no padding between them, and whatever beginning
two of them have in common (an instruction, "You can find") is run once.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Tree:
    """Tokens in the order they were added, every token after the one before it; ``past`` tokens stand before them all.

    tokens:  what stands at a node
    depths:  how many tokens of the tree come before it on its way
    """

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.depths: list[int] = []
        self._runs: list[tuple[int, int, int]] = []  # (first new node, one after the last, the node before; -1: none)
        self._next: dict[tuple[int, int], int] = {}  # (node before, token) -> node

    def __len__(self) -> int:
        return len(self.tokens)

    def growth(self, paths: Sequence[Sequence[int]]) -> int:
        """How many tokens the tree would gain by these paths."""
        gained, before = 0, list[int]()
        for path in sorted(map(list, paths)):
            gained += len(path) - max(self._reach(path), common([before, path]))
            before = path
        return gained

    def _reach(self, path: Sequence[int]) -> int:
        """How many of a path's tokens are in the tree already."""
        node = -1
        for k, token in enumerate(path):
            if (node, token) not in self._next:
                return k
            node = self._next[node, token]
        return len(path)

    def add(self, path: Sequence[int]) -> list[int]:
        """The nodes of a path, from its first token to its last; what is not there yet is added."""
        nodes, node, start, before = list[int](), -1, len(self), -1
        for depth, token in enumerate(path):
            following = self._next.get((node, token))
            if following is None:
                if len(self) == start:
                    before = node
                following = self._next[node, token] = len(self)
                self.tokens.append(token)
                self.depths.append(depth)
            node = following
            nodes.append(node)
        if len(self) > start:
            self._runs.append((start, len(self), before))
        return nodes

    def sees(self, width: int) -> Tensor:
        """(width, width) bool: node i (a row) sees itself and all on its way. What is beyond the tree sees itself: a softmax
        needs something."""
        sees = torch.eye(width, dtype=torch.bool)
        for start, end, before in self._runs:
            sees[start:end, start:end] = torch.ones(end - start, end - start, dtype=torch.bool).tril()
            if before >= 0:
                sees[start:end, :start] = sees[before, :start]
        return sees


def common(paths: Sequence[list[int]]) -> int:
    """How many tokens all paths begin with alike."""
    first, last = min(paths), max(paths)
    return next((k for k, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))


# -- items in trees ---------------------------------------------------------------------------------------------------


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


class PackedRow(NamedTuple):
    """Items that make one row of a batch, and for each of them the nodes after which each choice's tokens are predicted."""

    tree: Tree
    rows: list[tuple[Row, list[list[int]]]]


def _paths(row: Row, past: int) -> list[list[int]]:
    # the last token of a choice is predicted, never read
    return [(row.context + choice[:-1])[past:] for choice in row.choices]


def pack(rows: Iterable[Row], most: int, past: int) -> list[PackedRow]:
    """Rows in trees of at most ``most`` tokens without their first ``past``, which all of them share; a row that is longer goes
    alone."""
    packed_rows: list[PackedRow] = []
    for row in rows:
        paths = _paths(row, past)
        if not packed_rows or len(packed_rows[-1].tree) + packed_rows[-1].tree.growth(paths) > most:
            packed_rows.append(PackedRow(Tree(), []))
        start = len(row.context) - 1 - past
        packed_rows[-1].rows.append((row, [packed_rows[-1].tree.add(path)[start:] for path in paths]))
    return packed_rows


def packed(rows: Iterable[Row], most: int, past: int = 0) -> list[list[Row]]:
    """Rows in batches of at most ``most`` tokens, neighbours those that begin alike."""
    alike = sorted(rows, key=lambda row: row.context)
    return [[row for row, _ in packed_row.rows] for packed_row in pack(alike, most, past)]


class Target(NamedTuple):
    """Where in a batch's output the prediction of one choice is: tokens[i] is predicted at (row, positions[i])."""

    item: int
    choice: int
    row: int
    positions: list[int]
    tokens: list[int]


def targets_of(packed_rows: Sequence[PackedRow]) -> list[Target]:
    return [
        Target(row.item, c, r, nodes[c], tokens)
        for r, packed_row in enumerate(packed_rows)
        for row, nodes in packed_row.rows
        for c, tokens in enumerate(row.choices)
    ]


def shared_batch(packed_rows: Sequence[PackedRow], pad: int, dtype: torch.dtype, past: int) -> dict[str, Tensor]:
    """Ids, positions and a (rows, 1, length, past + length) mask in which each token sees what comes before it only."""
    length = max(len(packed_row.tree) for packed_row in packed_rows)
    ids, positions = (
        torch.full((len(packed_rows), length), pad),
        torch.zeros(len(packed_rows), length, dtype=torch.long),
    )
    sees = torch.ones(len(packed_rows), 1, length, past + length, dtype=torch.bool)
    for r, (tree, _) in enumerate(packed_rows):
        ids[r, : len(tree)], positions[r, : len(tree)] = torch.tensor(tree.tokens), torch.tensor(tree.depths) + past
        sees[r, 0, :, past:] = tree.sees(length)
    mask = torch.zeros(sees.shape, dtype=dtype).masked_fill_(~sees, torch.finfo(dtype).min)
    return {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
