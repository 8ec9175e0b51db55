"""A folder comes into its place whole: killed at any moment, the old one or the new one is there, and the rest is swept."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tada_studio.errors import ExportError
from tada_studio.exporting import place
from tada_studio.exporting.certificate import CERTIFICATE


def written(folder, text):
    (folder / CERTIFICATE).write_text(text)
    (folder / "a").write_text(text)


def test_a_new_folder_and_one_that_is_replaced(tmp_path):
    for text in ("one", "two", "three"):
        with place.replacing(tmp_path / "out") as folder:
            written(folder, text)
        assert (tmp_path / "out" / "a").read_text() == text and len(list(tmp_path.iterdir())) == 1
        assert (tmp_path / "out").stat().st_mode & 0o777 == 0o755


def test_what_fails_leaves_the_old_one(tmp_path):
    with place.replacing(tmp_path / "out") as folder:
        written(folder, "old")
    with pytest.raises(ZeroDivisionError), place.replacing(tmp_path / "out") as folder:
        written(folder, "new")
        raise ZeroDivisionError
    assert (tmp_path / "out" / "a").read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_files_and_folder_are_flushed_before_the_rename(tmp_path, monkeypatch):
    seen, honest = [], os.fsync
    monkeypatch.setattr(
        place.os, "fsync", lambda handle: seen.append(str(Path(f"/proc/self/fd/{handle}").readlink())) or honest(handle)
    )
    rename = place._take_place
    monkeypatch.setattr(place, "_take_place", lambda *paths: seen.append("renamed") or rename(*paths))
    with place.replacing(tmp_path / "out") as folder:
        written(folder, "one")
    before = seen[: seen.index("renamed")]
    assert {Path(path).name for path in before} >= {"a", CERTIFICATE, folder.name}
    assert seen[-1] == str(tmp_path)


def test_without_an_exchange_two_renames_do(tmp_path, monkeypatch):
    monkeypatch.setattr(place, "_exchanged", lambda *_: False)
    test_a_new_folder_and_one_that_is_replaced(tmp_path)


def test_a_folder_of_somebody_elses_is_refused(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis").write_text("years of work")
    with pytest.raises(ExportError, match="not written by TaDA Studio"), place.replacing(tmp_path / "out"):
        pass


KILLED = (
    "import os, sys, time; from pathlib import Path; from tada_studio.exporting import place\n"
    "for i in range(10**6):\n"
    "    with place.replacing(Path(sys.argv[1])) as folder:\n"
    "        for name in ('certificate.json', 'a', 'b'): (folder / name).write_text(str(i))\n"
    "    if i == 3: print('going', flush=True)"
)


def test_killed_at_any_moment_there_is_one_whole_folder(tmp_path, monkeypatch):
    out = tmp_path / "out"
    for pause in range(8):
        process = subprocess.Popen([sys.executable, "-c", KILLED, out], stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(0.003 * pause)  # another moment of the loop each time
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        texts = {(out / name).read_text() for name in ("certificate.json", "a", "b")}
        assert len(texts) == 1
    place.sweep(tmp_path, now=time.time() + 2 * place.LEFT_ALONE)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def dead():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_only_what_is_old_dead_and_ours_is_swept(tmp_path):
    names = {
        "swept": f".out.{dead()}.abcd1234.part",
        "running": f".out.{os.getpid()}.abcd1234.part",
        "no pattern of ours": ".out.abcd.part",
        "a person's": "out.part",
    }
    for name in names.values():
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text("a")
    (tmp_path / f".file.{dead()}.abcd1234.part").write_text("a file")
    assert place.sweep(tmp_path) == []  # an hour has not passed
    later = time.time() + 2 * place.LEFT_ALONE
    assert [path.name for path in place.sweep(tmp_path, later)] == [names["swept"]]
    assert len(list(tmp_path.iterdir())) == 4


def test_an_old_folder_that_lost_its_place_is_put_back(tmp_path):
    (tmp_path / f".out.{dead()}.abcd1234.old").mkdir()
    place.sweep(tmp_path, time.time() + 2 * place.LEFT_ALONE)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_export_sweeps_where_it_writes(tmp_path):
    left = tmp_path / f".out.{dead()}.abcd1234.part"
    left.mkdir()
    os.utime(left, (1, 1))
    with place.replacing(tmp_path / "other") as folder:
        written(folder, "one")
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
