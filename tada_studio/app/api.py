"""Named endpoints for scripts and agents (gradio_client, curl, MCP): what the screen does, without one."""

import tempfile
from pathlib import Path
from typing import Any

import gradio as gr

from tada_studio import pipeline, report
from tada_studio.app.paths import AllowedPaths
from tada_studio.app.widgets.messages import speaking
from tada_studio.recipe import recipe_in
from tada_studio.sample_pairs import samples


def add_endpoints(paths: AllowedPaths) -> None:
    """Publish the endpoints on the Blocks that is being built."""

    def list_samples() -> list[dict]:
        """The embedded samples.

        Returns:
            name, title and story of each.
        """
        return [{"name": s.name, "title": s.title, "story": s.story} for s in samples().values()]

    def passport(adapter: str) -> dict:
        """What the files of one LoRA adapter say about it.

        Args:
            adapter: folder or Hub id (owner/name).
        """
        with speaking():
            return _passport(paths.checked(adapter, "adapter"))

    def merge(task: str, domain: str, recipe: dict) -> dict:
        """Merge two adapters by their weights alone and certify the result.

        Args:
            task: folder or Hub id of the task adapter.
            domain: folder or Hub id of the domain adapter.
            recipe: knobs by name; an empty object takes all defaults.
        """
        with speaking():
            return _merge(paths.checked(task, "task"), paths.checked(domain, "domain"), recipe)

    for endpoint in (list_samples, passport, merge):
        gr.api(endpoint, api_name=endpoint.__name__, concurrency_id="work", concurrency_limit=1)


def _passport(ref: str) -> dict[str, Any]:
    found = pipeline.read_adapter(ref).passport
    assert found is not None, "every adapter that was read has a passport"
    return {"label": found.label, **dict(found.facts), "remarks": list(found.remarks)}


def _merge(task: str, domain: str, recipe: dict[str, Any]) -> dict[str, Any]:
    pair = pipeline.read_pair(task, domain)
    made = pipeline.Merge(pair, None, recipe_in(recipe or {}))
    folder = Path(tempfile.mkdtemp(prefix="tada-studio-")) / "merged"
    certificate = pipeline.export(made.adapter, folder).to_dict()
    says = report.missing_sentence(made.missing, made.recipe.method, made.called)
    return {"folder": str(folder), "certificate": certificate, "merged_as": made.called, "says": says}
