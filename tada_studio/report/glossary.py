"""The glossary as a table."""

from tada_studio.glossary import GLOSSARY
from tada_studio.report.tables import markdown_table


def glossary_table() -> str:
    """The glossary as a Markdown table."""
    return markdown_table(["word", "what it means"], [[f"**{word}**", says] for word, says in GLOSSARY.items()])
