"""Zips that were made to hurt: nothing is written outside the target, nothing beyond a bound, and nothing is repaired."""

import stat
import struct
import zipfile
import zlib

import pytest

from tada_studio import pipeline
from tada_studio.errors import AdapterError
from tada_studio.lora import CONFIG, WEIGHTS
from tada_studio.read import read_adapter
from tada_studio.read.unpack import unpack


def zipped(path, entries, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return path


def entry(name, mode=0o100644):
    info = zipfile.ZipInfo()
    info.filename = info.orig_filename = name  # ZipInfo(name) would tidy it up
    info.external_attr = mode << 16
    return info


def good(pico, home=""):
    return [(f"{home}{name}", (pico.task / name).read_bytes()) for name in (CONFIG, WEIGHTS)]


@pytest.mark.parametrize("home", ["", "my-lora/", "a/b/"])
def test_a_zipped_adapter_is_that_adapter(home, pico, tmp_path):
    archive = zipped(
        tmp_path / "my-lora.zip", [*good(pico, home), (f"{home}README.md", "hello"), (f"{home}optimizer.pt", b"x")]
    )
    found = pipeline.read_adapter(archive)
    assert found.digest == read_adapter(pico.task).digest and found.label == "my-lora"
    target = tmp_path / "target"
    target.mkdir()
    assert sorted(path.name for path in unpack(archive, target).iterdir()) == sorted([CONFIG, WEIGHTS])


def flipped(archive, at, bits):
    """An archive with bits set in every entry's flags, in both of the places where they stand."""
    content = bytearray(archive.read_bytes())
    for mark, offset in ((b"PK\x03\x04", at), (b"PK\x01\x02", at + 2)):
        start = 0
        while (start := content.find(mark, start)) >= 0:
            (flags,) = struct.unpack_from("<H", content, start + offset)
            struct.pack_into("<H", content, start + offset, flags | bits)
            start += 4
    archive.write_bytes(content)


BAD = {
    "climbs": lambda good: [*good, (entry("../outside/evil"), b"x")],
    "climbs from inside": lambda good: [*good, (entry("a/../../outside/evil"), b"x")],
    "is absolute": lambda good: [*good, (entry("/tmp/evil"), b"x")],
    "is absolute on Windows": lambda good: [*good, (entry("C:/evil"), b"x")],
    "has backslashes": lambda good: [*good, (entry("..\\outside\\evil"), b"x")],
    "has a NUL": lambda good: [*good, (entry("evil\0.txt"), b"x")],
    "has control characters": lambda good: [*good, (entry("evil\x1b[2J"), b"x")],
    "has an endless name": lambda good: [*good, (entry("e" * 3000), b"x")],
    "is a link": lambda good: [*good, (entry("link", stat.S_IFLNK | 0o777), b"/etc/passwd")],
    "is a link for weights": lambda good: [good[0], (entry(WEIGHTS, stat.S_IFLNK | 0o777), b"/etc/passwd")],
    "is a device": lambda good: [*good, (entry("zero", stat.S_IFCHR | 0o666), b"")],
    "is a bomb": lambda good: [*good, ("bomb", b"\0" * 50_000_000)],
    "is a bomb for a config": lambda good: [(CONFIG, b" " * 50_000_000), good[1]],
    "is nested": lambda good: [*good, ("inner.zip", b"PK\x03\x04")],
    "is only nested": lambda good: [("adapter.zip", b"PK\x03\x04")],
    "has case twins": lambda good: [*good, (CONFIG.upper(), b"{}")],
    "has two adapters": lambda good: [*good, *((f"other/{name}", content) for name, content in good)],
    "has no adapter": lambda good: [("hello.txt", b"x")],
    "has a thousand files": lambda good: [*good, *((f"f{i}", b"") for i in range(1000))],
    "is empty": lambda good: [],
}


@pytest.mark.parametrize("make", BAD.values(), ids=BAD)
def test_bad_archives_are_one_sentence_and_write_nothing(make, pico, tmp_path, refused):
    archive = zipped(tmp_path / "a.zip", make(good(pico)))
    target = tmp_path / "target"
    target.mkdir()
    assert str(archive) in refused(unpack, archive, target)
    assert list(target.iterdir()) == []


def test_twins_of_one_name_are_refused(pico, tmp_path, refused):
    with pytest.warns(UserWarning, match="Duplicate name"):
        archive = zipped(tmp_path / "a.zip", [*good(pico), (CONFIG, b"{}")])
    (tmp_path / "target").mkdir()
    assert "two files of one name" in refused(unpack, archive, tmp_path / "target")


HARM = {
    "encrypted": lambda a: flipped(a, 6, 1),
    "of a method nobody knows": lambda a: flipped(a, 8, 0x40),
    "cut short": lambda a: a.write_bytes(a.read_bytes()[:-30]),
    "not a zip": lambda a: a.write_bytes(b"hello"),
    "an empty file": lambda a: a.write_bytes(b""),
    "damaged inside": lambda a: a.write_bytes(
        a.read_bytes().replace(zlib.compress(b"")[:1], b"\0", 1)[:200] + a.read_bytes()[210:]
    ),
}


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM)
def test_broken_archives_are_one_sentence(harm, pico, tmp_path, refused):
    archive = zipped(tmp_path / "a.zip", good(pico))
    harm(archive)
    (tmp_path / "target").mkdir()
    refused(unpack, archive, tmp_path / "target")


def test_entries_that_are_too_much_only_together_are_refused(pico, tmp_path, refused, monkeypatch):
    """Each file is small enough by itself; it is their sum that would fill the disk."""
    entries = good(pico)
    together = sum(len(content) for _, content in entries)
    monkeypatch.setattr("tada_studio.files.MOST_BYTES", together - 1)
    archive = zipped(tmp_path / "a.zip", entries)
    (tmp_path / "target").mkdir()
    assert "unfolds to more than" in refused(unpack, archive, tmp_path / "target")


def test_an_archive_that_lies_about_its_size_is_stopped_while_it_is_written(pico, tmp_path):
    archive = zipped(tmp_path / "a.zip", [good(pico)[0], (WEIGHTS, b"\0" * 500_000)])
    content = bytearray(archive.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):  # where the unpacked size stands
        start = content.rfind(mark)
        struct.pack_into("<I", content, start + offset, 1000)
    archive.write_bytes(content)
    (tmp_path / "target").mkdir()
    with pytest.raises(AdapterError):
        unpack(archive, tmp_path / "target")
    assert sum(path.stat().st_size for path in (tmp_path / "target").iterdir()) < 10_000
