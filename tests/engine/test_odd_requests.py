"""Requests that nobody would make: each gets one sentence, and the engine goes on."""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from peer import Peer

from gradscope.assets import sample_path
from gradscope.protocol import codec, messages
from gradscope.protocol.failure import FailureKind
from gradscope.protocol.messages.checkpoints import LoadCheckpoint, SaveCheckpoint
from gradscope.protocol.messages.edits import EditDropout, EditLoss, EditMembership, EditMode, EditOption, EditScheduler
from gradscope.protocol.messages.why import CheckGradient, Explain
from gradscope.protocol.phases import RunUntil, Verb
from gradscope.protocol.subjects import SubjectKey, SubjectKind

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

WEIGHT = SubjectKey(SubjectKind.PARAMETER, "weight")
HUGE = 10**12
SAMPLE = str(sample_path("digits_mlp"))
RECIPE = """
import torch
from gradscope import Recipe

def recipe():
    model = torch.nn.Linear(4, 2)
    data = torch.utils.data.TensorDataset(torch.randn(8, 4), torch.randn(8, 2))
    return Recipe(model=model, dataset=data, loss=torch.nn.MSELoss(), batch_size=4,
                  optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
"""


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    """An engine that has made a step."""
    path = tmp_path_factory.mktemp("recipe") / "small.py"
    path.write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("peer.ANSWER_SECS", 60.0)
        peer = Peer()
        try:
            assert isinstance(peer.open(path), messages.Opened)
            peer.run_steps(1)
            yield peer
        finally:
            peer.close()


def _refused() -> dict[str, Any]:
    return {
        "minus one step": messages.Go(verb=Verb.RUN, until=RunUntil.STEPS, steps=-1),
        "a pause as a verb": messages.Go(verb=Verb.PAUSE),
        "a path with NUL": messages.Open(path="a\0b.py"),
        "half a character": messages.Open(path="/\ud800.py"),
        "a long path": messages.Open(path="/" + "x" * 50_000),
        "a long name": messages.Open(path=f"/{'x' * 300}.py"),
        "a long name to save": SaveCheckpoint(path=f"/{'x' * 300}"),
        "a long name to load": LoadCheckpoint(path=f"/{'x' * 300}"),
        "a long name to export": messages.Export(path=f"/{'x' * 300}"),
        "a long name to compare": messages.FetchDifferences(path=f"/{'x' * 300}", subjects=()),
        "a seed below 0": messages.Open(path=SAMPLE, seed=-1),
        "a huge seed": messages.Open(path=SAMPLE, seed=2**63),
        "no device": messages.Open(path=SAMPLE, device="\0" * 100),
        "an unknown capture": messages.Open(path=SAMPLE, capture="layers:" + "," * 10_000),
        "a capture with NUL": messages.SetCapture(capture="\0"),
        "a long capture": messages.SetCapture(capture="layers:" + "x" * 100_000),
        "nowhere to save": SaveCheckpoint(path="/a\0b"),
        "half a character to save": SaveCheckpoint(path="/nowhere/\ud800"),
        "nothing to load": LoadCheckpoint(path="/a\0b"),
        "nowhere to export": messages.Export(path="/a\0b"),
        "nothing to compare": messages.FetchDifferences(path="/a\0b", subjects=()),
        "an unknown parameter": Explain(parameter="x" * 100_000),
        "no samples": CheckGradient(parameter=WEIGHT.name, samples=-1),
        "too many samples": CheckGradient(parameter=WEIGHT.name, samples=HUGE),
        "an option of no group": EditOption(group=HUGE, option="lr", value="1"),
        "an option before the first group": EditOption(group=-1, option="lr", value="1"),
        "an option that is none": EditOption(group=0, option="\0", value="1"),
        "a value of 100,000 brackets": EditOption(group=0, option="lr", value="(" * 100_000),
        "a value that is none": EditOption(group=0, option="lr", value="\ud800"),
        "a huge value": EditOption(group=0, option="lr", value="9" * 90_000),
        "no loss": EditLoss(loss="__class__", arguments={"\0": "1"}),
        "no scheduler": EditScheduler(scheduler="LRScheduler", arguments={"x" * 1000: "[" * 9000}),
        "no layer": EditMode(layer="a." * 30_000, training=True),
        "an impossible probability": EditDropout(layer="", p=float("nan")),
        "no such group": EditMembership(name=WEIGHT.name, is_parameter=True, group=-HUGE),
        "too many to watch": messages.Watch(subjects=(WEIGHT,) * 20_000),
        "a long index": messages.FetchPage(subject=WEIGHT, index=(0,) * 1000),
    }


