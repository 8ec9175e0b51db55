"""Which files of this machine the person at the screen may name. Gradio guards uploads, not paths typed into a box."""

import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tada_studio.errors import InputError
from tada_studio.files import is_here, path_of

_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def on_space() -> bool:
    """Whether this is a Hugging Face Space: a public server, whatever it was started with."""
    return bool(os.environ.get("SPACE_ID"))


def _bare(ref: str) -> str:
    """A path or Hub id without what it was copied with: blanks, quotes, file://, a slash at the end."""
    ref = ref.strip().removeprefix("file://")
    for quote in "\"'":
        if len(ref) > 1 and ref[0] == ref[-1] == quote:
            ref = ref[1:-1].strip()
    return ref.rstrip("/\\") or ref


@dataclass(frozen=True)
class AllowedPaths:
    """root: paths must lie under it (None: anywhere). hosted: on a public server, where no path may be named at all."""

    root: Path | None = None
    hosted: bool = False

    @classmethod
    def here(cls, root: str | Path | None = None, public: bool = False) -> "AllowedPaths":
        """What holds for this process."""
        return cls(Path(root).expanduser().resolve() if root else None, hosted=public or on_space())

    @property
    def base(self) -> Path:
        """What relative paths start from, and where exports go."""
        return self.root or Path.cwd()

    def checked(self, ref: str | None, what: str) -> str:
        """A typed path (made absolute) or Hub id (as it stands). Raises InputError for a path that is out of bounds."""
        ref = _bare(ref or "")
        if not ref:
            raise InputError(f"{what}: nothing was given. Type a folder or a Hub id such as owner/name.")
        try:
            path = path_of(ref)
        except InputError as error:
            raise InputError(f"{what}: {error}") from error
        full = (path if path.is_absolute() else self.base / path).resolve()
        is_path = path.is_absolute() or ref.startswith((".", "~")) or is_here(full) or path.exists()
        if not is_path:
            return ref
        if self.hosted:
            raise InputError(f"{what}: {ref} is a path, and this is a public server. Give a Hub id such as owner/name.")
        if self.root is not None and not full.is_relative_to(self.root):
            raise InputError(f"{what}: {ref} lies outside {self.root}, the folder that this app was started for.")
        return str(full)

    def uploaded(self, path: str, what: str) -> str:
        """A file that was uploaded, by the path that the upload was answered with. Raises InputError for any other file."""
        home = Path(os.environ.get("GRADIO_TEMP_DIR") or Path(tempfile.gettempdir()) / "gradio").resolve()
        full = Path(path).resolve()
        if not full.is_relative_to(home) or not full.is_file():
            raise InputError(f"{what}: is no uploaded file. Upload it first (handle_file in gradio_client does).")
        return str(full)

    def output(self, name: str, within: str | None = None) -> Path:
        """The folder that an export of this name goes to, in the folder ``within`` or where exports go.

        Raises InputError unless the name is a plain one, and for a folder that is out of bounds.
        """
        name = name.strip()
        if not _PLAIN_NAME.fullmatch(name):
            raise InputError(f"Folder name {name!r}: use letters, digits, '.', '-' and '_', and no other folder in it.")
        if self.hosted or not (within or "").strip():
            return self.base / name
        ref = _bare(within or "")
        typed = ref if ref.startswith("~") or Path(ref).is_absolute() else f"./{ref}"  # never a Hub id
        home = Path(self.checked(typed, "In the folder"))
        if home.exists() and not home.is_dir():
            raise InputError(f"In the folder: {home} is a file. Give a folder.")
        return home / name
