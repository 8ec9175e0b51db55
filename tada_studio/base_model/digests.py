"""SHA-256 of a base's files: every byte of them, streamed once and remembered by path, size, time of change and inode."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

from tada_studio.base_model.loading import in_bytes
from tada_studio.files import sha256
from tada_studio.progress import ProgressFn, ignore, silent

#: What changes a base's answers: its weights, its config, how text becomes tokens, how images are prepared.
_FILES = (
    "*.safetensors", "*.safetensors.index.json", "config.json", "tokenizer*", "vocab*", "merges.txt", "*.model",
    "special_tokens_map.json", "added_tokens.json", "preprocessor_config.json", "*.jinja",
)  # fmt: skip
#: Files remembered; beyond, the oldest go.
_MOST = 4096


def folder_digest(folder: Path, memory: Path | None = None, progress: ProgressFn = silent) -> str:
    """One digest of all the files in a model's folder that its answers depend on. memory: where digests are remembered."""
    files = sorted({file for pattern in _FILES for file in folder.glob(pattern) if file.is_file()})
    known = _remembered(memory)
    before = dict(known)
    sha = hashlib.sha256()
    done, total = 0, sum(file.stat().st_size for file in files)
    for file in files:
        start = done

        def read(count: int, start: int = start) -> None:
            progress(in_bytes(f"checking every byte of {folder.name}", start + count, total))

        sha.update(f"{file.name} {file_digest(file, known, read)}\n".encode())
        done += file.stat().st_size
    if memory is not None and known != before:
        _remember(memory, known)
    return sha.hexdigest()


def file_digest(file: Path, known: dict[str, list[str]], read: Callable[[int], None] = ignore) -> str:
    """The SHA-256 of a file, taken from ``known`` while the file is the same, and put there. read: receives the bytes so far."""
    path, found = str(file.resolve()), file.stat()
    stamp = f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}"
    kept = known.pop(path, None)
    known[path] = kept if kept is not None and kept[0] == stamp else [stamp, sha256(file, read)]
    return known[path][1]


def _remembered(memory: Path | None) -> dict[str, list[str]]:
    try:
        content = json.loads(memory.read_text(encoding="utf-8")) if memory is not None else {}
        well_formed = isinstance(content, dict) and all(
            isinstance(kept, list) and len(kept) == 2 and all(isinstance(part, str) for part in kept)
            for kept in content.values()
        )
        return content if well_formed else {}
    except (OSError, ValueError, RecursionError):  # nothing yet, or not ours
        return {}


def _remember(memory: Path, known: dict[str, list[str]]) -> None:
    """Kept for the next process; where nothing may be written, each reads the files itself."""
    newest = dict(list(known.items())[-_MOST:])
    unfinished = memory.with_name(f"{memory.name}.{os.getpid()}.part")
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(json.dumps(newest), encoding="utf-8")
        unfinished.replace(memory)
    except OSError:
        unfinished.unlink(missing_ok=True)
