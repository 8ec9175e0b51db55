"""Open a pair and probe its base."""

import zipfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
from markupsafe import Markup

from tada_studio import report
from tada_studio.app.paths import AllowedPaths
from tada_studio.app.state import TabState
from tada_studio.app.tabs.open import rack_box, readings_box, role_box, sample_cards
from tada_studio.app.widgets import html
from tada_studio.app.widgets.estimate import Pace, estimated
from tada_studio.app.widgets.panel import EDIT, ONCE, READ, Named, Panel, listen, listen_early, words
from tada_studio.app.widgets.task import Job, LongTask, steps, stop_button, uploaded
from tada_studio.base_model.images import SUFFIXES
from tada_studio.base_model.inputs import Input, read_inputs
from tada_studio.errors import BaseError, InputError, OtherBaseError, PickledError, TadaError
from tada_studio.lora import Passport
from tada_studio.markup import template
from tada_studio.probing import Readings as SavedReadings
from tada_studio.progress import Progress, ProgressFn
from tada_studio.session.limits import OWN, Limits

SOURCES = [("The sample's inputs", "sample"), ("Pasted text", "pasted"), ("A file", "file")]
_PASSPORTS = template("""
<div class="table-scroll"><table class="plain-table passports"><caption>{{ caption }}</caption>
<thead><tr><th scope="col">{% if same %}what differs{% endif %}</th>{% for label in labels %}
<th scope="col">{{ label }}</th>{% endfor %}</tr></thead><tbody>{% for row in rows %}
<tr><th scope="row">{{ row[0] }}</th>{% for cell in row[1:] %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}</tbody></table></div>
{% for name, text in notes %}<div class="caption">{{ name }}: {{ text }}</div>{% endfor %}
{% if same %}<details><summary>{{ same | length }} more facts are the same for both</summary><div class="table-scroll">
<table class="plain-table"><tbody>{% for row in same %}<tr><th scope="row">{{ row[0] }}</th><td>{{ row[1] }}</td></tr>{% endfor %}
</tbody></table></div></details>{% endif %}
""")
_BASE_IS_FOR = (
    "The base is needed to probe and to evaluate, and to read DoRA. Without one the weights alone can be inspected, merged "
    "and exported."
)
SAME_BASE = "I know that both were trained on the same base"
_SAME_BASE_INFO = "Open again with this tick; recipe.json and the model card keep that you said so."
PICKLED = "I trust where adapter_model.bin comes from"
_PICKLED_INFO = "Open again with this tick: it is read as numbers only, and no code in it runs."
WEIGHTS_ONLY = (
    "Until there are readings every computed gate is even; painting, merging and exporting work all the same."
)


# -- what is shown ---------------------------------------------------------------------------------------------------


def verdict(state: TabState) -> Markup:
    """Whether the two adapters fit, and what to do next."""
    session = state.session
    if session.pair is None:
        nothing = "Nothing is open yet. Choose a sample, or name two adapters of your own."
        return html.note(f"{state.message} {nothing}", "bad") if state.message else html.note(nothing, "next")
    return html.note(report.pair_verdict(session.pair), "good")


def passports(state: TabState) -> Named:
    """Both adapters side by side: what differs is in sight, what is equal is folded."""
    pair = state.session.pair
    found = [one for one in pair.passports if one is not None] if pair else []
    return {"passports": _passports(found) if found else Markup()}


def _passports(found: Sequence[Passport]) -> Markup:
    """One table for all of them, their notes last."""
    by_adapter = [dict(report.passport_rows(one)) for one in found]
    names = dict.fromkeys(name for rows in by_adapter for name in rows if name != "note")
    rows = [(name, *(of.get(name, "") for of in by_adapter)) for name in names]
    other, same = [row for row in rows if len(set(row[1:])) > 1], [row for row in rows if len(set(row[1:])) == 1]
    notes = [(f"note on {one.label}", text) for one in found for text in one.remarks]
    return html.box(_PASSPORTS(
        caption=" and ".join(f"{role} adapter: {one.label}" for role, one in zip(("Task", "Domain"), found, strict=False)),
        labels=[one.label for one in found], same=same if len(found) > 1 else [], notes=notes,
        rows=other if len(found) > 1 else rows,
    ))  # fmt: skip


