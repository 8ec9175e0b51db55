"""All pictures of the screen: the real app, seen by a headless Chromium, in light and dark, at three widths.

python assets/make_screenshots.py [SCREEN ...]    all of them, or only those named; needs the test extra and a Chromium
                                                  (the environment variable CHROMIUM names another one)

Writes studio_light.png, studio_dark.png and story_SAMPLE.png, which the README shows, and screens/SCREEN_THEME_WIDTH.png. A palette
of 256 colours keeps them small.
"""

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tada_studio import app
from tada_studio.html_report import html_report
from tada_studio.sample_pairs import samples
from tada_studio.session import Session

HERE = Path(__file__).resolve().parent
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
THEMES, WIDTHS, HEIGHT, TALLEST, COLOURS = ("light", "dark"), (1440, 1024, 420), 900, 2000, 256
LONG = 180_000


# -- screens: what a hand does until there is something to see ------------------------------------------------------------


def drawn(page: Page, panel: str) -> None:
    expect(page.locator(f"#{panel} .pp-chart[data-draws] .main-svg").first).to_be_visible(timeout=LONG)


def tab(page: Page, name: str) -> None:
    page.click(f"#tab-{name}-button")


def inspect(page: Page) -> None:
    """The map with one stroke painted, and its depth profile."""
    tab(page, "inspect")
    for layer in range(3, 6):
        page.locator(f"#gates .gm-cell[data-i='{layer}'][data-j='3']").click()
    expect(page.locator("#message")).to_contain_text("painted", timeout=LONG)
    drawn(page, "depth")


def section(name: str, panel: str) -> Callable[[Page], None]:
    def show(page: Page) -> None:
        tab(page, "inspect")
        page.click(f"#section-{name}-button")
        drawn(page, panel)
        page.locator("#sections").scroll_into_view_if_needed()

    return show


def conflict(page: Page) -> None:
    """The cell that loses most: the first of the list. At the usual threshold this sample drops nothing, so that it comes last."""
    section("cell", "overlap")(page)
    threshold = page.locator("#linked-conflict_threshold input[type=number]")
    threshold.fill("4")
    threshold.press("Enter")
    expect(page.locator("#conflict-message")).to_contain_text("removes", timeout=LONG)
    page.locator("#cell input").click()
    page.get_by_role("option").filter(has_text="dropped").first.click()  # not of the list as it was before
    expect(page.locator("#task-directions, #domain-directions").locator(".gone").first).to_be_attached(timeout=LONG)


def evaluate(page: Page) -> None:
    """A finished run."""
    tab(page, "evaluate")
    page.click("#run")
    expect(page.locator("#scores tbody tr").first).to_be_visible(timeout=LONG)
    expect(page.locator("#run")).to_be_enabled(timeout=LONG)
    drawn(page, "bars")


def flips(page: Page) -> None:
    """Of the run before."""
    tab(page, "evaluate")
    page.click("#section-flips-button")
    expect(page.locator("#flips .flip").first).to_be_visible(timeout=LONG)


def history(page: Page) -> None:
    tab(page, "evaluate")
    page.click("#section-history-button")
    expect(page.locator("#runs svg.thumb").first).to_be_visible(timeout=LONG)


def effect(page: Page) -> None:
    """Measured, so there is something to see."""
    tab(page, "inspect")
    page.click("#section-effect-button")
    page.click("#effect")
    drawn(page, "effect-projections")
    page.locator("#sections").scroll_into_view_if_needed()


def help_screen(page: Page) -> None:
    tab(page, "help")
    drawn(page, "help-merged")


SCREENS: dict[str, Callable[[Page], None]] = {
    "open": lambda page: tab(page, "open"),
    "inspect": inspect,
    "rank": section("rank", "rank-curve"),
    "norms": section("norms", "norms"),
    "layer": section("layer", "three-way"),
    "stability": section("stability", "stability"),
    "effect": effect,
    "evaluate": evaluate,
    "flips": flips,
    "history": history,
    "tune": lambda page: tab(page, "tune"),
    "try": lambda page: tab(page, "try"),
    "export": lambda page: tab(page, "export"),
    "help": help_screen,
    "conflict": conflict,
}
#: Sections are photographed alone: what stands above them is on the picture of the Inspect tab.
PART = dict.fromkeys(("conflict", "rank", "norms", "layer", "stability", "effect"), "#sections")


