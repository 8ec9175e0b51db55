"""Items of a data set on the Hugging Face Hub: of its files one is fetched, which a name says or which is the only test split."""

import re
from collections.abc import Sequence
from pathlib import Path

from tada_studio.errors import InputError
from tada_studio.evaluation.tables import TABLES
from tada_studio.files import is_here, shown
from tada_studio.read.hub import in_words

#: owner/name, owner/name@revision, owner/name:path/of/a/file.parquet
_REF = re.compile(
    r"(?P<name>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>[\w./-]+))?(?::(?P<file>[\w./ -]+))?",
)
_ENDINGS = (".jsonl", *TABLES)
_TEST = re.compile(r"(^|[/_.-])test([/_.-]|$)")
#: Bytes of a file that is fetched; items are texts.
MOST = 200_000_000
#: Files that are named where several would do.
_NAMED = 6
#: Seconds without an answer after which the Hub is given up.
_PATIENCE = 20


def at_hand(ref: str) -> str | Path:
    """A file of items as it stands, and a data set's id as the file of it that was fetched. Raises InputError.

    What ends like a file of items is one, so that a mistyped path asks nobody.
    """
    found = _REF.fullmatch(ref)
    a_file = found is None or (found["file"] is None and ref.lower().endswith((*_ENDINGS, ".zip", ".json", ".txt")))
    return ref if a_file or is_here(ref) else fetch_items(ref)


def fetch_items(ref: str, into: Path | None = None) -> Path:
    """The file of items of a data set, by its Hub id; with ``:file`` after it that file, else the only one, or the only one of a
    test split. into: where it goes; None: the Hub's own cache. Raises InputError."""
    from huggingface_hub import HfApi, hf_hub_download

    found = _REF.fullmatch(ref.strip())
    if found is None:
        raise InputError(
            f"{shown(ref)}: is no data set's id. Give owner/name, or owner/name:data/test.jsonl for one file."
        )
    name, revision, wanted = found["name"], found["revision"], found["file"]
    with in_words(ref, kind=InputError, instead="or give a file of your own"):
        about = HfApi().dataset_info(name, revision=revision, files_metadata=True, timeout=_PATIENCE)
    sizes = {one.rfilename: one.size or 0 for one in about.siblings or () if one.rfilename.lower().endswith(_ENDINGS)}
    file = _meant(name, sorted(sizes), wanted)
    if sizes[file] > MOST:
        raise InputError(
            f"{name}: {file} has {sizes[file] / 1e6:,.0f} MB; {MOST / 1e6:,.0f} are the most. Name a smaller file."
        )
    with in_words(ref, kind=InputError, instead="or give a file of your own"):
        return Path(hf_hub_download(name, file, repo_type="dataset", revision=about.sha, local_dir=into))


def _meant(name: str, files: Sequence[str], wanted: str | None) -> str:
    """The one file that is meant. Raises InputError."""
    if not files:
        raise InputError(f"{name}: holds no file of items ({', '.join(_ENDINGS)}).")
    fitting = [file for file in files if file == wanted or (wanted and file.endswith(f"/{wanted}"))]
    if wanted is None:
        fitting = list(files) if len(files) == 1 else [file for file in files if _TEST.search(file.lower())]
    if len(fitting) == 1:
        return fitting[0]
    named = fitting or files
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    says = f"has no file {wanted}; it" if wanted and not fitting else "it"
    raise InputError(f"{name}: {says} holds {', '.join(named[:_NAMED])}{more}. Name one of them: {name}:{named[0]}")
