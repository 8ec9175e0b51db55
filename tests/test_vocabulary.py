"""Words that a newcomer would have to learn do not come back: the house speaks as PEFT, Gradio and statistics do.

Names are looked at by their parts (``on_ask``: on, ask), in Python, JavaScript and CSS; comments and docstrings by the word. What
a person reads on the screen is free: English sentences need English words.
"""

import io
import re
import tokenize
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "tada_studio"

#: Not the part of any name: old word -> what stands for it.
NAMES = {
    "desk": "state", "desks": "states", "shelf": "store", "keeper": "autosave", "lineup": "variants",
    "asked": "inputs, items, prompts", "told": "progress, on_change, status", "said": "message, reply",
    "spoken": "user_errors, message", "visits": "browser_tabs", "listing": "items file, action list",
    "twin": "linked control", "twins": "linked controls", "worn": "attached", "wearing": "attached", "dressed": "attached",
    "lent": "loaned_to_peft", "voice": "module reader", "voices": "responses", "hear": "record, handle", "heard": "recorded",
    "sack": "packed row", "sacks": "packed rows", "manner": "sampling", "closeup": "module detail",
    "fate": "direction state", "fates": "direction states", "pieces": "parts",
}  # fmt: skip
#: Not in a comment or a docstring either.
PROSE = {
    "desk", "desks", "shelf", "keeper", "lineup", "twin", "twins", "worn", "wearing", "dressed", "voice", "voices",
    "heard", "hears", "sack", "sacks", "closeup", "fate", "fates", "pieces", "listing", "spoken", "told",
}  # fmt: skip
#: Where such a word is the plain one: (file, word).
PLAIN = {
    ("core/separation.py", "told"),  # "can be told apart" is what statistics says
}
#: A key of files that version 0.1 wrote.
OLD_FILES = {("evaluation/saved.py", "said")}

PYTHON = sorted(PACKAGE.rglob("*.py"))
SCREEN = sorted([*PACKAGE.rglob("*.js"), *PACKAGE.rglob("*.css")])


def parts(name: str) -> set[str]:
    return {part.lower() for part in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", name)}


def words(text: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Za-z]+", text)}


def tokens(path: Path) -> list[tokenize.TokenInfo]:
    return list(tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline))


def is_docstring(all_tokens: list[tokenize.TokenInfo], number: int) -> bool:
    before = all_tokens[number - 1].type if number else tokenize.NEWLINE
    return all_tokens[number].type == tokenize.STRING and before in {
        tokenize.INDENT, tokenize.NEWLINE, tokenize.NL, tokenize.DEDENT, tokenize.COMMENT, tokenize.ENCODING,
    }  # fmt: skip


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_python_speaks_plainly(path):
    where, wrong = str(path.relative_to(PACKAGE)), []
    here = tokens(path)
    for number, token in enumerate(here):
        at = f"line {token.start[0]}: "
        if token.type == tokenize.NAME:
            wrong += [f"{at}{token.string} ({NAMES[part]})" for part in parts(token.string) & NAMES.keys()]
        elif token.type == tokenize.COMMENT or is_docstring(here, number):
            wrong += [f"{at}{word!r}" for word in words(token.string) & PROSE if (where, word) not in PLAIN]
        elif token.type == tokenize.STRING and re.fullmatch(
            r"""['"][#.]?[a-z]+(-[a-z]+)*['"]""", token.string
        ):  # an id, a class
            ids = set(re.findall(r"[a-z]+", token.string)) & NAMES.keys()
            wrong += [f"{at}{token.string}" for word in ids if (where, word) not in OLD_FILES]
    assert wrong == []


@pytest.mark.parametrize("path", SCREEN, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_scripts_and_styles_speak_plainly(path):
    text = path.read_text(encoding="utf-8")
    comments = " ".join(re.findall(r"/\*.*?\*/|(?<![:'\"])//[^\n]*", text, re.DOTALL))
    code = re.sub(r"/\*.*?\*/|(?<![:'\"])//[^\n]*|'[^'\n]*'|`[^`]*`", " ", text, flags=re.DOTALL)
    names = {part for name in re.findall(r"[A-Za-z_$][\w$-]*", code) for part in parts(name)}
    assert sorted(names & NAMES.keys()) == [] and sorted(words(comments) & PROSE) == []


def test_modules_are_called_plainly():
    old = {*NAMES, "studio", "marks", "places", "spoken", "kept", "steps", "part"}
    found = [
        str(path.relative_to(PACKAGE)) for path in [*PYTHON, *SCREEN] if parts(path.stem) & old or path.stem in old
    ]
    assert found == []
