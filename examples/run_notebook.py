"""Run a notebook from top to bottom without Jupyter, and write what its cells show.

    python examples/run_notebook.py examples/merge.ipynb

Tables and figures are written as a notebook keeps them, so that they are there before anybody runs it. A test runs it too.
"""

import ast
import json
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any


def executed(notebook: dict[str, Any]) -> dict[str, Any]:
    """The same notebook with the outputs of its code cells, all run in one namespace. Raises what a cell raises."""
    names: dict[str, Any] = {"__name__": "__main__"}
    cells, count = [], 0
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            count += 1
            cell = {**cell, "execution_count": count, "outputs": _outputs("".join(cell["source"]), names, count)}
        cells.append(cell)
    return {**notebook, "cells": cells}


def _outputs(source: str, names: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Run a cell: what it prints, and what its last line is."""
    tree, printed, last = ast.parse(source), StringIO(), None
    ends = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    with redirect_stdout(printed):
        exec(compile(tree, f"cell {count}", "exec"), names)
        if isinstance(ends, ast.Expr):
            last = eval(compile(ast.Expression(ends.value), f"cell {count}", "eval"), names)
    text = printed.getvalue()
    made = [{"output_type": "stream", "name": "stdout", "text": text.splitlines(keepends=True)}] if text else []
    if last is not None:
        data = {"text/plain": [repr(last)], **_rich(last)}
        made.append({"output_type": "execute_result", "execution_count": count, "metadata": {}, "data": data})
    return made


def _rich(value: Any) -> dict[str, Any]:
    """What Jupyter would show instead of the repr."""
    if plot := getattr(value, "plot", None):  # a Figure of ours: what plotly's own renderer writes for a notebook
        return {"text/plain": [value.title], "application/vnd.plotly.v1+json": json.loads(plot.to_json())}
    if hasattr(value, "_repr_html_"):
        return {"text/html": [value._repr_html_()]}
    return {}


def written(notebook: dict[str, Any]) -> str:
    """As the file holds it."""
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name in sys.argv[1:]:
        made = executed(json.loads(Path(name).read_text(encoding="utf-8")))
        Path(name).write_text(written(made), encoding="utf-8")
