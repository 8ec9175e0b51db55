"""A pair of one's own: typed, or dropped as zips or files, and what a person may have to say before it opens."""

import zipfile
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from tada_studio.app.paths import AllowedPaths
from tada_studio.app.state import TabState
from tada_studio.app.widgets import html
from tada_studio.app.widgets.panel import Named, words
from tada_studio.app.widgets.task import steps, uploaded
from tada_studio.errors import InputError, OtherBaseError, PickledError, TadaError
from tada_studio.progress import Progress, ProgressFn

_BASE_IS_FOR = (
    "The base is needed to probe and to evaluate, and to read DoRA. Without one the weights alone can be inspected, merged "
    "and exported."
)
_SAME_BASE = "I know that both were trained on the same base"
_SAME_BASE_INFO = "Open again with this tick; recipe.json and the model card keep that you said so."
_PICKLED = "I trust where adapter_model.bin comes from"
_PICKLED_INFO = "Open again with this tick: it is read as numbers only, and no code in it runs."


class Box(NamedTuple):
    """What the Open tab wires: ``button`` opens what stands in ``fields``, and ``at`` shows how that went.

    fields: in the order of ``opening``, ``base`` among them;  error: where it says what is wrong
    """

    fields: list[Any]
    base: gr.Textbox
    same_base: gr.Checkbox
    pickled: gr.Checkbox
    button: gr.Button
    error: gr.HTML

    @property
    def at(self) -> dict[str, Any]:
        return {"vouch": self.same_base, "pickled": self.pickled, "error": self.error}


# -- handlers --------------------------------------------------------------------------------------------------------


def opening(
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
) -> Generator[Named, None, Named]:
    """Open two adapters by folder or Hub id, or the zips that were uploaded for them; an empty base means weights only.

    dora_rank: of the LoRA that stands in for DoRA, None for the adapter's own
    same_base: the person vouches that both were trained on one base; allow_pickle: that an adapter_model.bin may be read, which no
    stranger may say

    Yields how far it is, since DoRA takes long, whose base is read too; gives which ticks are shown. Raises TadaError.
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
        yield _ticks(paths, error)
        raise
    state.acted("Opened your own pair.")
    return {"vouch": gr.update(visible=same_base), "pickled": gr.update(visible=how[-1])}


def _ticks(paths: AllowedPaths, error: TadaError) -> Named:
    """What a person could say that would let the pair open."""
    if isinstance(error, OtherBaseError):
        return {"vouch": gr.update(visible=True)}
    return {"pickled": gr.update(visible=True)} if isinstance(error, PickledError) and not paths.hosted else {}


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


# -- layout ----------------------------------------------------------------------------------------------------------


def own_box(paths: AllowedPaths) -> Box:
    """Builds the section; the Open tab wires it, since opening a pair changes everything."""
    stays = "" if paths.hosted else " Nothing is sent anywhere."
    words(html.heading("Open your own pair", f"Two PEFT LoRA adapters of one base.{stays}"))
    typed = _typed(paths)
    words(html.caption(_BASE_IS_FOR))
    with (
        gr.Accordion(
            "Or files: choose zips, or drop folders anywhere on this tab", open=paths.hosted, elem_id="own-zips"
        ),
        gr.Row(),
    ):
        zips = [_zip(role, [] if paths.hosted else [".bin"]) for role in ("Task", "Domain")]
    with gr.Accordion("For DoRA adapters", open=False, elem_id="own-dora"):
        dora_rank = gr.Number(
            label="Rank of the LoRA that stands in for DoRA (empty: the adapter's own)", value=None, precision=0,
            info="what is lost stands in the adapter's passport; a larger rank loses less", minimum=1, maximum=4096,
            elem_id="dora-rank",
        )  # fmt: skip
    same_base = gr.Checkbox(label=_SAME_BASE, info=_SAME_BASE_INFO, value=False, visible=False, elem_id="same-base")
    pickled = gr.Checkbox(label=_PICKLED, info=_PICKLED_INFO, value=False, visible=False, elem_id="pickled")
    fields = [*typed, *zips, dora_rank, same_base, pickled]
    opens = gr.Button("Open", variant="primary", elem_id="open-own")
    return Box(fields, typed[-1], same_base, pickled, opens, words(elem_id="own-error"))


def _typed(paths: AllowedPaths) -> list[gr.Textbox]:
    """Task, domain, base."""
    where = "Hub id such as owner/name" if paths.hosted else "Folder, or Hub id such as owner/name"
    with gr.Row():
        return [
            gr.Textbox(label="Task adapter: how to answer", placeholder=where, elem_id="task", min_width=260),
            gr.Textbox(label="Domain adapter: what to know", placeholder=where, elem_id="domain", min_width=260),
            gr.Textbox(
                label="Base model (may stay empty)", placeholder=f"{where}, or a .gguf file", elem_id="base", min_width=260,
            ),
        ]  # fmt: skip


def _zip(role: str, more: Sequence[str]) -> gr.File:
    return gr.File(
        label=f"{role} adapter: a zip, or its files", file_types=[".zip", ".safetensors", ".json", *more], file_count="multiple",
        elem_id=f"{role.lower()}-zip", height=110,
    )  # fmt: skip
