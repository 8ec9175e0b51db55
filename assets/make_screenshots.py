"""Writes studio_light.png and studio_dark.png: the real app with the embedded sample, seen by a headless Chromium.

python assets/make_screenshots.py            needs the test extra and a Chromium (CHROMIUM names another one)
"""

import os
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from tada_studio import app

HERE = Path(__file__).parent
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
WIDTH, HEIGHT = 1440, 900


def photograph(page: Page, url: str, theme: str) -> None:
    """The Inspect tab as it opens, with one stroke painted and its charts drawn."""
    page.goto(f"{url}?__theme={theme}")
    expect(page.locator("#gates .gm-grid[data-ready='1']")).to_be_visible(timeout=60_000)
    for layer in range(24, 28):
        page.locator(f"#gates .gm-cell[data-i='{layer}'][data-j='3']").click()
    expect(page.locator("#said")).to_contain_text("painted")
    expect(page.locator("#depth .pp-chart[data-ready='1'] .main-svg").first).to_be_visible(timeout=60_000)
    page.mouse.move(WIDTH - 5, HEIGHT - 5)  # away from the map, or its tip would cover part of it
    page.wait_for_timeout(1500)
    page.screenshot(path=HERE / f"studio_{theme}.png")


def main() -> None:
    demo = app.build()
    _, url, _ = app.launch(demo, prevent_thread_lock=True, quiet=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        for theme in ("light", "dark"):
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, reduced_motion="reduce")
            photograph(page, url, theme)
            page.close()
        browser.close()
    demo.close()


if __name__ == "__main__":
    main()