def probe_state(state: TabState) -> Markup:
    """Where the readings come from, if there are any."""
    session = state.session
    if session.pair is None:
        return html.progress_bar(None, "Open a pair first.")
    if session.readings is None:
        return html.progress_bar(None, f"Not probed. {WEIGHTS_ONLY}")
    return html.finished_bar(probed_words(state))


def probed_words(state: TabState) -> str:
    readings = state.session.readings
    if readings is None:
        return "Not probed."
    of_task = f" of the domain and {len(readings.on_task.tokens)} of the task" if readings.on_task is not None else ""
    fit = "" if not isinstance(readings, SavedReadings) else f" {report.inputs_sentence(readings)}"
    return f"Probed with {len(readings.tokens)} inputs{of_task}.{fit} Look at the map on the Inspect tab."


def show(state: TabState) -> Named:
    """The samples' cards, verdict, passports, probe state, where inputs come from."""
    fits = {"verdict": verdict(state), **role_box.show(state), **passports(state)}
    about = estimate(state, *state.planned.get("probe", (32, True)))
    return {**sample_cards.show(state), **fits, "bar": probe_state(state), **sources(state), **about}


# -- handlers --------------------------------------------------------------------------------------------------------


def on_sample(name: str, state: TabState) -> Named:
    """Open an embedded sample."""
    state.session.open_sample(name)
    state.acted(f"Opened the sample “{name}”.")
    return show(state)


def on_own(
    paths: AllowedPaths,
    state: TabState,
    task: str | None,
    domain: str | None,
    base: str | None,
    task_zip: Sequence[str] | None = None,
    domain_zip: Sequence[str] | None = None,
    dora_rank: int | None = None,
    same_base: bool = False,
    allow_pickle: bool = False,
) -> Iterator[Named]:
    """Open two adapters by folder or Hub id, or the zips that were uploaded for them; an empty base means weights only.
    ``dora_rank``: of the LoRA that stands in for DoRA, None for the adapter's own.
    ``same_base``: the person vouches that both were trained on one base; ``allow_pickle``: that an adapter_model.bin may be read,
    which no stranger may say.

    Only DoRA takes long, whose base is read too; yields updates for ``show``.
    """
    base_ref = paths.checked(base, "Base model") if base and base.strip() else None
    first = dropped(task_zip, "task") or paths.checked(task, "Task adapter")
    second = dropped(domain_zip, "domain") or paths.checked(domain, "Domain adapter")

    how = dora_rank, same_base, allow_pickle and not paths.hosted

    def work(progress: ProgressFn) -> None:
        session = state.session
        uploaded(
            first,
            lambda task: uploaded(second, lambda domain: session.open(task, domain, base_ref, progress, *how)),
        )

    try:
        for step in steps(work):
            if isinstance(step, Progress):
                yield {"bar": html.progress_bar(step)}
    except TadaError as error:
        yield {"bar": probe_state(state), **_ticks(paths, error)}
        raise
    state.acted("Opened your own pair.")
    yield {**show(state), "vouch": gr.update(visible=same_base), "pickled": gr.update(visible=how[-1])}


def _ticks(paths: AllowedPaths, error: TadaError) -> Named:
    """What a person could say that would let the pair open."""
    if isinstance(error, OtherBaseError):
        return {"vouch": gr.update(visible=True)}
    return {"pickled": gr.update(visible=True)} if isinstance(error, PickledError) and not paths.hosted else {}


def opening(paths: AllowedPaths, state: TabState, *fields: Any) -> Iterator[Named]:
    """``on_own`` with what is wrong said beside its fields, where it stays: a toast fades over the former pair's verdict."""
    yield {"error": ""}
    try:
        yield from on_own(paths, state, *fields)
    except TadaError as error:
        yield {"error": html.note(str(error), "bad")}
        raise


def dropped(files: Sequence[str] | None, role: str) -> str | None:
    """One zip of what was dropped: itself, or the files of an adapter's folder packed beside the first of them, where uploads lie.
    Raises InputError for anything else."""
    paths = [Path(file) for file in files or ()]
    if not paths:
        return None
    if len(paths) == 1 and paths[0].suffix.lower() == ".zip":
        return str(paths[0])
    names = [path.name for path in paths]
    if "adapter_config.json" not in names or len(set(names)) < len(names):
        raise InputError(
            f"{role.capitalize()} adapter: {', '.join(names)[:120]} is no adapter. Drop one zip, or all files of one folder: "
            "adapter_config.json and adapter_model.safetensors."
        )
    target = paths[0].parent / f"{role}-files.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for path in paths:
            archive.write(path, path.name)
    return str(target)


