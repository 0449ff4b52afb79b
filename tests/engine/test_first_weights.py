"""The digest of the weights with which a run begins: read once, and again where something may have moved them."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from gradscope.cli import main
from gradscope.engine.book import first_weights
from gradscope.engine.book.first_weights import FirstWeightsNote
from gradscope.engine.quantities.weights_digest import digest_of


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """The digests that were taken."""
    taken: list[str | None] = []

    def noted(tensors: dict[str, Tensor]) -> str | None:
        taken.append(digest_of(tensors))
        return taken[-1]

    monkeypatch.setattr(first_weights, "digest_of", noted)
    return taken


def test_a_run_that_writes_json_lines_tells_the_weights_before_its_first_step(
    tmp_path: Path, reads: list[str | None]
) -> None:
    out = tmp_path / "run.jsonl"
    assert main(["run", "linear_regression", "--steps", "3", "--jsonl", str(out), "--quiet"]) == 0
    first = json.loads(out.read_text().splitlines()[0])["run"]["first_weights"]
    assert reads == [first["digest"]] * 2 and first["step"] == 0


def test_what_has_moved_since_it_was_told_is_read_again(reads: list[str | None]) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    note = FirstWeightsNote(lambda: dict(layer.named_parameters()))
    told = note.told(0)
    with torch.no_grad():
        layer.weight.add_(1)
    note.before_backward(0)
    assert note.told(0) != told
    note.before_backward(1)
    assert len(reads) == 2, "only of the first step"


def test_another_tensor_in_the_same_place_is_read(reads: list[str | None]) -> None:
    layer = nn.Linear(3, 2)
    note = FirstWeightsNote(lambda: dict(layer.named_parameters()))
    told = note.told(0)
    kept, layer.weight = layer.weight, nn.Parameter(torch.ones(2, 3))
    note.before_backward(0)
    assert note.told(0) != told and len(reads) == 2 and kept is not layer.weight


def test_gone_back_to_the_first_step_its_weights_are_read_again(reads: list[str | None]) -> None:
    layer = nn.Linear(3, 2)
    note = FirstWeightsNote(lambda: dict(layer.named_parameters()))
    note.before_backward(0)
    assert len(reads) == 1
    # Written past torch's counter.
    layer.weight.data.add_(1)
    note.before_backward(0)
    assert len(reads) == 2 and reads[0] != reads[1]


def test_weights_that_the_first_forward_makes_are_the_same_whether_somebody_has_asked_before() -> None:
    """Made past torch's counter, as by `weight.data.normal_()`."""
    told = []
    for asks in (False, True):
        torch.manual_seed(0)
        layer = nn.Linear(3, 2)
        tensors = dict(layer.named_parameters())
        note = FirstWeightsNote(partial(dict, tensors))
        if asks:
            note.told(0)
        layer.weight.data.normal_()
        note.before_backward(0)
        told.append(note.told(0))
    assert told[0] is not None and told[0] == told[1]
