"""The app's JavaScript without a browser: node runs the tests of its pure functions, and a linter reads all of it.

There is no build step. The linter is pinned in tests/js/package-lock.json: `npm ci --prefix tests/js`.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

JS = Path(__file__).parent / "js"
NODE = shutil.which("node")

pytestmark = pytest.mark.skipif(NODE is None, reason="node is not installed: apt-get install nodejs")


def node(*args: str) -> subprocess.CompletedProcess:
    return subprocess.run([str(NODE), *args], cwd=JS, capture_output=True, text=True, timeout=120, check=False)


def test_pure_functions_do_what_they_say():
    found = node("--test", ".")
    assert found.returncode == 0 and "# fail 0" in found.stdout, found.stdout[-3000:]
    assert "# pass 0" not in found.stdout


def test_the_linter_finds_nothing():
    if not (JS / "node_modules" / "eslint").is_dir():
        pytest.skip("the linter is not installed: npm ci --prefix tests/js")
    found = node("lint.js")
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_linter_would_find_a_name_that_is_nowhere():
    """Or a clean answer would mean nothing."""
    if not (JS / "node_modules" / "eslint").is_dir():
        pytest.skip("the linter is not installed: npm ci --prefix tests/js")
    script = (
        "const { ESLint } = require('eslint');"
        "new ESLint({ overrideConfigFile: 'eslint.config.js' }).lintText('nowhere(1);', { filePath: 'x.js' })"
        ".then(([found]) => console.log(found.messages.map((one) => one.ruleId).join()));"
    )
    assert "no-undef" in node("-e", script).stdout
