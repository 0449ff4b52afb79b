"""A real engine process: what it tells of findings, check-ups between two steps, and every way to end one."""

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

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

WAITS = """
import time, torch
from torch import nn
from gradscope import Recipe

class Waits(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, x):
        {wait}
        return self.linear(x)

def recipe():
    torch.manual_seed(0)
    model = Waits()
    data = torch.utils.data.TensorDataset(torch.randn(24, 4), torch.randint(0, 2, (24,)))
    return Recipe(model=model, dataset=data, loss=nn.CrossEntropyLoss(), batch_size=8,
                  optimizer=torch.optim.Adam(model.parameters(), lr=0.01))
"""


def told(peer: Peer) -> list[m.FoundNow]:
    return [message for message in peer.drain() if isinstance(message, m.FoundNow)]


def test_findings_are_told_from_the_start_and_at_the_end_of_a_run(peer: Peer, mlp: Path) -> None:
    peer.drain()
    peer.open(mlp, findings=True)
    first = told(peer)[-1]
    assert first.is_watching and first.findings.steps == 0
    peer.run_steps(5)
    assert told(peer)[-1].findings.steps == 5
    peer.open(mlp)
    (nothing,) = told(peer)
    assert not nothing.is_watching and not nothing.findings.checks
    peer.run_steps(5)
    assert told(peer) == []


def test_a_check_up_is_planned_run_and_told(peer: Peer, mlp: Path) -> None:
    opened = peer.open(mlp, findings=True)
    planned = peer.ask(m.PlanCheckUp()).planned
    assert planned and all(plan.title and plan.ids for plan in planned)
    peer.drain()
    done = peer.ask(m.CheckUp())
    assert isinstance(done, m.CheckUpDone) and done.findings.forward > 0
    said = peer.drain()
    assert any(isinstance(message, m.CheckUpProgress) for message in said)
    assert not any(isinstance(message, m.FoundNow) for message in said), "the reply has told it"
    after = peer.go(Verb.NEXT_BATCH)
    assert (opened.position.step, after.position.step) == (0, 1)


def test_inside_a_step_and_without_findings_it_is_refused(peer: Peer, mlp: Path) -> None:
    peer.open(mlp, findings=True)
    peer.go(Verb.FORWARD)
    refused = peer.ask(m.CheckUp())
    assert isinstance(refused, m.Failed) and refused.failure.kind is FailureKind.BAD_INPUT
    assert refused.position.rest is Rest.FORWARD
    peer.open(mlp)
    assert isinstance(peer.ask(m.CheckUp()), m.Failed)


@pytest.mark.parametrize("end", [m.CancelCheckUp(), m.Interrupt()], ids=["cancelled", "interrupted"])
def test_it_ends_where_it_is_told_to(
    peer: Peer, write_recipe: Callable[..., Path], tmp_path: Path, end: object
) -> None:
    """An Interrupt also out of a forward that takes for ever; a cancelled one ends after its forward."""
    gate = Gate(tmp_path)
    peer.open(write_recipe(WAITS.format(wait=gate.code)), findings=True)
    number = peer.send(m.CheckUp())
    gate.wait()
    peer.send(end)
    if isinstance(end, m.CancelCheckUp):
        gate.open()
    assert isinstance(peer.reply(number), m.Cancelled)
    gate.open()
    done = peer.go(Verb.NEXT_BATCH)
    assert isinstance(done, m.Done) and done.position.step == 1
    assert isinstance(peer.ask(m.CheckUp()), m.CheckUpDone), "another one is meant"
