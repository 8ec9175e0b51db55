"""What a person does on the map, for tests."""

from playwright.sync_api import Locator, Page, expect

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def cell(page: Page, layer: int, projection: str) -> Locator:
    return page.locator(f"#gates [data-cell='{layer}.{projection}']")


def edited(page: Page) -> Locator:
    return page.locator("#gates .gm-cell.edited")


def middle(place: Locator) -> tuple[float, float]:
    box = place.bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def stroke(page: Page, first: tuple[int, str], last: tuple[int, str] | None = None) -> None:
    """One drag from cell to cell; a click if there is only one."""
    cell(page, *first).hover()  # waits until it stands still: a tab that was just opened is still being laid out
    page.mouse.down()
    if last is not None:
        page.mouse.move(*middle(cell(page, *last)), steps=4)
    page.mouse.up()


def tab(page: Page, name: str) -> None:
    page.click(f"#tab-{name}-button")


def tool(page: Page, name: str) -> None:
    page.locator("#tool").get_by_label(name, exact=True).check()


def typed(page: Page, knob: str, value: str) -> None:
    """Put a number into the box of a knob."""
    box = page.locator(f"#knob-{knob} input[type=number]")
    box.fill(value)
    box.press("Enter")
    box.blur()


def stat(page: Page, name: str) -> Locator:
    """The figure on the card whose text holds ``name``."""
    return page.locator(".card", has_text=name).locator(".figure")


def settled(page: Page, edits: int) -> None:
    """Wait until Python has answered: the card counts the edits that it knows."""
    expect(stat(page, "set by hand")).to_have_text(str(edits))


def reload(page: Page) -> None:
    """Reload, and wait until the page can be painted on. What the old page says of its cut connections is no error."""
    page.evaluate("""() => {
      console.error = () => {};
      addEventListener('unhandledrejection', (event) => event.preventDefault());
    }""")
    page.reload()
    expect(page.locator("#gates .gm-grid[data-ready='1']")).to_be_attached(timeout=90_000)
