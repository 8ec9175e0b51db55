"""The truth line: pair, recipe, and what of it is probed, evaluated and exported, in sight on every tab and on a phone."""

import re
from dataclasses import replace

import pytest
from hands import settled, stroke, tab
from pico import pico_adapter
from playwright.sync_api import expect

from tada_studio import app
from tada_studio.app import truth_line
from tada_studio.app.page import Start
from tada_studio.app.state import TabState
from tada_studio.evaluation import Item
from tada_studio.report.pair_names import pair_names

SLOW = 60_000


@pytest.fixture
def state(pico):
    state = Start(task=str(pico.task), domain=str(pico.domain), base=str(pico.base)).state()
    yield state
    state.session.close()


def test_names_grow_until_they_tell_two_adapters_apart(pico, tmp_path):
    paths = [
        pico_adapter(tmp_path / end, pico.base, seed=i)
        for i, end in enumerate(("chat/task", "bio/task", "bio/x/task", "chat/x/task"))
    ]
    state = TabState()
    state.session.open(str(paths[0]), str(paths[1]))
    task, domain = state.session.pair.task, state.session.pair.domain
    assert truth_line.names(state.session) == ("chat/task", "bio/task")
    assert pair_names(task, domain, (str(paths[3]), str(paths[2]))) == ("chat/x/task", "bio/x/task")
    assert pair_names(task, domain, ("owner/one", "owner/two")) == ("owner/one", "owner/two")
    assert pair_names(task, domain, ("/srv/a1/up.zip", "/srv/b2/down.zip")) == ("up.zip", "down.zip")
    first, second = pair_names(task, replace(domain, label="other"), ("/srv/a1/up.zip", "/srv/b2/up.zip"))
    assert first == f"up.zip ({task.digest[:6]})" and second.startswith("up.zip (") and "srv" not in first + second
    assert pair_names(task, domain, (str(paths[0]), "")) == ("chat/task", domain.label)
    state.session.close()


def test_each_step_says_whether_it_is_of_this_recipe(state, tmp_path):
    session = state.session
    assert [step.kind for step in truth_line.steps(session)] == ["done", "next", "", "", ""]
    items = [Item(f"question {i}", ("a", "b"), i % 2) for i in range(4)]
    session.evaluate({"domain": items}, ["base", "tada"], 4)
    session.export(tmp_path / "out")
    evaluated, exported = truth_line.steps(session)[3:]
    assert (evaluated.kind, evaluated.line) == ("done", "at this recipe (run 1)")
    assert (exported.kind, exported.line) == ("done", "at this recipe, certified")
    before = truth_line.recipe_digest(session)
    session.paint([(0, 0)], 1.0)
    evaluated, exported = truth_line.steps(session)[3:]
    assert (evaluated.kind, evaluated.line) == ("old", "of an earlier recipe (run 1)")
    assert (exported.kind, exported.short) == ("old", "earlier one")
    assert truth_line.recipe_digest(session) != before and "earlier one" in truth_line.line(state)
    session.undo()
    assert (
        truth_line.recipe_digest(session) == before and [s.kind for s in truth_line.steps(session)[3:]] == ["done"] * 2
    )


def test_the_sidebar_shows_the_recipe_and_its_steps_are_links(page):
    side = page.locator("#side")
    digest = side.locator("dd code")
    expect(digest).to_have_text(re.compile("^[0-9a-f]{8}$"))
    before = digest.inner_text()
    stroke(page, (1, "v_proj"))
    settled(page, 1)
    expect(digest).not_to_have_text(before, timeout=SLOW)
    page.click("#undo")
    expect(digest).to_have_text(before, timeout=SLOW)
    for link, place in (
        ("Open", "#samples"),
        ("Probe", "#probe"),
        ("Evaluate", "#run"),
        ("Export", "#build"),
        ("Inspect and tune", "#gates"),
    ):
        side.get_by_role("link", name=link, exact=True).click()
        expect(page.locator(place)).to_be_in_viewport()
    expect(page.locator("#truth")).to_be_hidden()


def test_on_a_phone_it_stays_on_top_and_nothing_scrolls_sideways(open_page):
    page = open_page(width=360, height=740)
    strip = page.locator("#truth")
    expect(strip).to_contain_text("pico-task")
    expect(strip.locator("code")).to_have_text(re.compile("^[0-9a-f]{8}$"))
    for name in ("open", "inspect", "evaluate", "tune", "try", "export", "help"):
        tab(page, name)
        expect(page.locator(f"#tab-{name}-button")).to_have_attribute("aria-selected", "true")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, name
    tab(page, "open")
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    page.wait_for_function("scrollY > 500")
    expect(strip).to_be_in_viewport()
    strip.get_by_role("link", name="Export").click()
    expect(page.locator("#build")).to_be_visible()


@pytest.mark.parametrize(
    "label", ["#knob-strength label span", "#knob-strength input[type=number]", "#knob-method input"]
)
def test_on_a_phone_nothing_shows_through_it(open_page, label):
    page = open_page(width=420, height=900)
    expect(page.locator(label).first).to_be_attached()
    hit = page.evaluate(
        """async (label) => {
          const end = () => {
            const { right, top, height } = document.querySelector(label).getBoundingClientRect();
            return [right - 4, top + height / 2];
          };
          scrollTo({ top: scrollY + end()[1] - 30, behavior: 'instant' });
          await new Promise((seen) => requestAnimationFrame(() => requestAnimationFrame(seen)));
          const [x, y] = end();
          return { y, inside: Boolean(document.elementFromPoint(x, y)?.closest('#truth')) };
        }""",
        label,
    )
    assert abs(hit["y"] - 30) < 8 and hit["inside"], hit


@pytest.fixture
def public_url(looked_up):
    """A server for strangers."""
    demo = app.build(public=True)
    _, local_url, _ = app.launch(demo, prevent_thread_lock=True, quiet=True)
    yield local_url.rstrip("/")
    demo.close()


@pytest.mark.parametrize(("width", "there"), [(1440, "#limits"), (420, "#open-limits")])
def test_the_limits_of_a_public_server_are_said_once(context, public_url, width, there):
    page = context.new_page()
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(public_url)
    expect(page.locator("#gates .gm-grid[data-ready='1']")).to_be_attached(timeout=90_000)
    tab(page, "open")
    expect(page.locator(there)).to_contain_text("This is a public server")
    page.locator(there).scroll_into_view_if_needed()
    expect(page.locator(there)).to_be_in_viewport(ratio=0.2)
    other = {"#limits": "#open-limits", "#open-limits": "#limits"}[there]
    expect(page.locator(other)).not_to_be_in_viewport()
    page.close()
