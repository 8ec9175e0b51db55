"""One HTML file with everything about a merge: figures, tables, verdicts, recipe, measurements. It opens anywhere, offline.

Names, remarks and items come from other people's files: the templates escape all text.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from tada_studio import figures, report
from tada_studio.addresses import Address
from tada_studio.core.gates import Gates
from tada_studio.evaluation.effect import Effects
from tada_studio.exporting.portable import VLLM_RANKS
from tada_studio.figures import standalone
from tada_studio.files import plain_json
from tada_studio.lora import Passport
from tada_studio.markup import joined, template
from tada_studio.pipeline import MergeOrigin
from tada_studio.pipeline.merge import Merge
from tada_studio.recipe import Recipe, knobs
from tada_studio.session import Run

#: Of the cells in which anything is dropped so many are shown closely, and so many are listed.
CLOSE, LISTED = 3, 40

_PAGE = template("""
<h1>{{ title }}</h1><p class="lead">One LoRA adapter of rank {{ rank }}, merged from <b class="task">{{ task }}</b> (task) and
<b class="domain">{{ domain }}</b> (domain) for {{ base }}.</p><nav>
{% for name in sections %}<a href="#{{ name | lower | replace(" ", "-") }}">{{ name }}</a>{% endfor %}</nav>
{% for name, inner in sections.items() %}<h2 id="{{ name | lower | replace(" ", "-") }}">{{ name }}</h2>{{ inner }}{% endfor %}
""")
_NOTE = template('<div class="note {{ kind }}">{{ text }}</div>')
_TABLE = template("""
<div class="box scroll"><table>{% if caption %}<caption>{{ caption }}</caption>{% endif %}
{% if headers %}<thead><tr>{% for name in headers %}<th scope="col">{{ name }}</th>{% endfor %}</tr></thead>{% endif %}
<tbody>{% for row in rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}</tbody></table></div>
""")
_FOLDED = template("<details><summary>{{ what }}</summary>{{ inner }}</details>")
_PAIR = template('<div class="pair">{{ blocks }}</div>')
_UNDER = template("<h3>{{ title }}</h3>{{ inner }}")
_LITERAL = template("<pre>{{ text }}</pre>")


def html_report(
    view: Merge,
    title: str,
    runs: Sequence[Run] = (),
    certificate: Mapping[str, Any] | None = None,
    effects: Effects | None = None,
    certified: str = "",
) -> str:
    """The page. ``runs``: evaluations, and ``effects``: of parts, both of whatever recipe, which is said of each; ``certificate``:
    the certificate.json of an export, and ``certified``: the digest of what was exported. Of another merge it proves nothing, and
    its verdict is not printed."""
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
        **({"Certificate": _certificate(certificate, certified == view.digest)} if certificate else {}),
    }
    pair = view.pair
    body = _PAGE(
        title=title, rank=view.merged.rank, task=pair.task.label, domain=pair.domain.label,
        base=pair.task.base or pair.domain.base or "a base that neither names", sections=sections,
    )  # fmt: skip
    return standalone.page(f"TaDA Studio: {title}", body)


# -- parts -----------------------------------------------------------------------------------------------------------


def _note(text: str, kind: str = "") -> Markup:
    return _NOTE(text=text, kind=kind)


def _notes(sentences: Iterable[str]) -> Markup:
    return joined(map(_note, sentences))


def _table(headers: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "") -> Markup:
    return _TABLE(headers=headers, rows=rows, caption=caption)


def _folded(what: str, inner: Markup) -> Markup:
    return _FOLDED(what=what, inner=inner)


def _pair(*blocks: Markup) -> Markup:
    return _PAIR(blocks=joined(blocks))


# -- sections --------------------------------------------------------------------------------------------------------


def _summary(view: Merge) -> Markup:
    places = [str(address) for address in view.pair.addresses.values()]
    sentences = [
        report.pair_verdict(view.pair),
        report.depth_sentences(view.depths, view.probed, int(view.gates.edited.sum())),
        report.conflict_sentence(view.merged),
        report.rank_advice(view.ranks, view.merged.rank, VLLM_RANKS, places),
        report.norms_sentence(view.norms, view.recipe.balance),
    ]
    return _notes(sentences)


def _adapters(view: Merge) -> Markup:
    return _pair(*(_passport(role, one) for role, one in zip(("Task", "Domain"), view.pair.passports, strict=True)))


def _passport(role: str, passport: Passport | None) -> Markup:
    if passport is None:
        return _note(f"{role} adapter: it was not read from a file and has no passport.")
    return _table((), report.passport_rows(passport), f"{role} adapter: {passport.label}")


def _gates(view: Merge) -> Markup:
    gates = view.gates
    return joined([
        *(standalone.figure_block(figure) for figure in figures.maps_of(view).values()),
        *(_numbers(part, tower) for tower, part in gates.by_tower.items()),
    ])  # fmt: skip


def _numbers(gates: Gates, tower: str) -> Markup:
    rows = [
        [layer, *("" if value != value else f"{value:.3f}" for value in values)]
        for layer, values in zip(gates.layers, gates.values.tolist(), strict=True)
    ]
    what = f"Every gate of the {tower} as a number" if tower else "Every gate as a number"
    return _folded(what, _table(("layer", *gates.projections), rows))


def _stability(view: Merge) -> Markup:
    found = view.stability
    drawn = [figures.stability_curve(found), figures.cell_bands(found, view.gates)]
    return _notes(report.stability_sentences(found)) + _drawn(drawn)


def _drawn(drawn: Iterable[figures.Figure]) -> Markup:
    """Those that have anything to draw."""
    return joined(standalone.figure_block(figure) for figure in drawn if figure.plot is not None)


def _conflict(view: Merge) -> Markup:
    drops = view.merged.how.drops
    if drops is None:
        return _note(report.conflict_sentence(view.merged))
    cells = sorted(zip(drops.lost.tolist(), view.pair.addresses.values(), strict=True), reverse=True)
    touched = [address for lost, address in cells if lost > 0]
    lost = joined(_pair(*(
        standalone.figure_block(figures.lost_picture(
            part, view.gates.cut(tower, view.on_map(of_each)), f"{tower} of the {role}".strip()))
        for role, of_each in zip(("task", "domain"), drops.lost_by_cell.unbind(1), strict=True)
    )) for tower, part in view.gates.by_tower.items())  # fmt: skip
    close = joined(_cell(view, address) for address in touched[:CLOSE])
    rows = [[str(address), report.percent(share)] for share, address in cells[:LISTED] if share > 0]
    listed = (
        _folded("Cells in which something is dropped", _table(("cell", "of its energy"), rows)) if rows else Markup()
    )
    return joined([_note(report.conflict_sentence(view.merged)), lost, listed, close])


def _cell(view: Merge, address: Address) -> Markup:
    near, recipe = view.module_detail(address), view.recipe
    where, threshold = str(address), recipe.conflict_threshold
    drawn = [
        figures.conflict_spectrum(near, where),
        figures.overlap_table(near, threshold, where),
        figures.against_chance(near, threshold, recipe.conflict_space, where),
        figures.merged_spectrum(near, view.merged.rank, where),
    ]
    shown = _pair(*map(standalone.figure_block, drawn))
    return _UNDER(title=where.capitalize(), inner=_note(report.cell_sentence(view.merged, near)) + shown)


def _rank(view: Merge) -> Markup:
    rows = [
        [rank, report.percent(view.ranks.at(rank)[0]), report.percent(view.ranks.at(rank)[1])]
        for i, rank in enumerate(VLLM_RANKS)
        if i == 0 or VLLM_RANKS[i - 1] < len(view.ranks.everywhere)
    ]
    block = standalone.figure_block(figures.energy_against_rank(view.ranks, view.merged.rank, VLLM_RANKS))
    return block + _table(("rank that servers take", "keeps of the whole", "keeps of the worst module"), rows)


def _norms(view: Merge) -> Markup:
    return standalone.figure_block(figures.norms_by_layer(view.norms))


def _evaluation(view: Merge, runs: Sequence[Run]) -> Markup:
    measured = [run for run in runs if run.sides]
    if not measured:
        return _note("Nothing was evaluated. What is above is geometry; it does not say how well the merge answers.")
    return joined(_run(run, run.digest == view.digest) for run in reversed(measured))


def _run(run: Run, current: bool) -> Markup:
    state = "" if run.finished else " It was stopped early."
    whose = "with this recipe" if current else f"of an earlier recipe ({report.recipe_words(run.recipe)})"
    sentences = _notes(report.comparison_sentences(run.sides))
    bars = standalone.figure_block(figures.score_bars(run.sides, f"run {run.number}"))
    title = f"Run {run.number}, {whose}, {run.limit} items a side.{state}"
    return _UNDER(title=title, inner=_table(*report.score_table(run.sides)) + bars + sentences)


def _effect(view: Merge, found: Effects) -> Markup:
    sentences = report.effect_sentences(found)
    if found.digest != view.digest:
        sentences.append(f"Measured of an earlier recipe ({report.recipe_words(found.recipe)}).")
    drawn = [figures.effect_bars(found, view.gates, kind) for kind in ("layer", "projection")]
    return _notes(sentences) + _drawn([*drawn, figures.effect_cells(found, view.gates)])


def _changed(recipe: Recipe) -> list[str]:
    return [name for name, spec in knobs().items() if getattr(recipe, name) != spec.default]


def _recipe(view: Merge) -> Markup:
    changed = set(_changed(view.recipe))
    rows = [
        [name, _value(getattr(view.recipe, name)), _mark(name in changed), spec.metadata["says"]]
        for name, spec in knobs().items()
    ]
    origin = MergeOrigin(view.pair, view.readings, view.recipe).to_dict()
    content = _LITERAL(text=plain_json(origin, indent=2))
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


def _certificate(found: Mapping[str, Any], of_this: bool) -> Markup:
    if not of_this:
        return _note(
            "An earlier recipe was exported and checked, not this one. Build the export again to have this merge checked."
        )
    passed = found.get("verdict") == "pass"
    verdict = _note(
        f"Verdict: {found.get('verdict')}. The written folder was read back by PEFT and compared.",
        "good" if passed else "bad",
    )
    outputs = found.get("outputs")
    rows = list(outputs.items()) if isinstance(outputs, Mapping) else []
    return verdict + _table(("file", "SHA-256"), rows)