def on_rack(paths: AllowedPaths, state: TabState, base: str | None, row: Any, column: Any) -> Named:
    """Open a pair of the rack; a base of the same layers stays, else the one that is named for a pair of one's own is taken."""
    task, domain, kept = rack_box.opening(state, row, column)
    named = paths.checked(base, "Base model") if kept is None and base and base.strip() else None
    state.session.open(task, domain, kept or named)
    who = " and ".join(Path(ref).name for ref in (task, domain) if ref)
    state.acted(f"Opened {who} from the rack{'; the base stays' if kept else ''}.")
    return show(state)


def probing(
    state: TabState,
    source: str,
    pasted: str | None,
    files: Sequence[str] | None,
    pasted_task: str | None,
    task_files: Sequence[str] | None,
    n: int | float,
    auto: bool,
) -> Job:
    """Run the probe inputs through the base; with inputs of both kinds, and unless that is switched off, let auto choose too."""
    session, inputs = state.session, _inputs(state, source, pasted, files)
    on_task = None if inputs is None else _inputs(state, source, pasted_task, task_files, needed=False)
    ships = inputs is None and session.sample is not None and session.sample.task_probe is not None

    def work(progress: ProgressFn) -> None:
        if auto and (on_task or ships):
            chosen = session.calibrate(inputs, on_task, int(n), progress)
            state.acted(f"Probed. {report.calibration_sentence(chosen.to_dict())} Undo: Ctrl+Z.")
            return
        session.probe(inputs, int(n), progress, on_task or None)
        state.acted("Probed. The map now follows the readings.")

    return Job(
        work=work,
        done=lambda _: probed_words(state),
        pace=Pace("auto", "calibrate", int(n), by_note=False)
        if auto and (on_task or ships)
        else Pace("probe", "probe", int(n), by_note=False),
        failed=lambda error: f"{error} {WEIGHTS_ONLY}" if isinstance(error, BaseError) else str(error),
    )


def estimate(state: TabState, n: int | float, auto: bool) -> Named:
    """About how long the probe would take; auto's candidates take their own time."""
    state.planned["probe"] = (n, auto)
    what = f"{int(n or 0)} inputs of a kind"
    kind, units = ("auto", int(n or 0)) if auto else ("probe", _passes(state, n))
    return {"estimate": html.caption(estimated(state.session, kind, units, f"{what} and auto" if auto else what))}


def _passes(state: TabState, n: int | float) -> int:
    """Inputs that go through the base: a sample's are of both kinds."""
    sample = state.session.sample
    return int(n or 0) * (2 if sample is not None and sample.task_probe is not None else 1)


def _inputs(
    state: TabState, source: str, pasted: str | None, files: Sequence[str] | None, needed: bool = True
) -> Sequence[Input] | None:
    """None stands for the sample's own inputs."""
    if source == "pasted":
        return [line.strip() for line in (pasted or "").splitlines() if line.strip()]
    if source == "file":
        if not files and not needed:
            return []
        if not files:
            raise InputError(
                "No file was uploaded. Choose a .txt (one input a line), a .jsonl with text or question, images, or a zip of them."
            )
        return [found for file in files for found in uploaded(file, read_inputs)]
    if state.session.sample is None:
        raise InputError("No sample is open. Paste about 32 domain questions, one a line, or upload a file.")
    return None


def on_readings(state: TabState, files: Sequence[str] | None) -> Named:
    """Use uploaded readings; the bar says so."""
    readings_box.take(state, files)
    return {"bar": probe_state(state)}


def sources(state: TabState) -> Named:
    """The places that inputs can come from: a pair of one's own brings none. Shown once a pair, or a choice made meanwhile would
    be lost.
    """
    opened = state.session.opened
    if opened is not None and opened == state.sourced:
        return {}
    state.sourced = opened
    choices = SOURCES if state.session.sample else SOURCES[1:]
    return {"source": gr.update(choices=choices, value=choices[0][1])}


