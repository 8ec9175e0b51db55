"""Pages that need no app: everything is in them, once, and nothing that files bring becomes markup."""

import plotly.graph_objects as go

from tada_studio.figures import Figure, standalone

EVIL = "</div></script><img src=x onerror=alert(1)> %body% %plotly% &lt;"


def test_a_page_holds_plotly_once_and_everything_else_escaped():
    figure = go.Figure(go.Bar(x=[EVIL], y=[1]))
    made = standalone.page(EVIL, standalone.figure_block(Figure(EVIL, EVIL, figure)))
    head = standalone.plotly_js().read_text(encoding="utf-8")[:2000]
    assert made.count(head) == 1 and "<img" not in made.replace(head, "").split("<script>")[0]
    assert "http-equiv" in made and "%css%" not in made and "%themed%" not in made
