"""Images from strangers: opened exactly as people mean them, or refused in one sentence before anything is decoded."""

import io
import struct
import zipfile
import zlib

import numpy as np
import pytest
from pico_vision import by_label, picture, pictures
from PIL import Image

from tada_studio.base_model.images import MOST_PIXELS, image_beside, image_file, image_files, opened, unpacked_images
from tada_studio.base_model.inputs import read_inputs
from tada_studio.errors import InputError
from tada_studio.evaluation import LabelItem, read_items


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "gif"])
@pytest.mark.parametrize(("channels", "mode"), [(3, "RGB"), (1, "L")])
def test_every_usual_format_is_opened_in_the_colours_that_the_base_wants(suffix, channels, mode, tmp_path):
    picture(1).save(tmp_path / f"one.{suffix}")
    image = opened(image_file(tmp_path / f"one.{suffix}"), channels)
    assert image.mode == mode and image.size == (24, 24)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1", "LA"])
def test_other_colour_models_become_rgb(mode, tmp_path):
    suffix = "jpg" if mode == "CMYK" else "png"
    picture(1, mode=mode).save(tmp_path / f"one.{suffix}")
    assert opened(image_file(tmp_path / f"one.{suffix}")).mode == "RGB"


def test_sixteen_bits_lose_their_lower_eight_and_nothing_is_clipped(tmp_path):
    ramp = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    grey = np.asarray(opened(image_file(tmp_path / "deep.png"), 1))
    assert np.array_equal(grey, (ramp >> 8).astype(np.uint8))


def test_an_image_is_turned_as_its_camera_held_it(tmp_path):
    flat = Image.new("RGB", (8, 4))
    exif = flat.getexif()
    exif[0x0112] = 6
    flat.save(tmp_path / "turned.jpg", exif=exif)
    assert opened(image_file(tmp_path / "turned.jpg")).size == (4, 8)


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header promises that size; a few bytes on disk."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def animated() -> bytes:
    file = io.BytesIO()
    picture(1).save(file, "GIF", save_all=True, append_images=[picture(2)])
    return file.getvalue()


def floats() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.ones((4, 4), dtype=np.float32)).save(file, "TIFF")
    return file.getvalue()


def png(seed: int = 1) -> bytes:
    file = io.BytesIO()
    picture(seed).save(file, "PNG")
    return file.getvalue()


AT_ONCE = {
    "bomb.png": (png_of(60_000, 60_000), "too many pixels"),
    "large.png": (png_of(MOST_PIXELS // 1000 + 1, 1000), "50,001 x 1,000 pixels"),
    "moving.gif": (animated(), "is an animation"),
    "drawing.svg": (b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>", r"a drawing \(SVG\)"),
    "drawing.png": (b"<svg onload='alert(1)'/>", r"a drawing \(SVG\)"),
    "page.png": (b"<!DOCTYPE html><html></html>", "is a web page"),
    "pointer.jpg": (b"version https://git-lfs.github.com/spec/v1\n", "Git-LFS pointer"),
    "empty.png": (b"", "is empty"),
    "noise.jpg": (bytes(range(256)), "no image that can be opened"),
    "scan.tif": (floats(), "no image that can be opened"),
    "postscript.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image that can be opened"),
}


@pytest.mark.parametrize(("name", "case"), AT_ONCE.items(), ids=AT_ONCE)
def test_what_is_no_plain_image_is_refused_by_its_header(name, case, tmp_path, monkeypatch):
    content, says = case
    (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("was decoded"))
    with pytest.raises(InputError, match=rf"{name}.*{says}"):
        image_files(tmp_path)


def test_a_truncated_image_is_refused_when_it_is_decoded(tmp_path):
    (tmp_path / "half.png").write_bytes(png()[:-200])
    with pytest.raises(InputError, match="damaged or cut short"):
        opened(image_file(tmp_path / "half.png"))


def test_a_file_that_changes_after_it_was_read_is_refused(tmp_path):
    picture(1).save(tmp_path / "one.png")
    file = image_file(tmp_path / "one.png")
    picture(2).save(tmp_path / "one.png")
    with pytest.raises(InputError, match="changed since"):
        opened(file)


def test_an_image_is_its_content_wherever_it_lies(tmp_path):
    for name in ("a.png", "b.png"):
        picture(1).save(tmp_path / name)
    picture(2).save(tmp_path / "c.png")
    a, b, c = image_files(tmp_path)
    assert a == b != c and hash(a) == hash(b)


# -- folders, listings, zips -----------------------------------------------------------------------------------------


def test_a_folder_gives_its_images_by_name_and_nothing_of_what_systems_leave(tmp_path):
    pictures(tmp_path / "in", 3)
    (tmp_path / "in" / "._000.png").write_bytes(b"apple")
    (tmp_path / "in" / "notes.txt").write_text("no image")
    pictures(tmp_path / "in" / "__MACOSX", 1)
    assert [file.path.name for file in read_inputs(tmp_path / "in")] == ["000.png", "001.png", "002.png"]
    with pytest.raises(InputError, match="holds no image"):
        (tmp_path / "none").mkdir()
        read_inputs(tmp_path / "none")


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ("../secret.png", "leads out"),
        ("..\\\\secret.png", "leads out"),
        ("/etc/passwd", "leads out"),
        ("C:/a.png", "leads out"),
        ("http://127.0.0.1/a.png", "leads out"),
        ("gone.png", "there is no"),
        ("", "give the path"),
    ],
)
def test_a_listing_names_images_beside_it_and_nothing_else(named, says, tmp_path):
    picture(1).save(tmp_path / "secret.png")
    (tmp_path / "in").mkdir()
    listing = tmp_path / "in" / "items.jsonl"
    listing.write_text(f'{{"image": "{named}", "label": "cat"}}\n')
    for read in (read_items, read_inputs):
        with pytest.raises(InputError, match=rf"line 1.*{says}"):
            read(listing)
    with pytest.raises(InputError, match="give the path"):
        image_beside(listing, 7, "here")


