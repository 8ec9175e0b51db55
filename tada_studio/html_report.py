"""One HTML file with everything about a merge: figures, tables, verdicts, recipe, measurements. It opens anywhere, offline.

Names, remarks and items come from other people's files: all text is escaped here or in ``figures.standalone``.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import torch

from tada_studio import figures, report
from tada_studio.evaluation.effect import Effects
from tada_studio.exporting.portable import VLLM_RANKS
from tada_studio.figures import standalone
from tada_studio.files import plain_json
from tada_studio.lora import Address, Passport
from tada_studio.pipeline import MergeOrigin
from tada_studio.pipeline.merge import Merge
from tada_studio.recipe import Recipe, knobs
from tada_studio.session import Run

#: Of the cells in which anything is dropped so many are shown closely, and so many are listed.
CLOSE, LISTED = 3, 40


def html_report(
    view: Merge,
    title: str,
    runs: Sequence[Run] = (),
    certificate: Mapping[str, Any] | None = None,
    effects: Effects | None = None,
) -> str:
    """The page. ``runs``: evaluations, and ``effects``: of parts, both of whatever recipe; ``certificate``: the
    certificate.json of an export."""
    sections = {
        "In short": _summary(view),
        "Adapters": _adapters(view),
        "Gates": _gates(view),
        **({"Stability": _stability(view)} if view.probed else {}),
        "Conflict": _conflict(view),
        "Rank": _rank(view),
        "Norms": _norms(view),
        "Evaluation": _evaluation(view, runs),
        **({"Effect": _effect(view, effects)} if effects and effects.changes else {}),
        "Recipe": _recipe(view),
        **({"Certificate": _certificate(certificate)} if certificate else {}),
    }
    links = "".join(f'<a href="#{_anchor(name)}">{escape(name)}</a>' for name in sections)
    body = "".join(f'<h2 id="{_anchor(name)}">{escape(name)}</h2>{inner}' for name, inner in sections.items())
    pair = view.pair
    lead = (
        f'<p class="lead">One LoRA adapter of rank {view.merged.rank}, merged from '
        f'<b class="task">{escape(pair.task.label)}</b> (task) and <b class="domain">{escape(pair.domain.label)}</b> '
        f"(domain) for {escape(pair.task.base or pair.domain.base or 'a base that neither names')}.</p>"
    )
    return standalone.page(f"TaDA Studio: {title}", f"<h1>{escape(title)}</h1>{lead}<nav>{links}</nav>{body}")


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-")


# -- parts -----------------------------------------------------------------------------------------------------------


def _note(text: str, kind: str = "") -> str:
    return f'<div class="note {kind}">{escape(text)}</div>'


def _table(headers: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "") -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in headers)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    named = f"<caption>{escape(caption)}</caption>" if caption else ""
    top = f"<thead><tr>{head}</tr></thead>" if headers else ""
    return f'<div class="box scroll"><table>{named}{top}<tbody>{body}</tbody></table></div>'


def _folded(what: str, inner: str) -> str:
    return f"<details><summary>{escape(what)}</summary>{inner}</details>"


def _pair(*blocks: str) -> str:
    return f'<div class="pair">{"".join(blocks)}</div>'


# -- sections --------------------------------------------------------------------------------------------------------


def _summary(view: Merge) -> str:
    places = [str(address) for address in view.pair.addresses.values()]
    sentences = [
        report.pair_verdict(view.pair),
        report.depth_sentence(view.depth, view.probed, int(view.gates.edited.sum())),
        report.conflict_sentence(view.merged),
        report.rank_advice(view.ranks, view.merged.rank, VLLM_RANKS, places),
        report.norms_sentence(view.norms, view.recipe.balance),
    ]
    return "".join(map(_note, sentences))


def _adapters(view: Merge) -> str:
    return _pair(*(_passport(role, one) for role, one in zip(("Task", "Domain"), view.pair.passports, strict=True)))


def _passport(role: str, passport: Passport | None) -> str:
    if passport is None:
        return _note(f"{role} adapter: it was not read from a file and has no passport.")
    return _table((), report.passport_rows(passport), f"{role} adapter: {passport.label}")


def _gates(view: Merge) -> str:
    gates = view.gates
    rows = [
        [layer, *("" if value != value else f"{value:.3f}" for value in values)]
        for layer, values in zip(gates.layers, gates.values.tolist(), strict=True)
    ]
    return "".join([
        standalone.figure_block("Gate map", figures.GATES_CAPTION, figures.gate_picture(gates)),
        standalone.figure_block("Depth profile", figures.DEPTH_CAPTION, figures.depth_profile(view.depth, gates)),
        _folded("Every gate as a number", _table(("layer", *gates.projections), rows)),
    ])  # fmt: skip


def _stability(view: Merge) -> str:
    found = view.stability
    drawn = [
        ("Gates from fewer inputs", figures.SUBSETS_CAPTION, figures.stability_curve(found)),
        ("How sure each cell is", figures.BANDS_CAPTION, figures.cell_bands(found, view.gates)),
    ]
    return "".join(map(_note, report.stability_sentences(found))) + _drawn(drawn)


def _drawn(blocks: Iterable[tuple[str, str, Any]]) -> str:
    """Figures with their titles and captions; those that could not be drawn are left out."""
    return "".join(standalone.figure_block(*block) for block in blocks if block[2] is not None)


def _conflict(view: Merge) -> str:
    drops = view.merged.how.drops
    if drops is None:
        return _note(report.conflict_sentence(view.merged))
    cells = sorted(zip(drops.lost.tolist(), view.pair.addresses.values(), strict=True), reverse=True)
    touched = [address for lost, address in cells if lost > 0]
    lost = standalone.figure_block(
        "Energy dropped", figures.LOST_CAPTION, figures.lost_picture(view.gates, _on_map(view))
    )
    close = "".join(_cell(view, address) for address in touched[:CLOSE])
    rows = [[str(address), report.percent(share)] for share, address in cells[:LISTED] if share > 0]
    listed = _folded("Cells in which something is dropped", _table(("cell", "of its energy"), rows)) if rows else ""
    return f"{_note(report.conflict_sentence(view.merged))}{lost}{listed}{close}"


def _on_map(view: Merge) -> torch.Tensor:
    """The share of energy lost in each module, laid out like the gate map."""
    drops, gates = view.merged.how.drops, view.gates
    assert drops is not None
    grid = torch.full_like(gates.values, torch.nan)
    for share, address in zip(drops.lost.tolist(), view.pair.addresses.values(), strict=True):
        grid[gates.layers.index(address.layer), gates.projections.index(address.projection)] = share
    return grid


def _cell(view: Merge, address: Address) -> str:
    near, recipe = view.module_detail(address), view.recipe
    blocks = [
        (f"Conflict spectrum, {address}", figures.SPECTRUM_CAPTION, figures.conflict_spectrum(near)),
        (
            f"How directions meet, {address}",
            figures.OVERLAP_CAPTION,
            figures.overlap_table(near, recipe.conflict_threshold),
        ),
        (
            f"Against chance, {address}",
            figures.CHANCE_CAPTION,
            figures.against_chance(near, recipe.conflict_threshold, recipe.conflict_space),
        ),
        (f"What the merge keeps, {address}", figures.MERGED_CAPTION, figures.merged_spectrum(near, view.merged.rank)),
    ]
    shown = _pair(*(standalone.figure_block(*block) for block in blocks))
    return f"<h3>{escape(str(address).capitalize())}</h3>{_note(report.cell_sentence(view.merged, near))}{shown}"


def _rank(view: Merge) -> str:
    rows = [
        [rank, report.percent(view.ranks.at(rank)[0]), report.percent(view.ranks.at(rank)[1])]
        for i, rank in enumerate(VLLM_RANKS)
        if i == 0 or VLLM_RANKS[i - 1] < len(view.ranks.everywhere)
    ]
    curve = figures.energy_against_rank(view.ranks, view.merged.rank, VLLM_RANKS)
    block = standalone.figure_block("Energy against rank", figures.RANK_CAPTION, curve)
    return block + _table(("rank that servers take", "keeps of the whole", "keeps of the worst module"), rows)


def _norms(view: Merge) -> str:
    return standalone.figure_block("Norms by layer", figures.NORMS_CAPTION, figures.norms_by_layer(view.norms))


def _evaluation(view: Merge, runs: Sequence[Run]) -> str:
    measured = [run for run in runs if run.sides]
    if not measured:
        return _note("Nothing was evaluated. What is above is geometry; it does not say how well the merge answers.")
    return "".join(_run(run, run.recipe == view.recipe) for run in reversed(measured))


def _run(run: Run, current: bool) -> str:
    state = "" if run.finished else " It was stopped early."
    whose = "with this recipe" if current else f"with another recipe ({report.recipe_words(run.recipe)})"
    sentences = "".join(_note(sentence) for sentence in report.comparison_sentences(run.sides))
    bars = standalone.figure_block(f"Accuracy, run {run.number}", figures.SCORES_CAPTION, figures.score_bars(run.sides))
    head = f"<h3>Run {run.number}, {escape(whose)}, {run.limit} items a side.{state}</h3>"
    return head + _table(*report.score_table(run.sides)) + bars + sentences


def _effect(view: Merge, found: Effects) -> str:
    sentences = report.effect_sentences(found)
    if found.recipe != view.recipe:
        sentences.append(f"Measured with another recipe ({report.recipe_words(found.recipe)}).")
    drawn = [
        (f"Effect of each {kind}", figures.EFFECT_CAPTION, figures.effect_bars(found, view.gates, kind))
        for kind in ("layer", "projection")
    ]
    cells = ("Effect of every cell", figures.CELLS_CAPTION, figures.effect_cells(found, view.gates))
    return "".join(map(_note, sentences)) + _drawn([*drawn, cells])


def _changed(recipe: Recipe) -> list[str]:
    return [name for name, spec in knobs().items() if getattr(recipe, name) != spec.default]


def _recipe(view: Merge) -> str:
    changed = set(_changed(view.recipe))
    rows = [
        [name, _value(getattr(view.recipe, name)), _mark(name in changed), spec.metadata["says"]]
        for name, spec in knobs().items()
    ]
    origin = MergeOrigin(view.pair, view.readings, view.recipe).to_dict()
    content = f"<pre>{escape(plain_json(origin, indent=2))}</pre>"
    made = _note("The method is this package's reading of TaDA (arXiv 2606.05016), not the paper's own code.")
    return (
        _table(("knob", "value", "", "what it does"), rows)
        + _folded("recipe.json, with the hashes of all inputs", content)
        + made
    )


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return "; ".join(value) or "none"
    return "automatic" if value is None else str(value)


def _mark(changed: bool) -> str:
    return "turned" if changed else ""


def _certificate(found: Mapping[str, Any]) -> str:
    passed = found.get("verdict") == "pass"
    verdict = _note(
        f"Verdict: {found.get('verdict')}. The written folder was read back by PEFT and compared.",
        "good" if passed else "bad",
    )
    outputs = found.get("outputs")
    rows = list(outputs.items()) if isinstance(outputs, Mapping) else []
    return verdict + _table(("file", "SHA-256"), rows)