@pytest.mark.parametrize("name", _refused())
def test_an_odd_request_is_refused_in_words(peer: Peer, name: str) -> None:
    reply = peer.ask(_refused()[name])
    assert isinstance(reply, messages.Failed), reply
    assert reply.failure.kind is not FailureKind.OUR_BUG, reply.failure
    assert 0 < len(reply.failure.sentence) < 5000
    assert isinstance(peer.ask(messages.Watch(subjects=())), messages.Pong)


def _answered() -> dict[str, Any]:
    return {
        "a page far away": messages.FetchPage(subject=WEIGHT, row=HUGE, rows=HUGE, column=HUGE, columns=HUGE),
        "a page before the first": messages.FetchPage(subject=WEIGHT, row=-HUGE, rows=-1, column=-7, columns=-HUGE),
        "an index that is too long": messages.FetchPage(subject=WEIGHT, index=(HUGE, -1, 5)),
        "a huge picture": messages.FetchPicture(subject=WEIGHT, side=10**9),
        "no picture": messages.FetchPicture(subject=WEIGHT, side=-1),
        "a billion bins": messages.FetchHistogram(subject=WEIGHT, bins=10**9),
        "no bins": messages.FetchHistogram(subject=WEIGHT, bins=-1),
        "a subject that is none": messages.FetchPage(subject=SubjectKey(SubjectKind.GRAD, "\0\ud800", HUGE, "[" * 999)),
    }


@pytest.mark.parametrize("name", _answered())
def test_what_is_out_of_range_is_brought_into_it(peer: Peer, name: str) -> None:
    reply = peer.ask(_answered()[name])
    assert isinstance(reply, (messages.Page, messages.Picture, messages.Histogram, messages.Unavailable)), reply


BODIES: dict[str, tuple[str, Any]] = {
    "an unknown request": ("Fly", {}),
    "no text": ("Open", {"path": 3}),
    "nothing": ("Open", {}),
    "a field too many": ("Reset", {"colour": "red"}),
    "an unknown verb": ("Go", {"verb": "fly"}),
    "a list": ("Reset", []),
    "a float": ("FetchPage", {"subject": {"kind": "grad", "name": "a"}, "rows": 1.5}),
    "a number of 400 digits": ("FetchPage", {"subject": {"kind": "grad", "name": "a"}, "rows": 10**400}),
    "no array": ("Attach", {"attachment": {"name": "x", "data": {"$": 7}}}),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_request_that_is_none_is_refused_and_the_next_one_is_answered(peer: Peer, name: str) -> None:
    kind, body = BODIES[name]
    header = json.dumps({"type": kind, "number": 2**40, "body": body, "buffers": []}).encode()
    ping = codec.encode(messages.Watch(subjects=()), number=2**40 + 1)
    peer.connection.sendall(struct.pack(">II", 4 + len(header), len(header)) + header + ping)
    reply = peer.reply(2**40)
    assert isinstance(reply, messages.Failed)
    assert reply.failure.kind is FailureKind.BAD_INPUT
    assert reply.position.step == 1
    assert isinstance(peer.reply(2**40 + 1), messages.Pong)
