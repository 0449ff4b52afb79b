"""A real engine process: steps that are tried, the probe, and every way to end what takes long."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from gate import Gate
from peer import Peer

from gradscope.protocol import messages as m
from gradscope.protocol.failure import FailureKind
from gradscope.protocol.phases import Rest, Verb
from gradscope.protocol.what_if.tried import USUAL, Alternative, Directions, Standing

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

WAITS = """
import time, torch
from torch import nn
from gradscope import Recipe

class Waits(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)
        self.calls = [0]

    def forward(self, x):
        self.calls[0] += 1
        if not torch.is_grad_enabled():
            {wait}
        return self.linear(x)

def recipe():
    torch.manual_seed(0)
    model = Waits()
    data = torch.utils.data.TensorDataset(torch.randn(24, 4), torch.randint(0, 2, (24,)))
    return Recipe(model=model, dataset=data, loss=nn.CrossEntropyLoss(), batch_size=8,
                  optimizer=torch.optim.Adam(model.parameters(), lr=0.01))
"""


def test_all_of_it_is_answered_and_nothing_is_moved(peer: Peer, mlp: Path) -> None:
    peer.open(mlp)
    refused = peer.ask(m.WhatIf())
    assert isinstance(refused, m.Failed) and refused.failure.kind is FailureKind.BAD_INPUT
    peer.go(Verb.NEXT_BATCH)
    peer.go(Verb.FORWARD)
    peer.go(Verb.BACKWARD)
    peer.drain()
    done = peer.ask(m.WhatIf())
    assert isinstance(done, m.WhatIfDone) and len(done.trials.tried) == len(USUAL)
    assert done.trials.of.standing is Standing.BACKWARD_DONE
    assert any(isinstance(message, m.WhatIfProgress) for message in peer.drain())
    along = peer.ask(m.LossAlong(alternative=Alternative(rate=2.0), points=3))
    assert isinstance(along, m.LossAlongDone) and len(along.along.at) == 4
    surface = peer.ask(m.LossSurface(directions=Directions.RANDOM, side=2))
    assert isinstance(surface, m.LossSurfaceDone) and surface.surface.losses.shape == (2, 2)
    after = peer.go(Verb.STEP)
    assert isinstance(after, m.Done) and after.position.step == 2
    assert isinstance(peer.ask(m.WhatIf(alternatives=())), m.Failed)


def test_a_probe_is_told_after_each_step(peer: Peer, mlp: Path) -> None:
    peer.open(mlp)
    assert isinstance(peer.ask(m.RunProbe()), m.Failed)
    peer.go(Verb.NEXT_BATCH)
    peer.drain()
    reply = peer.ask(m.SetProbe(every=2))
    assert isinstance(reply, m.ProbeSet) and reply.setting is not None and reply.setting.batch_step == 0
    peer.run_steps(4)
    told = [message.record.step for message in peer.drain() if isinstance(message, m.ProbeRecorded)]
    assert told == [1, 2, 4]
    assert isinstance(peer.ask(m.RunProbe()), m.ProbeSet)
    assert peer.ask(m.SetProbe(is_pinned=False)) == m.ProbeSet(setting=None)
    told = [message.record.step for message in peer.drain() if isinstance(message, m.ProbeRecorded)]
    assert told == [5]


@pytest.mark.parametrize("end", [m.CancelWhatIf(), m.Interrupt()], ids=["cancelled", "interrupted"])
@pytest.mark.parametrize("asked", [m.WhatIf(), m.LossAlong(), m.LossSurface()], ids=lambda asked: type(asked).__name__)
def test_it_ends_where_it_is_told_to(
    peer: Peer, write_recipe: Callable[..., Path], tmp_path: Path, end: object, asked: object
) -> None:
    gate = Gate(tmp_path)
    peer.open(write_recipe(WAITS.format(wait=gate.code)))
    peer.go(Verb.FORWARD)
    number = peer.send(asked)
    gate.wait()
    peer.send(end)
    if isinstance(end, m.CancelWhatIf):
        gate.open()
    assert isinstance(peer.reply(number), m.Cancelled)
    gate.open()
    done = peer.go(Verb.NEXT_BATCH)
    assert isinstance(done, m.Done) and done.position.step == 1 and done.position.rest is Rest.READY
    assert isinstance(peer.ask(m.LossAlong(points=2)), m.LossAlongDone), "another one is meant"
