"""Many adapters of one base at a glance: a map of every two, what they are to each other, and any pair a click away."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
from markupsafe import Markup

from tada_studio import figures, report
from tada_studio.app.paths import AllowedPaths
from tada_studio.app.state import TabState
from tada_studio.app.widgets import html
from tada_studio.app.widgets.action_list import action_list, button, rows
from tada_studio.app.widgets.panel import Named, words
from tada_studio.app.widgets.plot_panel import drawing, plot_panel
from tada_studio.app.widgets.task import Job, LongTask, bar, stop_button
from tada_studio.errors import InputError
from tada_studio.markup import joined, template
from tada_studio.pipeline import Rack
from tada_studio.pipeline.rack import folders_in

#: What the map can show, as the figures call it, and which relation that is.
KINDS = {"cosine": "cosine", "overlap": "inside", "conflict": "conflict"}
NOTHING = "Name two adapters or more of one base and compare them: every two become a cell."
_CLICK = "A click on a cell opens the row as task and the column as domain; on the diagonal, one adapter alone."
_PICKLED = "I trust where every adapter_model.bin among them comes from"
_PICKLED_INFO = "Without this tick those are left out; with it they are read as numbers only, and no code in them runs."
#: Pairs that are listed by name; the map holds the others.
_LISTED = 40
#: Where a visitor's zip was unpacked to, which is nobody's business.
_UNPACKED = re.compile(r"\S*/unpacked-[^/\s]*/(?:[0-9a-f]{16}/)?")
_PAIR = template("<li><span>{{ says }}</span><span>{{ opens }}</span></li>")
_LIST = template('<div class="saved rack-pairs"><b>{{ title }}</b><ul>{{ lines }}</ul></div>')


class Box(NamedTuple):
    """What the Open tab wires: ``task`` begins with ``inputs`` and shows its answers at ``at``; ``kind`` switches the map; a click
    on the map or a press in the list opens a pair.

    pickled: a person's word that every adapter_model.bin among them may be read
    """

    refs: gr.Textbox
    zips: gr.File
    pickled: gr.Checkbox
    kind: gr.Radio
    map: gr.HTML
    pairs: gr.HTML
    sizes: gr.HTML
    task: LongTask

    @property
    def inputs(self) -> list[Any]:
        """In the order of ``comparing``."""
        return [self.refs, self.zips, self.kind, self.pickled]

    @property
    def at(self) -> dict[str, Any]:
        return {"rack map": self.map, "rack pairs": self.pairs, "rack sizes": self.sizes}


# -- what is shown ---------------------------------------------------------------------------------------------------


def show(state: TabState, kind: str) -> Named:
    """Map, related pairs and sizes of the rack that was last compared."""
    found = state.rack
    if found is None:
        return {"rack map": None, "rack pairs": rows(""), "rack sizes": Markup()}
    return {"rack map": drawn(found, kind), "rack pairs": rows(_pairs(found)), "rack sizes": _sizes(found)}


def drawn(found: Rack, kind: str) -> str | None:
    """One of the three maps."""
    kind = kind if kind in KINDS else "cosine"
    return drawing(
        figures.rack_map(kind, list(found.adapters), getattr(found.relations, KINDS[kind]), dict(found.roles))
    )


def _pairs(found: Rack) -> Markup:
    """Those who are more to each other than independent, each with a button that opens the pair."""
    names = list(found.adapters)
    lines = report.related_pairs(names, found.relations, found.roles)
    items = [
        _PAIR(says=says, opens=button("Open", "pair", f"{i},{j}", f"Open {names[i]} and {names[j]}"))
        for i, j, says in lines[:_LISTED]
    ]
    title = report.rack_verdict(len(names), len(found.left_out), len(lines))
    rest = [_PAIR(says=f"and {len(lines) - _LISTED} more, on the map", opens="")] if len(lines) > _LISTED else []
    return _LIST(title=title, lines=joined([*items, *rest]))


def _sizes(found: Rack) -> Markup:
    """A line for each adapter, and for each that was left out, with the reason."""
    listed = [[name, str(one.rank), str(one.modules), f"{one.norm:.3g}"] for name, one in found.adapters.items()]
    left_out = [f"{Path(ref).name}: {_without_places(reason, ref)}" for ref, reason in found.left_out.items()]
    table = html.table(["adapter", "rank", "modules", "norm"], listed)
    return joined([table, html.note("Left out:", "bad", left_out) if left_out else Markup()])


def _without_places(text: str, *refs: str) -> str:
    """A message that calls uploads by their own names."""
    for ref in refs:
        text = text.replace(ref, Path(ref).name)
    return _UNPACKED.sub("", text)


# -- handlers --------------------------------------------------------------------------------------------------------


def named(paths: AllowedPaths, text: str | None, zips: Sequence[str] | None) -> list[str]:
    """The adapters that a person named, a line each, and uploaded. A folder that holds several stands for all of them, as far as
    they lie where this person may look. Raises InputError, AdapterError.
    """
    lines = [line.strip() for line in (text or "").splitlines() if line.strip()]
    typed = [paths.checked(line, "Rack") for line in lines]
    found = folders_in(typed) if typed else []
    return [*(ref if ref in typed else paths.checked(ref, "Rack") for ref in found), *(zips or ())]


def comparing(
    paths: AllowedPaths,
    state: TabState,
    text: str | None,
    zips: Sequence[str] | None,
    kind: str | None,
    allow_pickle: bool = False,
) -> Job:
    """Compare them all with each other. allow_pickle: an adapter_model.bin may be read, which no stranger may say"""
    session, refs = state.session, named(paths, text, zips)
    if len(refs) < 2:
        raise InputError("A rack needs two adapters or more. Name folders or Hub ids, one a line, or upload zips.")
    session.visitor.limits.check_rack(len(refs))

    def work(progress: Any) -> None:
        try:
            state.rack = session.rack(refs, progress, allow_pickle and not paths.hosted)
        except InputError as error:
            raise InputError(_without_places(str(error), *refs)) from error

    return Job(
        work=work,
        show=lambda: show(state, kind or "cosine"),
        done=lambda _: f"Compared {len(state.rack.adapters) if state.rack else 0} adapters.",
    )


def on_kind(state: TabState, kind: str | None) -> Named:
    """Another of the three maps."""
    return {} if state.rack is None else {"rack map": drawn(state.rack, kind or "cosine")}


def opening(state: TabState, row: Any, column: Any) -> tuple[str, str, str | None]:
    """(task, domain, base) of a cell: the base that is open stays, if the rack's layers are its. "" for one alone.

    Raises InputError.
    """
    found = state.rack
    if found is None:
        raise InputError("There is no rack yet. Compare some adapters first.")
    names = list(found.adapters)
    if not all(isinstance(i, int) and 0 <= i < len(names) for i in (row, column)):
        raise InputError("Choose a cell of the map.")
    task, domain = names[row], names[column]
    if task != domain and not found.fits.get((task, domain), found.fits.get((domain, task), True)):
        raise InputError(f"{task} and {domain} cannot be merged. Their passports say why: open them by hand above.")
    pair = state.session.pair
    base = state.session.base_ref if pair is not None and found.is_of_base(pair) else None
    return found.adapters[task].ref, "" if task == domain else found.adapters[domain].ref, base


def cell_of(news: Any) -> tuple[Any, Any]:
    """(row, column) of a click on the map or of a press in the list; (None, None) for anything else."""
    data = getattr(news, "data", None)
    if isinstance(data, list) and len(data) >= 2:
        return data[0], data[1]
    parts = str(getattr(news, "key", "")).split(",")
    return (int(parts[0]), int(parts[1])) if len(parts) == 2 and all(map(str.isdecimal, parts)) else (None, None)


# -- layout ----------------------------------------------------------------------------------------------------------


def rack_box(paths: AllowedPaths) -> Box:
    """Builds the section; the Open tab wires it, since opening a pair changes everything."""
    with gr.Accordion("Rack: compare many adapters of one base", open=False, elem_id="rack"):
        may = "Hub ids" if paths.hosted else "folders or Hub ids"
        with gr.Row():
            refs = gr.Textbox(
                label=f"Adapters: {may}, one a line",
                info="" if paths.hosted else "a folder that holds several stands for all of them",
                lines=4, max_lines=12, elem_id="rack-refs", scale=2, min_width=300,
            )  # fmt: skip
            zips = gr.File(
                label="Or zips, one an adapter", file_count="multiple", file_types=[".zip"], height=130, elem_id="rack-zips",
                min_width=240,
            )  # fmt: skip
        with gr.Row():
            go = gr.Button("Compare", variant="primary", elem_id="rack-compare", elem_classes="act", min_width=110)
            stop = stop_button("rack-stop")
            pickled = gr.Checkbox(
                label=_PICKLED,
                info=_PICKLED_INFO,
                value=False,
                visible=not paths.hosted,
                elem_id="rack-pickled",
                min_width=300,
            )
        shown = bar(NOTHING, "rack-bar")
        kind = gr.Radio([*KINDS], value="cosine", label="Map of", elem_id="rack-kind")
        with gr.Row():
            with gr.Column(scale=3, min_width=320):
                drawn_at = plot_panel(figures.RACK["cosine"], NOTHING, "rack-map", _CLICK)
            with gr.Column(scale=2, min_width=300):
                pairs = action_list("rack-pairs")
                sizes = words(elem_id="rack-sizes")
    return Box(refs, zips, pickled, kind, drawn_at, pairs, sizes, LongTask({"compare": go}, stop, shown))
