"""The glossary as a table."""

from collections.abc import Iterable

from tada_studio.glossary import GLOSSARY
from tada_studio.report.tables import markdown_table


def glossary_table(names: Iterable[str] = GLOSSARY) -> str:
    """The glossary, or these words of it, as a Markdown table."""
    return markdown_table(
        ["word", "what it means"], [[f"**{word}**", says] for word, says in ((name, GLOSSARY[name]) for name in names)]
    )
