"""axe-core finds nothing serious on any tab, in light and dark, wide and on a phone; and what axe does not see.

axe is pinned in tests/js/package-lock.json: `npm ci --prefix tests/js`.
"""

from pathlib import Path

import pytest
from hands import tab
from playwright.sync_api import Page, expect

AXE = Path(__file__).parents[1] / "js" / "node_modules" / "axe-core" / "axe.min.js"
TABS = ("open", "inspect", "evaluate", "tune", "try", "export", "help")
#: What stands behind a section's button or is folded away, by tab.
BEHIND = {
    "open": ["#own-zips > button", "#own-dora > button"],
    "evaluate": ["#own-items > button", "#other-adapters > button", "#section-flips-button", "#section-history-button"],
    "tune": ["#tune-own > button"],
}
#: gradio's own upload field is called "Click to upload or drop files" and says "Drop File Here": not ours to word.
RUN = """() => axe.run({ exclude: ['.upload-container'] }, {
  runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice'], resultTypes: ['violations'],
}).then(({ violations }) => violations.filter(({ impact }) => ['serious', 'critical'].includes(impact))
  .flatMap(({ id, nodes }) => nodes.map(({ target, failureSummary }) => `${id}: ${target.join(' ')}: ${failureSummary}`)))"""

needs_axe = pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed: npm ci --prefix tests/js")


def serious(page: Page, name: str) -> list[str]:
    """What axe calls serious or critical on a tab, with everything on it unfolded."""
    tab(page, name)
    expect(page.locator(f"#tab-{name}-button")).to_have_attribute("aria-selected", "true")
    found = page.evaluate(RUN)
    for place in BEHIND.get(name, []):
        page.click(place)
        found += page.evaluate(RUN)
    return sorted(set(found))


@needs_axe
@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 420)])
def test_axe_finds_nothing_serious(open_page, theme, width):
    page = open_page(f"/?__theme={theme}", width=width)
    page.add_script_tag(path=str(AXE))
    assert page.locator("h1").count() == 1
    found = {name: serious(page, name) for name in TABS}
    assert {name: each for name, each in found.items() if each} == {}


@needs_axe
def test_axe_would_find_a_picture_without_words(page):
    """Or a clean answer would mean nothing."""
    page.add_script_tag(path=str(AXE))
    page.evaluate("document.querySelector('#tabs').insertAdjacentHTML('beforebegin', '<img src=\"data:,\">')")
    assert any(line.startswith("image-alt") for line in page.evaluate(RUN))


@pytest.mark.parametrize("key", ["Tab", "Shift+Tab"])
def test_no_list_stays_open_over_the_next_field(page, key):
    field = page.locator("#knob-method input")
    field.focus()
    options = page.locator("ul[role=listbox]:visible")
    expect(options).to_have_count(1)
    page.keyboard.press(key)
    expect(field).not_to_be_focused()
    expect(field).to_have_attribute("aria-expanded", "false")
    page.wait_for_function(
        "() => new Promise((seen) => requestAnimationFrame(() => requestAnimationFrame(() => seen(true))))"
    )
    expect(options).to_have_count(0)
    expect(field).to_have_value("tada")
