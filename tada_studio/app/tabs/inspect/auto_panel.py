"""Auto: how strongly to separate, chosen by base and inputs alone, without a label; every candidate with what it was judged by."""

from typing import Any

import gradio as gr

from tada_studio import report
from tada_studio.app.state import TabState
from tada_studio.app.widgets import html
from tada_studio.app.widgets.panel import Named, Panel, words
from tada_studio.app.widgets.task import Job, LongTask, bar, stop_button

NOTHING = (
    "Auto tries a few strengths of separation, from the plain sum to strong, and keeps the one whose merge answers held-out "
    "inputs most like the parents do: the domain adapter on domain inputs, the task adapter on task inputs. It reads no answer key."
)
LACKS = {
    "base": "Auto needs the base model. Name one on the Open tab.",
    "inputs": "Auto needs domain inputs and task inputs, about 32 of each. Probe with both on the Open tab.",
}


def show(state: TabState) -> Named:
    """What auto chose, with all candidates; or what it would do, or lacks."""
    session = state.session
    if session.calibration is None:
        lacks = "" if session.pair is None else session.auto_lacks
        return {"message": html.note(LACKS.get(lacks, NOTHING), "next"), "table": ""}
    found = session.calibration
    outcome, points = found.to_dict(), []
    if found.recipe != session.recipe:
        points.append(
            "The recipe has changed since. Undo leads back to it; run auto again to start from what stands here."
        )
    headers, rows = report.calibration_table(outcome)
    about = html.note(report.calibration_sentence(outcome), "" if points else "good", points=points)
    return {"message": about, "table": html.table(headers, rows, caption="Candidates, the gentlest first")}


def choosing(state: TabState) -> Job:
    """Let auto choose, from the inputs that the pair was probed with."""

    def work(progress: Any) -> None:
        chosen = state.session.calibrate(progress=progress)
        state.acted(f"{report.calibration_sentence(chosen.to_dict())} Undo: Ctrl+Z.")

    return Job(work=work, show=lambda: show(state), done=lambda _: "Auto has chosen; the recipe is turned.")


def auto_panel(state: gr.State) -> Panel:
    """Builds and wires the section."""
    with gr.Row(equal_height=True):
        with gr.Column(scale=3, min_width=320):
            message = words(html.note(NOTHING, "next"), elem_id="auto-message")
        go = gr.Button("Run auto", variant="primary", elem_id="auto", elem_classes="act", min_width=110)
        stop = stop_button("auto-stop")
    task = LongTask({"auto": go}, stop, bar("", "auto-bar"))
    table = words(elem_id="auto-table")
    at = {"message": message, "table": table}
    done = task.begins(state, "auto", choosing, [], at)
    task.can_stop(state)
    return Panel(at, show, (done,))
