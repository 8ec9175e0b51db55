"""One glossary: every word has a sentence, stands on the screen once a text, and the page of it is made from it."""

from pathlib import Path

from tada_studio.app.widgets import html
from tada_studio.report.glossary import GLOSSARY, parts


def test_each_word_is_explained_where_it_first_stands_and_nothing_is_lost():
    text = "Gates <are> shares; a gate has a weight, not a weightless one."
    found = list(parts(text))
    assert "".join(part for part, _ in found) == text
    assert [(part, says) for part, says in found if says] == [
        ("Gates", GLOSSARY["gate"]), ("shares", GLOSSARY["share"]), ("weight", GLOSSARY["weight"]),
    ]  # fmt: skip
    shown = html.explained(text)
    assert shown.count('class="term"') == 3 and "&lt;are&gt; <a" in shown and shown.endswith("weightless one.")


def test_sentences_are_short_and_the_docs_have_each():
    page = (Path(__file__).parent.parent / "docs" / "glossary.md").read_text(encoding="utf-8")
    for word, says in GLOSSARY.items():
        assert says.endswith(".") and len(says) < 110 and f"**{word}** | {says}" in page, word
