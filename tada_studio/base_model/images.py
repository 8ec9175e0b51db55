"""Images, as people bring them and as a base takes them: folders, zips and files that are opened with suspicion.

An image is known by its content: two files with the same bytes are one input. Nothing is decoded before its header was
judged, and what could mean two things (animations, drawings, numbers beyond 16 bits) is refused in one sentence.
"""

import hashlib
import io
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageOps
from torch import Tensor

from tada_studio import scratch
from tada_studio.errors import BaseError, InputError
from tada_studio.files import is_here, packed, path_of, shown, write_entry

T = TypeVar("T")

#: What is opened, by the name that Pillow gives it, and how such files are called.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
#: Images of other kinds: leaving them out of a folder without a word would be worse than refusing it.
OTHERS = (".svg", ".tif", ".tiff", ".heic", ".avif", ".jp2", ".psd", ".ico")
MOST_PIXELS, MOST_BYTES, MOST_FILES = 50_000_000, 64_000_000, 20_000


@dataclass(frozen=True)
class ImageFile:
    """An image on disk; equal when its bytes are, wherever it lies. ``digest``: SHA-256 of the file."""

    digest: str
    path: Path = field(compare=False)


# -- finding ---------------------------------------------------------------------------------------------------------


def is_image(path: Path) -> bool:
    """Whether a file is called as an image is, be it one that can be opened here or not."""
    return path.suffix.lower() in (*SUFFIXES, *OTHERS)


def image_file(path: str | Path) -> ImageFile:
    """One image, its header judged, not yet decoded. Raises InputError."""
    path = Path(path)
    content = _content(path)
    with _judged(path, content):
        return ImageFile(hashlib.sha256(content).hexdigest(), path)


def image_files(folder: str | Path) -> list[ImageFile]:
    """All images in a folder and below it, in the order of their names. Raises InputError for one that cannot be used."""
    folder = Path(folder)
    found = sorted(path for path in folder.rglob("*") if is_image(path) and not _hidden(path.relative_to(folder)))
    if len(found) > MOST_FILES:
        raise InputError(f"{folder}: holds {len(found):,} images; give a folder of at most {MOST_FILES:,}.")
    return [image_file(path) for path in found]


def _hidden(path: Path) -> bool:
    """What archivers and systems put beside files (.DS_Store, __MACOSX) is nobody's image."""
    return any(part.startswith((".", "__MACOSX")) for part in path.parts)


def image_beside(items_file: Path, name: Any, where: str) -> ImageFile:
    """The image that a line of an items file names, relative to it and never outside its folder. Raises InputError."""
    if not isinstance(name, str) or not name or "\0" in name:
        raise InputError(
            f"{where}: image = {shown(name)}; give the path of an image file, relative to {items_file.name}."
        )
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:|\w+://", name):
        raise InputError(
            f"{where}: image = {shown(name)} leads out of the folder of {items_file.name}; put the images beside it."
        )
    if not (is_here(items_file.parent / path) and (items_file.parent / path).is_file()):
        raise InputError(
            f"{where}: there is no {shown(name)} beside {items_file.name}. Give a folder or a zip that holds it with its images."
        )
    return image_file(items_file.parent / path)


def in_folder_of(path: Path, read: Callable[[Path], T]) -> T:
    """``read`` of a folder, or of what a zip holds, with errors that name the zip. Raises InputError."""
    folder = path if path.is_dir() else unpacked_images(path)
    try:
        return read(folder)
    except InputError as error:
        raise InputError(str(error).replace(str(folder), str(path))) from error


def unpacked_images(archive: str | Path) -> Path:
    """The folder of a zip's images and .jsonl files, unpacked once while its bytes are the same; gone when the process ends.

    Raises InputError.
    """
    archive = path_of(archive)
    if not archive.is_file():
        raise InputError(f"{archive}: there is no such file. Give a zip of images, or the folder itself.")
    about = archive.stat()
    return _unpacked(archive.resolve(), about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=64)
def _unpacked(archive: Path, written: int, size: int) -> Path:
    home = Path(tempfile.mkdtemp(prefix="images-", dir=scratch.root()))
    target = home / archive.stem[:100]  # people know their images by the archive's name
    target.mkdir(parents=True)
    try:
        return _unpack(archive, target)
    except InputError:
        shutil.rmtree(home, ignore_errors=True)
        raise


def _unpack(archive: Path, target: Path) -> Path:
    def wanted(name: PurePosixPath) -> bool:
        return (is_image(Path(name)) or name.suffix.lower() == ".jsonl") and not _hidden(Path(name))

    with packed(archive, MOST_FILES, InputError, "images") as (content, entries):
        chosen = [entry for entry in entries if wanted(PurePosixPath(entry.filename))]
        if not chosen:
            raise InputError(f"{archive}: holds no image. Zip a folder of images, or of folders by label.")
        for entry in chosen:
            path = target / entry.filename
            path.parent.mkdir(parents=True, exist_ok=True)
            write_entry(content, entry, path)
    return target


# -- opening ---------------------------------------------------------------------------------------------------------