def on_source(source: str) -> Named:
    """Show only the boxes that the source needs: one for each kind of inputs."""
    return {"pasted": gr.update(visible=source == "pasted"), "file": gr.update(visible=source == "file")}


# -- layout and wiring -----------------------------------------------------------------------------------------------


class Own(NamedTuple):
    """The fields for a pair of one's own."""

    task: gr.Textbox
    domain: gr.Textbox
    base: gr.Textbox
    task_zip: gr.File
    domain_zip: gr.File
    dora_rank: gr.Number
    same_base: gr.Checkbox
    pickled: gr.Checkbox
    button: gr.Button
    error: gr.HTML


class Probe(NamedTuple):
    """The probe section, in the order of ``probing``."""

    source: gr.Radio
    pasted: gr.Textbox
    file: gr.File
    pasted_task: gr.Textbox
    task_file: gr.File
    n: gr.Slider
    auto: gr.Checkbox


def open_tab(state: gr.State, paths: AllowedPaths, limits: Limits = OWN) -> Panel:
    """Builds and wires the tab. Where strangers come it says what each may use: on a phone the sidebar is folded."""
    cards, opens = sample_cards.sample_cards()
    if allowed := limits.in_words():
        words(html.note("This is a public server. For each visitor:", points=allowed), elem_id="open-limits")
    own = _own(paths)
    rack = rack_box.rack_box(paths)
    found = words(verdict(TabState()))
    roles = role_box.role_box()
    tables = {"passports": words(elem_id="passports")}
    probe, boxes, task, about = _probe(limits.probe_inputs or 256)
    at = {
        **cards,
        "verdict": found,
        "roles": roles,
        **tables,
        "bar": task.bar,
        "source": probe.source,
        "estimate": about,
        "vouch": own.same_base,
        "pickled": own.pickled,
    }
    changed, last = partial(gr.on, [probe.n.change, probe.auto.change]), {**READ, "trigger_mode": "always_last"}
    listen_early(changed, estimate, [state, probe.n, probe.auto], {"estimate": about}, **last)
    changes = [listen(button.click, partial(on_sample, name), [state], at, **EDIT) for name, button in opens.items()]
    changes.append(
        listen(own.button.click, partial(opening, paths), [state, *own[:8]], {**at, "error": own.error}, **ONCE)
    )
    listen(probe.source.change, on_source, [probe.source], boxes, **READ)

    def on_role(state: TabState, news: gr.EventData) -> Named:  # gradio looks for its event in the annotations
        role_box.press(state, getattr(news, "what", None), getattr(news, "key", None))
        return role_box.show(state)

    changes.append(listen(roles.press, on_role, [state], at, **EDIT))
    changes += _wire_rack(state, paths, rack, own.base, at)
    task.can_stop(state)
    changes += [task.begins(state, "probe", probing, [*probe], {}), _wire_readings(state, task)]
    return Panel(at, show, tuple(changes))


def _wire_rack(
    state: gr.State, paths: AllowedPaths, rack: rack_box.Box, base: gr.Textbox, at: dict[str, Any]
) -> list[Any]:
    """The rack's own handlers; gives the events after which another pair is open."""
    rack.task.begins(state, "compare", partial(rack_box.comparing, paths), [rack.refs, rack.zips, rack.kind], rack.at)
    rack.task.can_stop(state)
    listen(rack.kind.change, rack_box.on_kind, [state, rack.kind], rack.at, **READ)

    def on_cell(state: TabState, base: str | None, news: gr.EventData) -> Named:
        return on_rack(paths, state, base, *rack_box.cell_of(news))

    opens = rack.map.point_click, rack.pairs.press
    return [listen(event, on_cell, [state, base], at, **ONCE) for event in opens]


