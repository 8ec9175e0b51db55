"""One place makes every message a line that a person can read, whatever a stranger's file put into it."""

import pytest

from tada_studio.errors import LONGEST, AdapterError, TadaError


@pytest.mark.parametrize("quoted", ["\x1b[2J\x07", "a\nb", "\u202e", "\ud800", "\x00"])
def test_what_is_quoted_cannot_redraw_a_terminal(quoted):
    says = str(AdapterError(f"{quoted}: is no layer. Give another."))
    assert says.isprintable() and says.endswith(": is no layer. Give another.")


def test_a_long_message_keeps_where_and_what_would_work():
    says = str(TadaError(f"adapter_config.json: r is {'9' * 200_000}. Give a whole number."))
    assert (
        len(says) <= LONGEST + 5
        and says.startswith("adapter_config.json: r is 99")
        and says.endswith("Give a whole number.")
    )
    assert str(TadaError("short.")) == "short."
