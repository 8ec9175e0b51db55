"""The take-home kit: every figure of a merge and the numbers behind each, one file name a thing.

split-map.html  split-map.svg  split-profile.html  gates.csv  asymmetry-map.html  depth.csv  readings.csv  conflicts.csv  ...
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tada_studio import figures, report
from tada_studio.errors import ExportError
from tada_studio.exporting.portable import VLLM_RANKS
from tada_studio.figures import Figure
from tada_studio.figures.images import FONT, IMAGES, WIDTH, check_width, save_images, save_page
from tada_studio.pipeline.merge import Merge
from tada_studio.session import Run

#: Stands where no picture could be drawn, after the reason.
_PAGES_DO = "The .html pages hold the same figures; each saves its own as PNG or SVG in any browser."
#: Digits of a recipe's digest in captions, as on the screen.
DIGITS = 8


class Kit(NamedTuple):
    """What was written; lacks: why there are no pictures among it and what does instead, "" if there are"""

    files: list[Path]
    lacks: str


def about(view: Merge, names: tuple[str, str] | None = None) -> str:
    """What every caption ends with: of which pair, and which recipe."""
    task, domain = names or (view.pair.task.label, view.pair.domain.label)
    return f"Of {task} (task) and {domain} (domain), recipe {view.digest[:DIGITS]} ({view.recipe.method})."


def figures_of(view: Merge, runs: Sequence[Run] = ()) -> dict[str, Figure]:
    """File name -> figure, of all that has something to draw."""
    found = {
        **figures.maps_of(view),
        "rank": figures.energy_against_rank(view.ranks, view.merged.rank, VLLM_RANKS),
        "norms": figures.norms_by_layer(view.norms),
    }
    drops = view.merged.how.drops
    if drops is not None:
        for role, lost in zip(("task", "domain"), drops.lost_by_cell.unbind(1), strict=True):
            for tower, part in view.gates.by_tower.items():
                whose = f"{tower} of the {role}".strip()
                of_tower = view.gates.cut(tower, view.on_map(lost))
                found[figures.file_name(f"conflict-{role}", tower)] = figures.lost_picture(part, of_tower, whose)
    if view.probed:
        found["stability"] = figures.stability_curve(view.stability)
        found["bands"] = figures.cell_bands(view.stability, view.gates)
    latest = _latest(view, runs)
    if latest is not None:
        found["scores"] = figures.score_bars(latest.sides, f"run {latest.number}")
    return {name: figure for name, figure in found.items() if figure.plot is not None}


def tables_of(view: Merge, runs: Sequence[Run] = ()) -> dict[str, str]:
    """File name -> CSV, of the same numbers."""
    latest = _latest(view, runs)
    return {
        "gates": _csv(_GATES, _gates(view)),
        "weights": _csv((*_MODULE, "task weight", "domain weight"), _weights(view)),
        "conflicts": _csv((*_MODULE, "task energy dropped", "domain energy dropped"), _conflicts(view)),
        "depth": _csv(("tower", "layer", "share", "low", "high"), _depth(view)),
        **({"readings": _csv((*_MODULE, "input", "task response", "domain response"), _readings(view))}
           if view.probed else {}),
        **({"scores": report.runs_csv([latest])} if latest is not None else {}),
    }  # fmt: skip


def write_kit(
    folder: str | Path,
    view: Merge,
    runs: Sequence[Run] = (),
    names: tuple[str, str] | None = None,
    width: int = WIDTH,
    font: str = FONT,
) -> Kit:
    """All of it into a folder: a page of each figure, images where kaleido draws them, and the tables. Raises ExportError."""
    check_width(width)
    home, says = Path(folder), about(view, names)
    try:
        home.mkdir(parents=True, exist_ok=True)
        written = [*_pages(home, figures_of(view, runs), says), *_tables(home, tables_of(view, runs))]
    except OSError as error:
        raise ExportError(f"{home}: cannot be written ({error.strerror or error}). Give another folder.") from error
    drawn = figures_of(view, runs).items()
    pictures = {home / f"{name}.{kind}": figure for name, figure in drawn for kind in IMAGES}
    try:
        save_images(pictures, says, width, font)
    except ExportError as error:  # no kaleido, or no browser for it
        why = str(error).partition(": ")[2]  # not which of them
        return Kit(sorted(written), f"Without PNG, SVG and PDF: {why} {_PAGES_DO}")
    return Kit(sorted([*written, *pictures]), "")


def _pages(home: Path, drawn: dict[str, Figure], says: str) -> Iterator[Path]:
    for name, figure in drawn.items():
        save_page(figure, home / f"{name}.html", says)
        yield home / f"{name}.html"


def _tables(home: Path, tables: dict[str, str]) -> Iterator[Path]:
    for name, text in tables.items():
        (home / f"{name}.csv").write_text(text, encoding="utf-8")
        yield home / f"{name}.csv"


def _latest(view: Merge, runs: Sequence[Run]) -> Run | None:
    """The last evaluation of this very merge: another one's would stand under its name."""
    return next((run for run in reversed(runs) if run.sides and run.digest == view.digest), None)


# -- rows ------------------------------------------------------------------------------------------------------------


#: What tells a module in a table.
_MODULE = ("module", "tower", "layer", "projection")
_GATES = ("tower", "layer", "projection", "share", "computed", "task strength", "domain strength", "edited", "locked")


def _csv(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(["" if value is None or value != value else value for value in row] for row in rows)
    return out.getvalue()


def _gates(view: Merge) -> Iterator[Sequence[Any]]:
    gates = view.gates
    for i, layer in enumerate(gates.layers):
        for j, projection in enumerate(gates.projections):
            if bool(gates.there[i, j]):
                task, domain = gates.strength[:, i, j].tolist()
                marks = bool(gates.edited[i, j]), bool(gates.locked[i, j])
                yield (
                    gates.towers[i],
                    layer,
                    projection,
                    float(gates.values[i, j]),
                    float(gates.computed[i, j]),
                    task,
                    domain,
                    *marks,
                )


def _places(view: Merge) -> list[tuple[str, str, int, str]]:
    """Every module with its tower, layer and projection, in the order of the pair."""
    return [(name, place.tower, place.layer, place.projection) for name, place in view.pair.addresses.items()]


def _weights(view: Merge) -> Iterator[Sequence[Any]]:
    """What each adapter's update was multiplied with."""
    for place, (task, domain) in zip(_places(view), view.how.weights.tolist(), strict=True):
        yield *place, task, domain


def _conflicts(view: Merge) -> Iterator[Sequence[Any]]:
    """The share of its own energy that each adapter loses because directions oppose each other."""
    for place, (task, domain) in zip(_places(view), view.dropped_energy.tolist(), strict=True):
        yield *place, task, domain


def _depth(view: Merge) -> Iterator[Sequence[Any]]:
    for tower, found in view.depths.items():
        layers = view.asymmetry.by_tower[tower].layers
        for row in zip(layers, found.share.tolist(), found.low.tolist(), found.high.tolist(), strict=True):
            yield tower, *row


def _readings(view: Merge) -> Iterator[Sequence[Any]]:
    found = view.readings_or_even
    for place, task, domain in zip(_places(view), found.task.tolist(), found.domain.tolist(), strict=True):
        for number, (first, second) in enumerate(zip(task, domain, strict=True)):
            yield *place, number, first, second
