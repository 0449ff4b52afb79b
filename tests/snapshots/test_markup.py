"""Markup that no text can break out of."""

from hypothesis import given
from hypothesis import strategies as st

from gradscope.protocol.visible import visible
from gradscope.snapshots.page.markup import Markup, clipped, element, escaped, in_lines, joined
from tests.snapshots.page import parse


@given(st.text(st.characters()))
def test_any_text_stays_text(text: str) -> None:
    page = element("html", element("body", element("p", text, title=text), text))
    html = parse(f"<!DOCTYPE html>\n{page}")
    (paragraph,) = html.all("p")
    assert len(html.all("body")[0].children) == 1
    assert paragraph.text == (paragraph.attributes["title"] or "")
    assert paragraph.text == visible(text)


def test_elements() -> None:
    assert element("a", "x<", class_="b", stroke_width=2, title=None) == '<a class="b" stroke-width="2">x&lt;</a>'
    assert element("details", open="") == "<details open></details>"
    assert element("img", alt='"') == '<img alt="&quot;">'
    assert joined("<", [Markup("<b>"), ["&"]]) == "&lt;<b>&amp;"


def test_what_a_page_cannot_hold() -> None:
    assert escaped("a\x00b\x1bc\ud800d\ufffe\u202ee\nf") == r"a\x00b\x1bc\ud800d\ufffe\u202ee\nf"
    assert in_lines("a\x00<\nb\u202e") == r"a\x00&lt;<br>b\u202e"


def test_clipping() -> None:
    assert clipped("abcd", 4) == "abcd"
    assert clipped("abcde", 4) == "abc…"
