"""Who made an export: a signature of all its files, certificate.json among them, by a key that lies on this machine.

The format is that of OpenSSF's Model Signing, by its own package (the extra ``sign``), so that whoever has that package checks
a folder without this one. No network: the keys are two PEM files. The certificate says that a folder is whole, this says whose.
"""

import contextlib
import hashlib
import importlib
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tada_studio.errors import ExportError, InputError
from tada_studio.exporting.certificate import BESIDE, SIGNATURE, added_files, changed_files, read_certificate, tampered
from tada_studio.files import path_of, shown

#: A signature names each file once: a few kB.
_MAX_BYTES = 1_000_000
_UNFINISHED = f".new-{SIGNATURE}"
_MAKE = "openssl ecparam -name prime256v1 -genkey -noout -out key.pem; openssl ec -in key.pem -pubout -out public.pem"


@dataclass(frozen=True)
class Signature:
    """What is known of a folder's signature. holds: None if it was not asked whose it is."""

    holds: bool | None
    says: str


def check_key(key: str | Path) -> None:
    """Before anything takes long: can this key sign? Raises InputError."""
    _signer(_package("signing"), path_of(key))


def sign(folder: str | Path, key: str | Path) -> Signature:
    """Sign an exported folder with the private key in a PEM file: writes model.sig. Raises InputError, or ExportError for a
    folder that is not as it was certified."""
    folder, package = path_of(folder, ExportError), _package("signing")
    signer = _signer(package, path_of(key))
    (folder / _UNFINISHED).unlink(missing_ok=True)
    _check_whole(folder)
    with tempfile.TemporaryDirectory(prefix="tada-studio-sign-") as other:
        try:
            signer.set_hashing_config(_files_of()).sign(folder, Path(other) / SIGNATURE)
            _write(folder / SIGNATURE, (Path(other) / SIGNATURE).read_bytes())
        except (OSError, ValueError) as error:
            raise ExportError(
                f"{folder}: could not be signed ({shown(error)}). Is there space, and may you write there?"
            ) from error
    return Signature(
        True, f"Signed: {SIGNATURE}, by the key whose public half is {_fingerprint(_public_of(Path(key)))}."
    )


def signature(folder: str | Path, public_key: str | Path | None = None) -> Signature:
    """Whether a folder is signed, and, with a public key in a PEM file, whether by it. Raises InputError for what is no key."""
    file = path_of(folder, ExportError) / SIGNATURE
    if public_key is None:
        there = f"{SIGNATURE} is there; whose it is was not checked: give --key."
        return Signature(None, there if file.is_file() else "Not signed.")
    key = path_of(public_key)
    verifier = _verifier(_package("verifying"), key)
    if not file.is_file():
        return Signature(False, f"Not signed: there is no {SIGNATURE}.")
    problem = _problem(verifier, file)
    if problem is not None:
        return Signature(False, f"The signature does not hold: {problem}.")
    return Signature(True, f"Signed by this key ({_fingerprint(_pem(key))}), every file as it was then.")


def _problem(verifier: Any, file: Path) -> str | None:
    """Why a signature does not hold; None if it does."""
    from cryptography.exceptions import InvalidSignature

    try:
        if file.stat().st_size > _MAX_BYTES:
            return f"{SIGNATURE} is larger than {_MAX_BYTES:,} bytes"
        with contextlib.redirect_stdout(sys.stderr):  # the package prints remarks; stdout is for --json
            verifier.verify(file.parent, file)
    except InvalidSignature:
        return "it was not made by this key, or was changed"
    except (
        Exception
    ) as error:  # a stranger's file, read by somebody else's parsers: whatever they raise, it does not hold
        return shown(error, 200).rstrip(".") or type(error).__name__
    return None


# -- the package, keys, files --------------------------------------------------------------------------------------


def _package(name: str) -> Any:
    try:
        return importlib.import_module(f"model_signing.{name}")
    except ImportError as error:
        raise InputError(
            f"Signatures need a package that is not here ({error}): pip install 'tada-studio[sign]'."
        ) from error


def _signer(package: Any, key: Path) -> Any:
    try:
        return package.Config().use_elliptic_key_signer(private_key=key)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise _no_key(key, "private key without a password", error) from error


def _verifier(package: Any, key: Path) -> Any:
    try:
        return package.Config().use_elliptic_key_verifier(public_key=key).set_hashing_config(_files_of())
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise _no_key(key, "public key", error) from error


def _no_key(key: Path, kind: str, error: Exception) -> InputError:
    return InputError(
        f"{key}: is no {kind} on one of the curves P-256, P-384 and P-521 ({shown(error)}). A pair is made by: {_MAKE}"
    )


def _files_of() -> Any:
    """Every file but the signature itself and what git and the Hub lay beside; the Hub's cache holds links."""
    return _package("hashing").Config().set_ignored_paths(paths=[SIGNATURE, *BESIDE]).set_allow_symlinks(True)


def _check_whole(folder: Path) -> None:
    """Nobody signs by mistake what was changed since it was certified."""
    outputs = read_certificate(folder)["outputs"]
    wrong = [*changed_files(folder, outputs), *added_files(folder, outputs), *filter(None, [tampered(folder)])]
    if wrong:
        reasons = shown(", ".join(wrong))
        raise ExportError(f"{folder}: is not as it was certified ({reasons}), so it is not signed. Export it again.")


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all; what a kill leaves, the next signing takes away."""
    new = path.with_name(_UNFINISHED)
    with new.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _pem(public_key: Path) -> bytes:
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    return _canonical(load_pem_public_key(public_key.read_bytes()))


def _public_of(private_key: Path) -> bytes:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    return _canonical(load_pem_private_key(private_key.expanduser().read_bytes(), None).public_key())


def _canonical(key: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    content: bytes = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return content


def _fingerprint(pem: bytes) -> str:
    """SHA-256 of the public key's PEM text, as the signature names it too."""
    return f"SHA-256 {hashlib.sha256(pem).hexdigest()[:16]}..."
