"""The pages of the findings: made of the catalogue and the texts, whole, and with examples that are recipes."""

from __future__ import annotations

import os
import re
import types
import warnings

import pytest
import torch

from docs.finding_texts.make import PAGES, SECTIONS, TEXTS, example, healthy, pages
from gradscope import Recipe, Session
from gradscope.engine.findings.catalogue import CATALOGUE
from gradscope.protocol.findings import Findings, Severity

IS_WHOLE = os.environ.get("GRADSCOPE_WHOLE_BATTERY", "0") != "0"
SAMPLE = ("batch-leak", "double-softmax", "lr-too-low", "nonfinite-forward", "single-class-batches", "unregistered")
"""Of different rules and experiments, and fast."""
STEPS = 100


def made_of(source: str) -> Recipe:
    module = types.ModuleType("example")
    exec(compile(source, "example.py", "exec"), module.__dict__)
    torch.manual_seed(0)
    recipe = module.recipe()
    assert isinstance(recipe, Recipe)
    return recipe


def test_the_pages_are_as_they_are_made() -> None:
    kept = {path.name: path.read_text(encoding="utf-8") for path in PAGES.glob("*") if path.name != "pictures"}
    assert kept == pages(), "run: python docs/finding_texts/make.py"


def test_there_is_a_text_for_each_finding_and_no_other() -> None:
    assert {path.stem for path in TEXTS.glob("*.md")} - {"README"} == set(CATALOGUE)


@pytest.mark.parametrize("id", CATALOGUE)
def test_a_text_has_every_section_and_its_links_lead_somewhere(id: str) -> None:
    text = (TEXTS / f"{id}.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == list(SECTIONS)
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (PAGES / link).is_file(), link
    assert example(id) != healthy(id)


@pytest.mark.parametrize("id", CATALOGUE)
def test_both_examples_are_recipes_that_can_be_stepped(id: str) -> None:
    for source in (example(id), healthy(id)):
        with Session(made_of(source)) as session:
            session.next_batch()


@pytest.mark.slow
@pytest.mark.parametrize("id", CATALOGUE if IS_WHOLE else SAMPLE)
def test_the_example_fires_and_the_nearest_healthy_one_does_not(id: str) -> None:
    fires, quiet = found_in(example(id)), found_in(healthy(id))
    assert id in {finding.id for finding in fires.findings}
    assert quiet.counted == ()
    if CATALOGUE[id].severity is Severity.INFO:
        assert id not in {finding.id for finding in quiet.findings}
    else:
        assert [finding.id for finding in fires.counted] == [id]


def found_in(source: str) -> Findings:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings(), Session(made_of(source), findings=True) as session:
            # torch's own, of a broadcast or a mask: the example is about that.
            warnings.simplefilter("ignore")
            for _ in range(STEPS):
                session.next_batch()
            return session.check_up()
    finally:
        torch.set_num_threads(threads)
