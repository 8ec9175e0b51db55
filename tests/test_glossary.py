"""One glossary: every word has a sentence, stands on the screen once a text, and the page of it is made from it."""

import json
from pathlib import Path

import pytest
from markupsafe import escape

from tada_studio import cli
from tada_studio.app.page import Start, page
from tada_studio.app.tabs.inspect import cell_panel, map_panel
from tada_studio.app.widgets import html
from tada_studio.glossary import FIRST, GLOSSARY, parts


def test_each_word_is_explained_where_it_first_stands_and_nothing_is_lost():
    text = "Gates <are> shares; a gate of recipe.json has a weight, not a weightless one."
    found = list(parts(text))
    assert "".join(part for part, _ in found) == text
    assert [(part, says) for part, says in found if says] == [
        ("Gates", GLOSSARY["gate"]), ("shares", GLOSSARY["share"]), ("weight", GLOSSARY["weight"]),
    ]  # fmt: skip
    shown = html.explained(text)
    assert shown.count('class="term"') == 3 and "&lt;are&gt; <a" in shown and shown.endswith("weightless one.")


def test_what_nothing_can_be_read_without_is_explained_in_readme_help_and_on_the_screen(capsys):
    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    shown = capsys.readouterr().out
    state = Start(sample="minerals-tiny").state()
    said = [map_panel.verdict(state.session.view), cell_panel.show(state)["heading"]]
    screen = json.dumps([block["props"] for block in page(Start()).config["components"]], default=str) + "".join(said)
    for word in FIRST:
        assert f"**{word}**: {GLOSSARY[word]}" in readme and f"  {word}: {GLOSSARY[word]}" in shown, word
        assert str(escape(GLOSSARY[word])) in screen, word
    state.session.close()


def test_sentences_are_short_and_the_docs_have_each():
    page = (Path(__file__).parent.parent / "docs" / "glossary.md").read_text(encoding="utf-8")
    for word, says in GLOSSARY.items():
        assert says.endswith(".") and len(says) < 110 and f"**{word}** | {says}" in page, word