def opened(file: ImageFile, channels: int = 3) -> Image.Image:
    """The decoded image, upright, as grey bytes (``channels`` 1) or RGB. Raises InputError."""
    content = _content(file.path)
    if hashlib.sha256(content).hexdigest() != file.digest:
        raise InputError(f"{file.path}: changed since it was first read. Open the folder again.")
    with _judged(file.path, content) as image:
        try:
            image.load()
            return ImageOps.exif_transpose(_in_bytes(image)).convert("L" if channels == 1 else "RGB")
        except Exception as error:  # Pillow's decoders raise anything from OSError to struct.error
            raise InputError(
                f"{file.path}: is damaged or cut short ({shown(error)}). Save it again, or leave it out."
            ) from error


@lru_cache(maxsize=512)
def thumbnail(path: str | Path, side: int = 96) -> bytes:
    """A PNG of an image, at most ``side`` pixels wide and high; small ones are enlarged. Raises InputError."""
    image = opened(image_file(path))
    image = ImageOps.contain(
        image, (side, side), Image.Resampling.NEAREST if max(image.size) < side else Image.Resampling.LANCZOS
    )
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def _in_bytes(image: Image.Image) -> Image.Image:
    """16 bits a pixel as their upper 8; Pillow itself would clip what is above 255 to white."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    return image


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path}: is larger than {MOST_BYTES // 1_000_000} MB. Give smaller images.")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). Give an image file.") from error


def _judged(path: Path, content: bytes) -> Image.Image:
    """The image as its header describes it, not yet decoded. Raises InputError for one that must not be."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the bound below is tighter
            image = Image.open(io.BytesIO(content), formats=FORMATS)
    except Image.DecompressionBombError:
        raise InputError(f"{path}: unfolds to far too many pixels. Give images of at most {_MOST}.") from None
    except Exception:  # what Pillow's header readers raise is not worth telling apart
        raise InputError(f"{path}: {_what(path, content)}. Give PNG, JPEG, WebP, BMP or GIF files.") from None
    if image.width * image.height > MOST_PIXELS:
        raise InputError(f"{path}: has {image.width:,} x {image.height:,} pixels. Give images of at most {_MOST}.")
    if getattr(image, "is_animated", False):
        raise InputError(f"{path}: is an animation. Save the one frame that is meant.")
    if image.mode in ("I", "F"):
        raise InputError(f"{path}: holds {image.mode} numbers, whose white is not known. Save it with 8 or 16 bits.")
    return image


_MOST = f"{MOST_PIXELS // 1_000_000} million pixels"


def _what(path: Path, content: bytes) -> str:
    head = content[:512].lstrip().lower()
    if b"<svg" in content[:4096].lower() or path.suffix.lower() == ".svg":
        return "is a drawing (SVG), not an image of pixels"
    if head.startswith((b"<!doctype", b"<html")):
        return "is a web page"
    if head.startswith(b"version https://git-lfs"):
        return "is a Git-LFS pointer, not the image itself"
    return "is empty" if not content else "is no image that can be opened here"


# -- for a base ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ImageReader:
    """How one base wants its images: what a tokenizer is to a text model.

    channels: 1 (grey) or 3 (RGB), to which every image is converted first; size: (height, width) of what comes out
    prepare:  images -> (n, channels, height, width) pixel values; says: where that was taken from, for a person
    """

    channels: int
    prepare: Callable[[Sequence[Image.Image]], Tensor]
    says: str = ""

    def __call__(self, files: Sequence[ImageFile]) -> Float[Tensor, "n channels height width"]:
        """Pixel values of some images. Raises InputError for an image, BaseError if the base's own settings do not work."""
        return self.pixels([opened(file, self.channels) for file in files])

    def pixels(self, images: Sequence[Image.Image]) -> Float[Tensor, "n channels height width"]:
        """Pixel values of images that are open already. Raises BaseError."""
        try:
            return self.prepare(images)
        except (ValueError, TypeError, KeyError, RuntimeError) as error:
            raise BaseError(
                f"The base's preprocessor_config.json does not work on its own kind of image ({shown(error)}). Remove it to "
                "have images resized to the model's size and scaled to [-1, 1]."
            ) from error


#: Numbers in one batch of pixel values: on a CPU small batches are as fast as large ones, and 2 of 224 x 224 are enough.
BATCH_NUMBERS = 400_000


def in_batches(reader: ImageReader, files: Sequence[ImageFile]) -> Iterator[Tensor]:
    """Pixel values of images in their order, a few at a time; as many as the size of the first allows."""
    each = max(1, min(64, BATCH_NUMBERS // reader(files[:1]).numel()))
    for start in range(0, len(files), each):
        yield reader(files[start : start + each])


def scaled(size: tuple[int, int]) -> Callable[[Sequence[Image.Image]], Tensor]:
    """Preparation for a base that brings none: resized to (height, width), scaled to [-1, 1] (mean = std = .5)."""

    def prepare(images: Sequence[Image.Image]) -> Tensor:
        small = [np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR), dtype=np.float32) for image in images]
        values = torch.from_numpy(np.stack(small))
        values = values[:, None] if values.ndim == 3 else values.permute(0, 3, 1, 2)
        return (values / 255 - 0.5) / 0.5

    return prepare