def zipped(path, entries):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def test_a_zip_of_folders_by_label_and_a_zip_of_a_listing_are_items(tmp_path):
    folders = zipped(tmp_path / "a.zip", {"all/cat/1.png": png(1), "all/dog/1.png": png(2), "__MACOSX/x.png": b""})
    items = read_items(folders)
    assert [item.label for item in items] == ["cat", "dog"] and items[0].names == ("cat", "dog")
    listing = '{"image": "x/1.png", "label": "dog"}\n{"image": "x/2.png", "label": 0}\n'
    listed = zipped(tmp_path / "b.zip", {"items.jsonl": listing, "x/1.png": png(2), "x/2.png": png(3)})
    assert [(item.label, item.names) for item in read_items(listed)] == [("dog", ("dog",)), (0, ("dog",))]
    assert read_items(listed)[0].content == items[1].content
    assert len(read_inputs(folders)) == 2


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"../out.png": png()}, "leads out of its folder"),
        ({"a.png": png(), "A.PNG": png()}, "two files of one name"),
        ({"notes.txt": b"none"}, "holds no image"),
        ({"inner.zip": b"PK"}, "an archive in the archive"),
    ],
)
def test_a_zip_that_is_not_plain_is_refused(entries, says, tmp_path):
    with pytest.raises(InputError, match=says):
        unpacked_images(zipped(tmp_path / "bad.zip", entries))
    with pytest.raises(InputError, match=r"bad2\.zip: a\.png lies in no label's folder"):
        read_items(zipped(tmp_path / "bad2.zip", {"a.png": png()}))
    (tmp_path / "cut.zip").write_bytes(b"PK\x03\x04nothing")
    with pytest.raises(InputError, match=r"cut\.zip: cannot be unpacked"):
        unpacked_images(tmp_path / "cut.zip")


def test_images_outside_a_labels_folder_are_no_items(tmp_path):
    by_label(tmp_path / "in", ("cat", "dog"), 1)
    assert all(isinstance(item, LabelItem) for item in read_items(tmp_path / "in"))
    picture(9).save(tmp_path / "in" / "loose.png")
    with pytest.raises(InputError, match=r"loose\.png lies in no label's folder"):
        read_items(tmp_path / "in")


@pytest.mark.parametrize("label", ["true", "-1", "1.5", "null", '""', "[1]"])
def test_a_label_is_a_name_or_a_row(label, tmp_path):
    picture(1).save(tmp_path / "a.png")
    (tmp_path / "items.jsonl").write_text(f'{{"image": "a.png", "label": {label}}}\n')
    with pytest.raises(InputError, match=r"line 1: label = "):
        read_items(tmp_path / "items.jsonl")
