"""An exported folder to the Hub, if it is still what was certified and nothing of somebody's is written over."""

import re
from pathlib import Path
from typing import Any

from tada_studio.errors import ExportError
from tada_studio.exporting.certificate import CERTIFICATE, SIGNATURE, changed_files, read_certificate, tampered
from tada_studio.files import path_of
from tada_studio.read.hub import in_words


def push(folder: str | Path, repo_id: str, private: bool = True, token: str | None = None) -> str:
    """Upload an exported folder as a model repository; returns its address.

    token: one that may write; None: whatever this machine is logged in with. Only the certified files and a signature go, as one
    commit, and only into a new repository or one that holds an earlier export. Raises ExportError.
    """
    from huggingface_hub import HfApi, constants

    folder = path_of(folder, ExportError)
    _check_pushable(folder, repo_id)
    if constants.HF_HUB_OFFLINE:
        raise ExportError(
            f"{repo_id}: cannot be reached offline (HF_HUB_OFFLINE is set). Take the zip or the folder, and push it from elsewhere."
        )
    api = HfApi(token=token or None)
    with in_words(repo_id, "pushed to", ExportError, token, "and a token that may write there"):
        _check_target(api, repo_id, private)
        api.create_repo(repo_id, private=private, exist_ok=True)
        names = [*read_certificate(folder)["outputs"], CERTIFICATE, SIGNATURE]
        api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            allow_patterns=names,
            delete_patterns=SIGNATURE,  # of an earlier export, if this one is not signed
            commit_message="Merged with TaDA Studio",
        )
    return f"{api.endpoint}/{repo_id}"


def _check_pushable(folder: Path, repo_id: str) -> None:
    if not re.fullmatch(r"[\w][\w.-]{0,95}/[\w][\w.-]{0,95}", repo_id, re.ASCII):
        raise ExportError(
            f"{repo_id!r}: is no name of a repository. Give owner/name, such as your-name/minerals-merged."
        )
    written = read_certificate(folder)
    changed = changed_files(folder, written["outputs"])
    if changed or written["verdict"] != "pass" or tampered(folder):
        raise ExportError(
            f"{folder}: {', '.join(changed) or 'its certificate'} does not hold any more. Export it again."
        )


def _check_target(api: Any, repo_id: str, private: bool) -> None:
    """Nothing of somebody's is written over, and nothing that was to be private becomes public."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        found = api.model_info(repo_id)
    except RepositoryNotFoundError:
        return
    held = {one.rfilename for one in found.siblings or ()} - {".gitattributes"}
    if held and CERTIFICATE not in held:
        raise ExportError(f"{repo_id}: exists and holds no export of TaDA Studio. Give a new name.")
    if private and not found.private:
        raise ExportError(f"{repo_id}: exists and is public. Give a new name, or say that it may be public.")
