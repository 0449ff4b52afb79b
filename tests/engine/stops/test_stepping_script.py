"""The same in a script, which runs on by itself: a real process."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from peer import Peer

from gradscope.protocol import messages
from gradscope.protocol.codec import to_json
from gradscope.protocol.phases import Position, Rest, Verb
from gradscope.protocol.scripts import SCRIPT_VARIABLE, Script, ScriptKind
from gradscope.protocol.stops.point import StopPoint
from gradscope.protocol.subjects import SubjectKey, SubjectKind

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

TRAIN = """
import torch
from torch import nn
torch.manual_seed(0)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 6), nn.Tanh())
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = self.body(x)
        return self.head(x)

model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x, y = torch.randn(8, 6), torch.randint(0, 3, (8,))
for step in range(6):
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
print("sum", sum(p.sum().item() for p in model.parameters()).hex())
"""


@pytest.fixture
def script(tmp_path: Path) -> Script:
    (tmp_path / "train.py").write_text(TRAIN, encoding="utf-8")
    return Script(kind=ScriptKind.FILE, name="train.py", folder=str(tmp_path))


@pytest.fixture
def start(script: Script, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Peer]]:
    """start(*points): an engine that stands before the first forward of the script."""
    peers = []

    def started(*points: StopPoint) -> Peer:
        monkeypatch.setenv(SCRIPT_VARIABLE, json.dumps(to_json(script, [])))
        peer = Peer()
        peers.append(peer)
        assert isinstance(peer.ask(messages.SetStops(stops=points)), messages.Pong)
        assert isinstance(peer.ask(messages.OpenScript(script=script)), messages.Opened)
        peer.drain()
        return peer

    yield started
    for peer in peers:
        peer.close()


def told(position: Position) -> str:
    moment = position.moment
    if moment is None:
        return position.rest.value
    return f"{moment.event} {moment.layer or '(model)'}" if moment.event else moment.substep.value


def test_layers_are_stepped_through(start: Callable[..., Peer]) -> None:
    peer = start()
    places = [told(peer.go(Verb.INTO).position) for _ in range(4)]
    assert places == ["zero grad", "enter model", "enter model.body", "enter model.body.0"]
    places = [told(peer.go(verb).position) for verb in (Verb.OUT, Verb.OVER, Verb.OVER)]
    assert places == ["leave model.body", "enter model.head", "leave model.head"]
    done = peer.go(Verb.NEXT)
    assert (done.paused, done.position.rest) == (False, Rest.FORWARD)
    seen = [told(peer.go(Verb.INTO).position) for _ in range(6)]
    assert seen.index("gradient model.head") < seen.index("gradient model.body.1")
    assert peer.go(Verb.OVER).position.rest in (Rest.IN_BACKWARD, Rest.BACKWARD)


def test_points_stop_it_inside_and_between_and_nothing_changes(start: Callable[..., Peer]) -> None:
    peer = start(
        StopPoint(id=1, text="line train.py:13"),
        StopPoint(id=2, text="grad.l2 > 0 in model.head.weight", every=2),
        StopPoint(id=3, text="at step 4"),
    )
    place = []
    for _ in range(3):
        done = peer.go(Verb.RUN)
        assert done.paused
        place.append((told(done.position), done.position.step))
    assert place == [("enter model.body", 0), ("enter model.body", 1), ("gradient model.head.weight", 1)]
    page = peer.ask(messages.FetchPage(subject=SubjectKey(SubjectKind.ACTIVATION, "model.body")))
    assert isinstance(page, messages.Page)
    hits = [hit for message in peer.drain() if isinstance(message, messages.Stopped) for hit in message.hits]
    assert [(hit.id, hit.hits) for hit in hits] == [(1, 1), (1, 2), (2, 2)]
    assert isinstance(peer.ask(messages.SetStops(stops=(StopPoint(id=3, text="at step 4"),))), messages.Pong)
    done = peer.go(Verb.RUN)
    assert (done.position.rest, done.position.step) == (Rest.READY, 4)
    assert peer.go(Verb.RUN, to="leave model.head").position.moment.step == 4
    done = peer.go(Verb.RUN)
    assert done.position.rest is Rest.ENDED
    assert peer.process.stdout is not None
    peer.connection.close()
    output = peer.process.stdout.read().decode()
    namespace: dict[str, object] = {}
    printed: list[str] = []
    exec(
        compile(TRAIN.replace("print(", "said("), "train.py", "exec"),
        {"said": lambda *a: printed.append(" ".join(a)), **namespace},
    )
    assert printed[0] in output


def test_it_is_held_between_two_phases_and_goes_on_from_there(start: Callable[..., Peer]) -> None:
    peer = start(StopPoint(id=1, text="before zero grad"))
    done = peer.go(Verb.RUN)
    assert (done.paused, done.position.rest, done.position.step, done.position.moment) == (True, Rest.READY, 1, None)
    (hit,) = [hit for message in peer.drain() if isinstance(message, messages.Stopped) for hit in message.hits]
    assert hit.moment is not None
    assert (hit.moment.substep.value, hit.moment.event, hit.sentence) == ("zero grad", "before", "before zero grad")
    assert told(peer.go(Verb.INTO).position) == "enter model"
    assert peer.go(Verb.RUN, to="zero grad").position.step == 2, "the stop holds before it"
    assert peer.go(Verb.RUN, to="zero grad").position.rest is Rest.READY
