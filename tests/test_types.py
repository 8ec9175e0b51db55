"""What an editor shows for the public names: real types, read from the package's stub as a stranger's script would."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import tada_studio

ROOT = Path(__file__).parent.parent
SCRIPT = """
pair = tada.read_pair(task="task", domain="domain")
reveal_type(pair)
readings = tada.probe(pair, tada.load_base("base"), tada.read_inputs("probe.txt"))
reveal_type(readings)
merged = tada.merge(pair, readings, tada.Recipe(rank=16))
reveal_type(merged)
reveal_type(tada.export(merged, "out/"))
tada.merge(pair, "readings.json")
tada.Recipe(rnak=16)
"""


@pytest.fixture(scope="module")
def shown(tmp_path_factory) -> list[str]:
    """What mypy says of a script that reveals every public name and then does the main job. Its cache is warm: CI ran it before."""
    script = tmp_path_factory.mktemp("types") / "script.py"
    names = "\n".join(f"reveal_type(tada.{name})" for name in tada_studio.__all__)
    script.write_text(f"import tada_studio as tada\n{names}\n{SCRIPT}")
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--hide-error-context", str(script)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.splitlines()


def test_no_public_name_is_any(shown):
    revealed = dict(
        zip(
            tada_studio.__all__,
            [text for line in shown for text in re.findall(r'Revealed type is "(.*)"', line)],
            strict=False,
        )
    )
    assert len(revealed) == len(tada_studio.__all__)
    assert [name for name, text in revealed.items() if text == "Any" or text.endswith("-> Any")] == []
    assert revealed["merge"].endswith("-> tada_studio.lora.Adapter") and "Readings | None" in revealed["merge"]


def test_values_of_the_main_job_have_types_and_mistakes_are_seen(shown):
    last = [line.split("script.py", 1)[1] for line in shown][len(tada_studio.__all__) :]
    for line, says in zip(last, ("lora.Pair", "Readings", "lora.Adapter", "Certificate"), strict=False):
        assert f'{says}"' in line, line
    mistakes = [line for line in last if " error: " in line]
    assert len(mistakes) == 2 and "[arg-type]" in mistakes[0] and "rnak" in mistakes[1]
