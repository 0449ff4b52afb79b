"""The pictures of the pages: one for each finding, small, whole, readable on light and dark, and drawn of what happens."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
import torch

from docs.finding_pictures import make
from docs.finding_pictures.drawing import drawn
from docs.finding_pictures.make import FOLDER, picture
from docs.finding_pictures.table import PICTURES, largest_rise, stands_still
from docs.finding_pictures.values import Values
from docs.finding_texts.make import PAGES
from gradscope.engine.findings.catalogue import CATALOGUE

IS_WHOLE = os.environ.get("GRADSCOPE_WHOLE_BATTERY", "0") != "0"
SAMPLE = ("dead-units", "steps-undone")
"""Bars and curves, and no training that a last bit would take elsewhere."""
WITHOUT: dict[str, str] = {}
"""Findings of which no true picture can be drawn, with the reason."""
MOST_BYTES = 8192
SVG = "{http://www.w3.org/2000/svg}"
PAPERS = ("#ffffff", "#0d1117", "#191d26")
"""Of light and of dark pages: the app's, and the darkest usual one."""
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def kept(id: str) -> str:
    return (FOLDER / f"{id}.svg").read_text(encoding="utf-8")


def test_every_page_has_its_picture_and_there_is_no_other() -> None:
    assert set(PICTURES) == set(CATALOGUE) - set(WITHOUT)
    assert {path.name for path in FOLDER.glob("*")} == {f"{id}.svg" for id in PICTURES}


@pytest.mark.parametrize("id", PICTURES)
def test_a_page_shows_its_picture_with_a_line_below_it(id: str) -> None:
    page = (PAGES / f"{id}.md").read_text(encoding="utf-8")
    picture, line = PICTURES[id].title, PICTURES[id].line
    shown = f"\n\n![{picture}](pictures/{id}.svg)\n\n*{line}*\n\n## An example that fires\n"
    assert page.count(shown) == page.count("](pictures/") == 1
    assert not set("*[]\n") & set(picture + line)


@pytest.mark.parametrize("id", PICTURES)
def test_a_picture_is_small_and_whole_and_says_what_it_shows(id: str) -> None:
    assert len(kept(id).encode()) <= MOST_BYTES
    root = ElementTree.fromstring(kept(id))
    assert (root.tag, root.get("width"), root.get("viewBox")) == (f"{SVG}svg", "640", "0 0 640 210")
    assert [root.findtext(f"{SVG}{name}") for name in ("title", "desc")] == [PICTURES[id].title, PICTURES[id].line]
    # No box behind it, nothing from elsewhere, nothing that runs.
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {"svg", "title", "desc", "g", "text", "path"}
    assert all(int(element.get("font-size", 12)) >= 12 for element in root.iter())
    words = [element.text for element in root.iter(f"{SVG}text")]
    assert {"example", "healthy"} < set(words) and all(words)
    assert not any("n" in element.get("d", "") for element in root.iter())


@pytest.mark.parametrize("id", PICTURES)
def test_a_picture_can_be_read_on_light_and_on_dark(id: str) -> None:
    colours = set(re.findall(r'(?:fill|stroke)="(#[0-9a-f]{6})"', kept(id)))
    assert len(colours) == 3
    for colour in colours:
        assert min(contrast(colour, paper) for paper in PAPERS) > 3.4, colour


@pytest.mark.slow
@pytest.mark.parametrize("id", PICTURES if IS_WHOLE else SAMPLE)
def test_the_script_draws_the_same_again(id: str) -> None:
    """Byte by byte here. Another torch or processor rounds in another way: then each number may be off by a hair."""
    torch.manual_seed(17)
    before = torch.get_rng_state()
    made = picture(id)
    assert torch.equal(torch.get_rng_state(), before)
    assert made == picture(id)
    assert _NUMBER.sub("#", made) == _NUMBER.sub("#", kept(id))
    for now, then in zip(_NUMBER.findall(made), _NUMBER.findall(kept(id)), strict=True):
        assert float(now) == pytest.approx(float(then), abs=1.5)


@pytest.mark.slow
def test_what_does_not_hold_is_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = PICTURES["dead-units"]
    monkeypatch.setitem(make.PICTURES, "dead-units", replace(plan, holds=lambda example, healthy: False))
    with pytest.raises(ValueError, match="dead-units: the caption does not hold"):
        picture("dead-units")
    told = replace(PICTURES["steps-undone"], loss_tells=False)
    assert told.line == "Every step is taken back: the loss stays where it was. The loss does not tell."
    monkeypatch.setitem(make.PICTURES, "steps-undone", told)
    with pytest.raises(ValueError, match="steps-undone: the loss tells: it ends at"):
        picture("steps-undone")


def test_conditions_are_about_what_is_seen() -> None:
    flat, falling = (1.0,) * 20, tuple(1 - k / 20 for k in range(20))
    assert stands_still(flat, falling)
    assert not stands_still(falling, falling) and not stands_still(flat, flat)
    assert largest_rise((1, 0.5, 2, 1)) == 1.5


def test_nan_is_a_cross_and_nothing_at_all_is_said() -> None:
    curves, bars = PICTURES["nonfinite-loss"].measure, PICTURES["dead-units"].measure
    bad = drawn(curves, Values((1.0, float("nan"), float("inf"))), Values((1.0, 0.5, 0.2)), title="t", caption="c < d")
    assert ">loss (×: NaN or Inf)<" in bad and "c &lt; d" in bad
    assert ElementTree.fromstring(bad) is not None
    none = drawn(bars, Values((0.0,) * 32), Values((5.0,) * 32), title="t", caption="c")
    assert none.count(">0 everywhere<") == 1


def contrast(one: str, other: str) -> float:
    """Of two colours, as WCAG 2 defines it."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