# -- the camera ------------------------------------------------------------------------------------------------------


def photograph(page: Page, path: Path, part: str | None) -> None:
    """One picture, not taller than TALLEST."""
    page.mouse.move(2, 2)  # away from the map, or its tip would cover part of it
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(1200)
    if part:
        page.locator(part).first.screenshot(path=path)
    else:
        page.screenshot(path=path, full_page=True)
    shrink(path)


def shrink(path: Path) -> None:
    with Image.open(path) as picture:
        cut = picture.convert("RGB").crop((0, 0, picture.width, min(picture.height, TALLEST)))
    cut.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(path, optimize=True)


def opened(browser: Browser, url: str, theme: str, width: int) -> Page:
    page = browser.new_page(viewport={"width": width, "height": HEIGHT}, reduced_motion="reduce", color_scheme=theme)
    page.set_default_timeout(LONG)
    page.goto(f"{url}?__theme={theme}")
    expect(page.locator("#gates .gm-grid[data-ready='1']")).to_be_attached(timeout=LONG)
    return page


def screens(browser: Browser, url: str, names: list[str]) -> None:
    for theme in THEMES:
        for width in WIDTHS if names else ():
            page = opened(browser, url, theme, width)
            for name in names:
                SCREENS[name](page)
                photograph(page, HERE / "screens" / f"{name}_{theme}_{width}.png", PART.get(name))
                print(name, theme, width, flush=True)
            page.close()


def for_the_readme(browser: Browser, url: str) -> None:
    """What fits into one window of the Inspect tab."""
    for theme in THEMES:
        page = opened(browser, url, theme, WIDTHS[0])
        inspect(page)
        page.mouse.move(2, 2)
        page.wait_for_timeout(1200)
        page.screenshot(path=HERE / f"studio_{theme}.png")
        shrink(HERE / f"studio_{theme}.png")
        page.close()


def stories(browser: Browser) -> None:
    """What the README shows of each sample: its map and depth profile."""
    for name in samples():
        demo = app.build(sample=name)
        page = opened(browser, app.launch(demo, prevent_thread_lock=True, quiet=True)[1], THEMES[0], WIDTHS[0])
        tab(page, "inspect")
        drawn(page, "depth")
        top, bottom = page.locator("#gates").bounding_box(), page.locator("#depth").bounding_box()
        assert top is not None and bottom is not None
        page.mouse.move(2, 2)
        page.wait_for_timeout(1200)
        clip = {
            "x": top["x"],
            "y": top["y"],
            "width": top["width"],
            "height": bottom["y"] + bottom["height"] - top["y"],
        }
        page.screenshot(path=HERE / f"story_{name}.png", full_page=True, clip=clip)
        shrink(HERE / f"story_{name}.png")
        page.close()
        demo.close()


def report(browser: Browser) -> None:
    session = Session()
    session.open_sample(app.DEFAULT)
    file = session.folder / "report.html"
    file.write_text(html_report(session.view, session.sample.title), encoding="utf-8")
    for theme in THEMES:
        for width in WIDTHS:
            page = browser.new_page(viewport={"width": width, "height": HEIGHT}, color_scheme=theme)
            page.goto(file.as_uri())
            expect(page.locator("body[data-ready='1']")).to_be_attached(timeout=LONG)
            photograph(page, HERE / "screens" / f"report_{theme}_{width}.png", None)
            page.close()
    session.close()


def main(wanted: list[str]) -> None:
    (HERE / "screens").mkdir(exist_ok=True)
    work = Path(tempfile.gettempdir()) / "merges"  # the Export tab shows where it writes to: not somebody's home
    work.mkdir(exist_ok=True)
    os.chdir(work)
    demo, chosen = app.build(), wanted or [*SCREENS, "report", "readme", "stories"]
    _, url, _ = app.launch(demo, prevent_thread_lock=True, quiet=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        screens(browser, url, [name for name in SCREENS if name in chosen])
        if "report" in chosen:
            report(browser)
        if "readme" in chosen:
            for_the_readme(browser, url)
        if "stories" in chosen:
            stories(browser)
        browser.close()
    demo.close()


if __name__ == "__main__":
    main(sys.argv[1:])
