"""Help: gate, conflict, rank and recipe in plain words, beside a live example whose conflicts are known."""

from typing import Any

import gradio as gr

from tada_studio import figures, pipeline, report
from tada_studio.addresses import Address
from tada_studio.app.state import TabState
from tada_studio.app.widgets import html
from tada_studio.app.widgets.panel import DRAG, Named, Panel, listen, words
from tada_studio.app.widgets.plot_panel import drawing, plot_panel
from tada_studio.errors import TadaError
from tada_studio.glossary import GLOSSARY
from tada_studio.markup import joined
from tada_studio.pipeline.merge import Merge
from tada_studio.recipe import Recipe
from tada_studio.sample_pairs import planted

#: Here task 1 and domain 0 cancel each other fully, task 2 and domain 1 half.
CELL = Address(1, "v_proj")
#: What figures of it are called.
EXAMPLE = "the example"
#: Gate, conflict threshold and rank that the example starts with.
START = (0.5, 8.0, 3)

GATE = (
    "Every cell of the map is one projection of one layer, and has one gate: the share that the domain adapter gets there. "
    "0 is the task adapter alone (blue), 1 the domain adapter alone (orange), 0.5 their sum.",
    "From the inputs to the merge, in four steps. Response: how strongly each adapter reacts to the domain inputs there, for its "
    "size. Gate: the ratio of the domain's response to the task's, over the median of that ratio in the row, so that an adapter "
    "that reacts more everywhere has no more say for it. Weights: up to 0.5 the task adapter counts whole and the domain adapter "
    "twice the gate; beyond, the other way round. What comes out: the larger adapter still fills more of the merged update, which "
    "the map shows under In the merge. The card on a cell, and the section Conflict, name that cell's own numbers.",
    "The method gates computes its gates like this. The default, tada, leaves them even until you paint, and separates the two "
    "adapters by both kinds of inputs instead.",
    "Move the gate: the bars of one adapter grow, those of the other shrink.",
)
CONFLICT = (
    "An adapter is a sum of directions, strongest first: the bars. Two directions of the two adapters can point exactly "
    "against each other; added up, they would cancel. A red line joins such a pair.",
    "Of two that oppose each other the weaker one is dropped (hatched), so that the stronger one keeps its strength. The "
    "gate decides which is weaker: move it down to 0.3 and the other ones go.",
    "How opposed is opposed? Random directions meet a little, too. The threshold says how many times beyond chance a pair "
    "must be. Here one pair cancels fully (192 times chance), the other half (96): raise the threshold past them.",
    "Adapters that were trained apart hardly ever conflict. This pair was made for showing it.",
)
RANK = (
    "Both adapters together have up to as many directions as their ranks added. The merge keeps the strongest ones: as "
    "many as its rank. Pale bars are cut off; the line says how much of the energy is kept up to each bar.",
    "More rank keeps more and makes a larger file; some servers accept only certain ranks. On the Inspect tab the section "
    "Rank says what each of them keeps.",
)
RECIPE = (
    "Everything you turn, paint or tick is written down as a recipe: a few knobs and lines of text. The same recipe gives "
    "the same adapter, to the byte, here, in Python and on the command line; it is saved with every export.",
    "So nothing is lost by trying: Ctrl+Z takes back, and an evaluation remembers the recipe that it measured.",
)
WHERE = (
    ("Which layers lean to the domain?", "Inspect: orange cells, and the depth profile under the map."),
    (
        "What is dropped in one cell?",
        "Inspect, with the tool Look: click the cell on the map, or choose it in the section Conflict.",
    ),
    ("How do I take something back?", "Ctrl+Z, or Undo under the map; Ctrl+Y does it again."),
    ("Does any of it help?", "Evaluate: the same questions for base, both parents and your merge, with intervals."),
    ("How do I take it with me?", "Export: the adapter as a folder or zip, and the report as one HTML file."),
)


# -- what is shown ---------------------------------------------------------------------------------------------------


def recipe_of(gate: Any, threshold: Any, rank: Any) -> Recipe:
    """The recipe that the three sliders make. Raises RecipeError."""
    line = f"layer {CELL.layer} : {CELL.projection} : {gate}"
    return Recipe(overrides=(line,), conflict_threshold=threshold, rank=rank)


def example(recipe: Recipe) -> Named:
    """Spectrum, sentence, merged spectrum and recipe of the planted cell. Raises TadaError where the sample is left out."""
    sample = planted()
    pair = pipeline.read_pair(sample.task, sample.domain)
    view = Merge(pair, None, recipe)
    near = view.module_detail(CELL)
    lines = [
        f"conflict_threshold = {recipe.conflict_threshold:g}",
        f"rank = {recipe.rank}",
        *(f"overrides += {line}" for line in recipe.overrides),
    ]
    return {
        "bars": drawing(figures.conflict_spectrum(near, EXAMPLE)),
        "sentence": html.note(report.cell_sentence(view.merged, near)),
        "kept": drawing(figures.merged_spectrum(near, view.merged.rank, EXAMPLE)),
        "recipe": "\n".join(lines),
    }


def on_turn(state: TabState, gate: Any, threshold: Any, rank: Any) -> Named:
    """A hand turns one of the example's sliders; what is open stays as it is."""
    return example(recipe_of(gate, threshold, rank))


# -- layout and wiring -----------------------------------------------------------------------------------------------


def help_tab(state: gr.State) -> Panel:
    """Builds and wires the tab. It shows the same to everybody, so nothing of it waits for a session."""
    words(html.heading("Help", "Four words explain the screen. The example is live: move its three sliders."))
    words(html.box(html.fact_table("Where do I see …", WHERE)))
    words(html.box(html.fact_table("Words", GLOSSARY.items())), elem_id="glossary")
    try:
        first = example(recipe_of(*START))
    except TadaError as error:
        words(html.note(f"The live example is missing: {error}", "bad"))
        words(joined(map(html.prose, ("Gate", "Conflict", "Rank", "Recipe"), (GATE, CONFLICT, RANK, RECIPE))))
        return Panel({}, lambda state: {})
    with gr.Row():
        with gr.Column(min_width=320):
            words(html.prose("Gate", GATE))
            gate = gr.Slider(0, 1, START[0], step=0.05, label="Gate of the example", elem_id="help-gate")
            words(html.prose("Conflict", CONFLICT))
            threshold = gr.Slider(
                0, 250, START[1], step=1, label="Conflict threshold of the example", elem_id="help-threshold"
            )
        with gr.Column(min_width=320):
            bars = plot_panel(figures.SPECTRUM, "", "help-spectrum", drawn=first["bars"])
            sentence = words(first["sentence"], elem_id="help-message")
    with gr.Row():
        with gr.Column(min_width=320):
            words(html.prose("Rank", RANK))
            rank = gr.Slider(1, 6, START[2], step=1, label="Rank of the example", elem_id="help-rank")
            words(html.prose("Recipe", RECIPE))
            recipe = gr.Code(
                first["recipe"], label="Recipe of the example", lines=3, interactive=False, elem_id="help-recipe"
            )
        with gr.Column(min_width=320):
            kept = plot_panel(figures.MERGED, "", "help-merged", drawn=first["kept"])
    sliders = [gate, threshold, rank]
    at = {"bars": bars, "sentence": sentence, "kept": kept, "recipe": recipe}
    for slider in sliders:
        listen(slider.input, on_turn, [state, *sliders], at, **DRAG)
    return Panel({}, lambda state: {})
