"""Open a pair and probe its base."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from markupsafe import Markup

from tada_studio import report
from tada_studio.app import truth_line
from tada_studio.app.paths import AllowedPaths
from tada_studio.app.state import TabState
from tada_studio.app.tabs.open import own_box, passports, probe_box, rack_box, readings_box, role_box, sample_cards
from tada_studio.app.widgets import html
from tada_studio.app.widgets.panel import EDIT, ONCE, READ, Named, Panel, listen, words
from tada_studio.errors import TadaError
from tada_studio.session.limits import OWN, Limits

# -- what is shown ---------------------------------------------------------------------------------------------------


def verdict(state: TabState) -> Markup:
    """Whether the two adapters fit, and what to do next."""
    session = state.session
    if session.pair is None:
        nothing = "Nothing is open yet. Choose a sample, or name two adapters of your own."
        return html.note(f"{state.message} {nothing}", "bad") if state.message else html.note(nothing, "next")
    who = list(dict.fromkeys(filter(None, truth_line.names(session))))
    return html.note(
        f"{' and '.join(who)} {'are' if len(who) > 1 else 'is'} open. {report.pair_verdict(session.pair)}", "good"
    )


def show(state: TabState) -> Named:
    """The samples' cards, verdict, roles, passports, the probe."""
    fits = {"verdict": verdict(state), **role_box.show(state), **passports.show(state)}
    return {**sample_cards.show(state), **fits, **probe_box.show(state)}


# -- handlers --------------------------------------------------------------------------------------------------------


def on_sample(name: str, state: TabState) -> Named:
    """Open an embedded sample."""
    state.session.open_sample(name)
    state.acted(f"Opened the sample “{name}”.")
    return show(state)


def on_own(paths: AllowedPaths, state: TabState, *fields: Any) -> Iterator[Named]:
    """Open a pair of one's own. What is wrong is said beside its fields, where it stays, and not by a toast over the former pair's
    verdict.
    """
    yield {"error": ""}
    try:
        ticks = yield from own_box.opening(paths, state, *fields)
    except TadaError as error:
        yield {"bar": probe_box.probe_bar(state), "error": html.note(str(error), "bad")}
        error.in_place = True
        raise
    yield {**show(state), **ticks}


def on_rack(paths: AllowedPaths, state: TabState, base: str | None, row: Any, column: Any) -> Named:
    """Open a pair of the rack; a base of the same layers stays, else the one that is named for a pair of one's own is taken."""
    task, domain, kept = rack_box.opening(state, row, column)
    named = paths.checked(base, "Base model") if kept is None and base and base.strip() else None
    state.session.open(task, domain, kept or named)
    who = " and ".join(Path(ref).name for ref in (task, domain) if ref)
    state.acted(f"Opened {who} from the rack{'; the base stays' if kept else ''}.")
    return show(state)


def on_readings(state: TabState, files: Sequence[str] | None) -> Named:
    """Use uploaded readings; the bar says so."""
    readings_box.take(state, files)
    return {"bar": probe_box.probe_bar(state)}


# -- layout and wiring -----------------------------------------------------------------------------------------------


def open_tab(state: gr.State, paths: AllowedPaths, limits: Limits = OWN) -> Panel:
    """Builds and wires the tab. Where strangers come it says what each may use: on a phone the sidebar is folded."""
    cards, opens = sample_cards.sample_cards()
    if allowed := limits.in_words():
        words(html.note("This is a public server. For each visitor:", points=allowed), elem_id="open-limits")
    own = own_box.own_box(paths)
    rack = rack_box.rack_box(paths)
    at: dict[str, Any] = {**cards, "verdict": words(verdict(TabState())), "roles": role_box.role_box()}
    at["passports"] = words(elem_id="passports")
    probe = probe_box.probe_box(state, limits.probe_inputs or 256)
    at |= probe.at
    changes = [listen(button.click, partial(on_sample, name), [state], at, **EDIT) for name, button in opens.items()]
    changes.append(listen(own.button.click, partial(on_own, paths), [state, *own.fields], {**at, **own.at}, **ONCE))
    changes += [_wire_roles(state, at), *_wire_rack(state, paths, rack, own.base, at)]
    return Panel(at, show, (*changes, *probe.changes, _wire_readings(state, probe)))


def _wire_roles(state: gr.State, at: dict[str, Any]) -> Any:
    """A button of the box is another role, or the recipe of one."""

    def on_role(state: TabState, news: gr.EventData) -> Named:  # gradio looks for its event in the annotations
        role_box.press(state, getattr(news, "what", None), getattr(news, "key", None))
        return role_box.show(state)

    return listen(at["roles"].press, on_role, [state], at, **EDIT)


def _wire_rack(
    state: gr.State, paths: AllowedPaths, rack: rack_box.Box, base: gr.Textbox, at: dict[str, Any]
) -> list[Any]:
    """The rack's own handlers; gives the events after which another pair is open."""
    rack.task.begins(state, "compare", partial(rack_box.comparing, paths), rack.inputs, rack.at)
    rack.task.can_stop(state)
    listen(rack.kind.change, rack_box.on_kind, [state, rack.kind], rack.at, **READ)

    def on_cell(state: TabState, base: str | None, news: gr.EventData) -> Named:
        return on_rack(paths, state, base, *rack_box.cell_of(news))

    opens = rack.map.point_click, rack.pairs.press
    return [listen(event, on_cell, [state, base], at, **ONCE) for event in opens]


def _wire_readings(state: gr.State, probe: Panel) -> Any:
    box = readings_box.readings_box()
    listen(box.save.click, readings_box.on_save, [state], {"saved": box.saved}, **READ)
    return listen(box.given.upload, on_readings, [state, box.given], {"bar": probe.at["bar"]}, **EDIT)
