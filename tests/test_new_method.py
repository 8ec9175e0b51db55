"""A new method is one new file: the recipe, the variants, the flags and the table of methods know it without being told."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import tada_studio

HALF = '''"""Half of the task adapter and half of the domain adapter, everywhere."""

from tada_studio.core.mix import Analysis, Method, Mix, Moments, even_weights, weighted_sum


def run(analysis, gates, recipe, moments):
    return weighted_sum(analysis.space, even_weights(analysis.space, 0.5))


METHOD = Method("half", run, says="half of each", uses=frozenset())
'''

ASKS = """
import contextlib, io
from tada_studio import cli, pipeline, report
from tada_studio.core.methods import METHODS, idle
from tada_studio.recipe import Recipe, knobs
assert METHODS["half"].says == "half of each" and "half" in knobs()["method"].metadata["options"]
assert "half" in pipeline.by_name("tada") and "strength" in idle("half", probed=True)
assert "| `half` | half of each | none |" in report.method_table()
with contextlib.redirect_stdout(io.StringIO()) as page, contextlib.suppress(SystemExit):
    cli.main(["merge", "--help"])
assert "|half|" in "".join(page.getvalue().split())
pair = pipeline.read_pair(TASK, DOMAIN)
merged, domain = pipeline.Merge(pair, None, Recipe(method="half", rank=64)).adapter, pair.domain.modules
for name, module in pair.task.modules.items():
    want = (module.delta() + domain[name].delta()) / 2
    assert (merged.modules[name].delta() - want).norm() < 1e-5 * want.norm()
print("half is there")
"""


def test_a_method_is_added_by_one_file(pico, tmp_path):
    package = Path(tada_studio.__file__).parent
    shutil.copytree(package, tmp_path / "tada_studio", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "tada_studio" / "core" / "methods" / "half.py").write_text(HALF, encoding="utf-8")
    code = f"TASK, DOMAIN = {str(pico.task)!r}, {str(pico.domain)!r}\n{ASKS}"
    asked = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert asked.stdout.strip() == "half is there", asked.stderr[-2000:]