def _own(paths: AllowedPaths) -> Own:
    where = "Hub id such as owner/name" if paths.hosted else "Folder, or Hub id such as owner/name"
    stays = "" if paths.hosted else " Nothing is sent anywhere."
    words(html.heading("Open your own pair", f"Two PEFT LoRA adapters of one base.{stays}"))
    with gr.Row():
        task = gr.Textbox(label="Task adapter: how to answer", placeholder=where, elem_id="task", min_width=260)
        domain = gr.Textbox(label="Domain adapter: what to know", placeholder=where, elem_id="domain", min_width=260)
        base = gr.Textbox(
            label="Base model (may stay empty)", placeholder=f"{where}, or a .gguf file", elem_id="base", min_width=260,
        )  # fmt: skip
    words(html.caption(_BASE_IS_FOR))
    with (
        gr.Accordion("Or drop zips, or the files of an adapter's folder", open=paths.hosted, elem_id="own-zips"),
        gr.Row(),
    ):
        task_zip, domain_zip = (_zip(role, [] if paths.hosted else [".bin"]) for role in ("Task", "Domain"))
    with gr.Accordion("For DoRA adapters", open=False, elem_id="own-dora"):
        dora_rank = gr.Number(
            label="Rank of the LoRA that stands in for DoRA (empty: the adapter's own)", value=None, precision=0,
            info="what is lost stands in the adapter's passport; a larger rank loses less", minimum=1, maximum=4096,
            elem_id="dora-rank",
        )  # fmt: skip
    same_base = gr.Checkbox(
        label=SAME_BASE, info=_SAME_BASE_INFO, value=False, visible=False, elem_id="same-base",
    )  # fmt: skip
    pickled = gr.Checkbox(label=PICKLED, info=_PICKLED_INFO, value=False, visible=False, elem_id="pickled")
    opens = gr.Button("Open", variant="primary", elem_id="open-own")
    return Own(
        task, domain, base, task_zip, domain_zip, dora_rank, same_base, pickled, opens, words(elem_id="own-error")
    )


def _zip(role: str, more: Sequence[str]) -> gr.File:
    return gr.File(
        label=f"{role} adapter: a zip, or its files", file_types=[".zip", ".safetensors", ".json", *more], file_count="multiple",
        elem_id=f"{role.lower()}-zip", height=110,
    )  # fmt: skip


def _probe(most: int) -> tuple[Probe, dict[str, gr.Row], LongTask, gr.HTML]:
    says = "About 32 domain inputs, and about 32 prompts of the task without answers, go through the base once."
    words(html.heading("Probe", html.explained(f"{says} {report.ABOUT_TASK_INPUTS}")))
    with gr.Row(equal_height=True):
        source = gr.Radio(SOURCES, value="sample", label="Inputs from", elem_id="probe-source", scale=3, min_width=320)
        n = gr.Slider(
            2, most, 32, step=1, label="How many inputs of each kind", elem_id="probe-n", scale=2, min_width=220
        )
        button = gr.Button("Probe", variant="primary", elem_id="probe", elem_classes="act", scale=1, min_width=110)
        stop = stop_button("probe-stop")
    auto = gr.Checkbox(
        True, label="Let auto choose how strongly to separate", container=False, elem_id="probe-auto",
        info="with inputs of both kinds: five candidates, judged without labels. Off: the recipe stays as it is.",
    )  # fmt: skip
    with gr.Row(visible=False) as pasted:
        texts = [
            gr.Textbox(label=f"{kind}, one a line", lines=5, max_lines=12, elem_id=name, min_width=280)
            for kind, name in (("Domain inputs", "probe-text"), ("Task inputs", "probe-task-text"))
        ]
    with gr.Row(visible=False) as file:
        files = [
            gr.File(
                label=f"{kind}: .txt (one a line), .jsonl (text or question), images, or a zip of images",
                file_count="multiple", file_types=[".txt", ".jsonl", ".zip", *SUFFIXES], elem_id=name,
            )
            for kind, name in (("Domain inputs", "probe-file"), ("Task inputs", "probe-task-file"))
        ]  # fmt: skip
    about = words(elem_id="probe-estimate")
    bar = words(probe_state(TabState()), elem_id="probe-bar")
    probe = Probe(source, texts[0], files[0], texts[1], files[1], n, auto)
    return probe, {"pasted": pasted, "file": file}, LongTask({"probe": button}, stop, bar), about


def _wire_readings(state: gr.State, task: LongTask) -> Any:
    box = readings_box.readings_box()
    listen(box.save.click, readings_box.on_save, [state], {"saved": box.saved}, **READ)
    return listen(box.given.upload, on_readings, [state, box.given], {"bar": task.bar}, **EDIT)
