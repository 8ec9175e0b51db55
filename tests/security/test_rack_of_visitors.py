"""A rack on a server for strangers: only what is theirs is compared, within their share, and nothing of it stays."""

import shutil
import sys
import zipfile
from pathlib import Path

import pytest
from pico import pico_adapter

sys.path.insert(0, str(Path(__file__).parent))  # the helper that speaks as a browser does

from server import Page

from tada_studio import app
from tada_studio.app.paths import AllowedPaths
from tada_studio.app.tabs.open import rack_box
from tada_studio.errors import InputError
from tada_studio.session import Session
from tada_studio.session.limits import PUBLIC, Limits
from tada_studio.session.visitor import Visitor, size_of


@pytest.fixture(scope="module")
def zips(pico, tmp_path_factory):
    """Three uploads: two adapters and a broken one."""
    home = tmp_path_factory.mktemp("zips")
    shutil.copytree(pico.task, home / "task")
    shutil.copytree(pico.domain, home / "domain")
    pico_adapter(home / "third", pico.base, seed=3)
    (home / "third" / "adapter_config.json").write_text("{")
    for name in ("task", "domain", "third"):
        with zipfile.ZipFile(home / f"{name}.zip", "w") as packed:
            for file in (home / name).iterdir():
                packed.write(file, f"{name}/{file.name}")
    return [home / f"{name}.zip" for name in ("task", "domain", "third")]


def test_no_path_of_the_server_may_be_named():
    for line in ("/etc", ".", "~", "../x"):
        with pytest.raises(InputError, match="public server"):
            rack_box.named(AllowedPaths(hosted=True), f"acme/one\n{line}", None)
    assert rack_box.named(AllowedPaths(hosted=True), " acme/one \n\nacme/two", ["/x/a.zip"]) == [
        "acme/one", "acme/two", "/x/a.zip",
    ]  # fmt: skip


def test_a_visitors_zips_share_one_bound_and_nothing_of_them_stays(zips, tmp_path):
    one = sum(entry.file_size for entry in zipfile.ZipFile(zips[0]).infolist())
    session = Session(Visitor("ann", Limits(unpacked=10 * one, rack=3), tmp_path / "ann"))
    found = session.rack(list(map(str, zips)))
    assert list(found.adapters) == ["task.zip", "domain.zip"] and list(found.left_out) == [str(zips[2])]
    assert size_of(tmp_path / "ann") < 5000, "what was unpacked is gone"
    with pytest.raises(InputError, match="4 adapters in one rack: on this public server 3"):
        session.rack(["a.zip"] * 4)
    tight = Session(Visitor("bob", Limits(unpacked=int(1.2 * one)), tmp_path / "bob"))
    with pytest.raises(InputError, match=r"1 could be read.* unfolds to"):
        tight.rack(list(map(str, zips[:2])))
    assert size_of(tmp_path / "bob") < 5000
    for each in (session, tight):
        each.close()


def test_a_stranger_compares_uploads_and_reads_no_place_of_this_machine(pico, zips):
    demo = app.build(task=str(pico.task), domain=str(pico.domain), public=True)
    app.launch(demo, prevent_thread_lock=True, quiet=True)
    try:
        page = Page(demo).load()
        assert f"{PUBLIC.rack} adapters in a rack" in page.get("/config")[2].decode()
        handler = page.fired_by("rack-compare", "click")
        refused = page.event(handler, [None, str(zips[0].parent), None, "cosine", False])[-1]
        assert not refused["success"] and "public server" in refused["output"]["error"]
        uploads = [page.upload(file.name, file.read_bytes())[1][0] for file in zips]
        files = [{"path": path, "meta": {"_type": "gradio.FileData"}} for path in uploads]
        answer = page.event(handler, [None, "", files, "cosine", False])[-1]
        shown = str(answer["output"]["data"])
        assert answer["success"] and "Compared 2 adapters" in shown and "third.zip: " in shown
        assert str(Path(uploads[0]).parent) not in shown and "unpacked-" not in shown
        forged = [{"path": str(zips[0]), "meta": {"_type": "gradio.FileData"}}] * 2
        assert not page.event(handler, [None, "", forged, "cosine", False])[-1]["success"], "it was never uploaded"
        click = {"x": 1, "y": 0, "curve": 0, "data": [0, 1, ""]}
        opened = page.event(page.fired_by("rack-map", "point_click"), [None, ""], click)[-1]
        assert opened["success"] and "task" in str(opened["output"]["data"])
    finally:
        demo.close(verbose=False)
