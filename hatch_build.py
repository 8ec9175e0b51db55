"""What the package says of itself on PyPI: the README without the Space's front matter, its links and pictures absolute.

Called by hatchling (``[tool.hatch.metadata.hooks.custom]`` in pyproject.toml).
"""

import re
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface


class ReadmeHook(MetadataHookInterface):
    """Puts the readme in, which pyproject.toml calls dynamic."""

    def update(self, metadata: dict) -> None:
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": pypi_readme(text, metadata["urls"]["Source"])}


def pypi_readme(text: str, home: str) -> str:
    """A README that can be read away from its repository, which lies at ``home``."""
    if text.startswith("---\n"):
        text = text.split("\n---\n", 1)[1].lstrip()

    def absolute(link: re.Match) -> str:
        mark, says, path = link.groups()
        return f"{mark}[{says}]({home}/{'raw' if mark else 'blob'}/main/{path})"

    return re.sub(r"(!?)\[([^\]]*)\]\((?![a-z]+:|#)([^)\s]+)\)", absolute, text)
