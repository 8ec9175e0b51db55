"""The command line as a tool: version, suggestions, examples, settings from a file, completion, silence."""

import subprocess
import sys
from argparse import Namespace
from types import SimpleNamespace

import pytest

from tada_studio import __version__, cli
from tada_studio.cli.parser import flags
from tada_studio.cli.settings import with_settings
from tada_studio.errors import InputError

PARSERS = cli.parsers(cli._parser())
PAIR = ["--task", "t", "--domain", "d"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_version(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert end.value.code == 0 and capsys.readouterr().out == f"tada-studio {__version__}\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["pobe"], "tada-studio: pobe: no such command; did you mean probe? There are: app, "),
        (["nosuch"], "tada-studio: nosuch: no such command. There are: app, "),
        (
            ["merge", *PAIR, "-o", "out", "--strengh=2"],
            "tada-studio merge: --strengh=2: no such flag; did you mean --strength?",
        ),
        (["--sampel", "x"], "tada-studio: --sampel: no such flag; did you mean --sample?"),
        (["samples", "x", "y"], "y: one word too many"),
    ],
)
def test_a_mistyped_word_gets_a_suggestion(words, says, capsys):
    assert cli.main(words) == 2
    shown = capsys.readouterr()
    assert says in shown.err and shown.out == "" and len(shown.err.splitlines()) == 1


def test_a_missing_flag_is_one_line_and_not_a_page_of_usage(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["merge", "--task", "t"])  # one adapter alone may be merged; where it goes must be said
    shown = capsys.readouterr().err
    assert end.value.code == 2 and "--out" in shown and "tada-studio merge --help" in shown and shown.count("\n") == 1


@pytest.mark.parametrize("name", PARSERS)
def test_every_help_has_examples_that_parse(name):
    import shlex

    lines = PARSERS[name].get_default("examples")
    assert lines and all(line in PARSERS[name].format_help() for line in lines)
    for line in lines:
        options = cli._options(shlex.split(line.split(" > ")[0]))
        assert options.command == (name if line else "app")


# -- tada.toml -----------------------------------------------------------------------------------------------------


def settings(folder, text, *words):
    (folder / "tada.toml").write_text(text)
    return with_settings(list(words), PARSERS)


def test_settings_come_before_what_is_typed_and_what_is_typed_wins(folder, capsys):
    text = 'task = "a"\ndomain = "b"\nquick = true\n[merge]\nstrength = 1.5\nkeep = ["layer 1 : q : task 0", "x"]\n'
    words = settings(folder, text, "merge", "--domain", "c", "-o", "out")
    options = cli._options(words)
    assert (options.task, options.domain, options.out, options.strength) == ("a", "c", "out", "1.5")
    assert options.keep == ["layer 1 : q : task 0", "x"]
    assert "tada.toml adds --task=a --strength=1.5" in capsys.readouterr().err
    assert settings(folder, text, "merge", "--keep=x", "--strength=1", "--task=z", "-o", "o") == [
        "merge", "--domain=b", "--keep=x", "--strength=1", "--task=z", "-o", "o",
    ]  # fmt: skip
    assert settings(folder, text, "tune") == ["tune", "--task=a", "--domain=b", "--quick"]
    assert settings(folder, text, "samples") == ["samples"]


def test_another_file_can_be_named_and_no_file_adds_nothing(folder):
    assert with_settings(["tune"], PARSERS) == ["tune"]
    (folder / "other.toml").write_text("minutes = 2\n")
    assert with_settings(["tune", "--config", "other.toml"], PARSERS)[:2] == ["tune", "--minutes=2"]
    with pytest.raises(InputError, match=r"none\.toml: cannot be read as settings"):
        with_settings(["tune", "--config=none.toml"], PARSERS)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("strengh = 1", "strengh is no flag of the command; did you mean strength"),
        ("[merg]\nrank = 1", r"\[merg\] is no command; did you mean merge"),
        ("[merge]\nminutes = 1", "minutes is no flag of the command"),
        ("allow-pickle = true", "allow-pickle is not taken from a file"),
        ('[evaluate]\nlm-eval = ["x.yaml"]', "lm-eval is not taken from a file"),
        ("quick = 3", "this flag is a switch"),
        ('task = ["a", "b"]', "one value, not a list"),
        ("task = ", "cannot be read as settings"),
    ],
)
def test_settings_that_mean_nothing_or_decide_whom_to_trust_are_refused(text, says, folder):
    with pytest.raises(InputError, match=says):
        settings(folder, text, "tune")


def test_flags_that_let_in_what_can_do_harm_are_all_typed_only():
    from tada_studio.cli.settings import TYPED_ONLY

    everywhere = {name for parser in PARSERS.values() for name in flags(parser)}
    assert everywhere >= TYPED_ONLY


# -- completion, silence -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_commands_flags_and_the_options_of_knobs(shell, capsys):
    assert cli.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for word in ("evaluate", "conflict-threshold", "knots_ties", "bfloat16"):
        assert word in script


def test_bash_completes(capsys, folder):
    cli.main(["completion", "bash"])
    (folder / "complete.sh").write_text(capsys.readouterr().out)
    typed = "COMP_WORDS=(tada-studio ev); COMP_CWORD=1; _shtab_tada_studio; echo ${COMPREPLY[@]}"
    done = subprocess.run(["bash", "-c", f"source complete.sh; {typed}"], capture_output=True, text=True)
    assert done.stdout.strip() == "evaluate"


def test_quiet_is_silent_on_stderr(capsys):
    from tada_studio.cli.flags import note, teller

    for quiet in (False, True):
        options = Namespace(quiet=quiet)
        note(options, "a remark")
        teller(options)(SimpleNamespace(step="evaluate", done=1, total=2, note="base"))
        assert (capsys.readouterr().err == "") is quiet


def test_the_command_line_starts_at_once():
    """No library but argparse, so --version and a mistyped flag are answered at once. Counted in modules, not by a clock."""
    code = "import sys; from tada_studio.cli import _parser; _parser(); print(sorted({*sys.modules} & {*sys.argv[1:]}))"
    heavy = ["torch", "gradio", "numpy", "transformers", "rich", "typer", "shtab", "pydantic"]
    shown = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"
