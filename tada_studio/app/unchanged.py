"""Of what an answer leaves as it is, nothing is made: gradio would build each such component anew, a tenth of a millisecond each.

An answer names the few components that it changes, and a page has a hundred and fifty.
"""

from collections.abc import Awaitable, Callable
from copy import copy
from typing import Any

import gradio as gr
from gradio.blocks import convert_component_dict_to_list

Postprocess = Callable[..., Awaitable[list[Any]]]


def install(demo: gr.Blocks) -> None:
    """Use it in a server."""
    demo.postprocess_data = sparing(demo.postprocess_data)


def sparing(postprocess: Postprocess) -> Postprocess:
    """``Blocks.postprocess_data`` that is asked only for what an answer holds."""

    async def spared(block_fn: Any, predictions: Any, state: Any) -> list[Any]:
        if not isinstance(predictions, dict) or len(block_fn.outputs) < 2:
            return await postprocess(block_fn, predictions, state)
        given = [] if _is_skip(predictions) else convert_component_dict_to_list(list(block_fn.outputs), predictions)
        if not isinstance(given, list):
            return await postprocess(block_fn, predictions, state)
        made = {i: value for i, value in enumerate(given) if not _is_skip(value)}
        few = copy(block_fn)
        few.outputs = [block_fn.outputs[i] for i in made]
        values = list(made.values())
        answers = await postprocess(few, values[0] if len(values) == 1 else values, state) if made else []
        found = dict(zip(made, answers, strict=True))
        return [found.get(i, gr.skip()) for i in range(len(block_fn.outputs))]

    return spared


def _is_skip(value: Any) -> bool:
    return isinstance(value, dict) and value == gr.skip()
