"""A real engine process that evaluates: at rest, stopped inside a phase, interrupted, and after every step."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from gate import Gate
from peer import Peer

from gradscope.protocol import messages as m
from gradscope.protocol.messages.evaluate import WatchExpression, WatchTime
from gradscope.protocol.phases import Rest, RunUntil, Verb

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

WAITS = """
import time, torch
from torch import nn
from gradscope import Recipe

class Waits(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)
        self.last = nn.Identity()

    def forward(self, x):
        hidden = self.linear(x)
        {wait}
        return self.last(hidden)

def recipe():
    torch.manual_seed(0)
    model = Waits()
    data = torch.utils.data.TensorDataset(torch.randn(24, 4), torch.randint(0, 2, (24,)))
    return Recipe(model=model, dataset=data, loss=nn.CrossEntropyLoss(), batch_size=8,
                  optimizer=torch.optim.Adam(model.parameters(), lr=0.01))
"""


def test_before_anything_is_open_it_is_said(peer: Peer) -> None:
    assert peer.ask(m.Evaluate(text="1")).error.startswith("Nothing is open yet")
    assert peer.ask(m.Complete(text="mod", cursor=3)).names == ()
    assert isinstance(peer.ask(m.SetWatches(watches=())), m.Pong)


def test_evaluated_at_rest(peer: Peer, mlp: Path) -> None:
    peer.open(mlp)
    peer.go(Verb.FORWARD)
    told = peer.ask(m.Evaluate(text="print('seen')\noutput"))
    assert told.output == "seen\n" and told.tensors[0].shape[0] == told.tensors[0].values.shape[0]
    assert "model" in peer.ask(m.Complete(text="mod", cursor=3)).names
    failed = peer.ask(m.Evaluate(text="1 / 0"))
    assert failed.error == "ZeroDivisionError: division by zero" and "<console" in failed.traceback


def test_what_is_kept_is_noted(peer: Peer, mlp: Path) -> None:
    peer.open(mlp)
    peer.drain()
    told = peer.ask(m.Evaluate(text="optimizer.param_groups[0]['lr'] = 0.5", keep=True))
    assert told.moved
    assert any(isinstance(note, m.Note) and note.text.startswith("Kept of what was evaluated") for note in peer.drain())
    assert peer.ask(m.Evaluate(text="optimizer.param_groups[0]['lr']")).text == "0.5"


def test_stopped_inside_a_forward_its_variables_are_there(
    peer: Peer, write_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    gate = Gate(tmp_path)
    peer.open(write_recipe(WAITS.format(wait=gate.code)))
    number = peer.send(m.Go(verb=Verb.FORWARD))
    gate.wait()
    peer.ask(m.Pause())
    gate.open()
    assert peer.reply(number).position.rest is Rest.IN_FORWARD
    told = peer.ask(m.Evaluate(text="hidden.shape, self is model, activation('linear').shape"))
    assert told.text == "(torch.Size([8, 2]), True, torch.Size([8, 2]))"
    assert not peer.ask(m.Evaluate(text="model(x).sum().backward()")).error
    assert peer.go(Verb.FORWARD).position.rest is Rest.FORWARD
    assert peer.go(Verb.STEP).__class__ is m.Failed
    assert peer.go(Verb.BACKWARD).position.rest is Rest.BACKWARD


def test_an_endless_loop_is_interrupted_and_the_training_goes_on(peer: Peer, mlp: Path, tmp_path: Path) -> None:
    peer.open(mlp)
    peer.go(Verb.FORWARD)
    there = tmp_path / "there"
    number = peer.send(m.Evaluate(text=f"open({str(there)!r}, 'w').close()\nwhile True: pass"))
    while not there.exists():
        pass
    peer.ask(m.Interrupt())
    told = peer.reply(number)
    assert told.is_cancelled and told.error.startswith("It was interrupted. Training is as before")
    assert peer.go(Verb.BACKWARD).position.rest is Rest.BACKWARD


def test_watched_values_come_at_stops_and_after_steps(peer: Peer, mlp: Path) -> None:
    peer.open(mlp)
    watches = (
        WatchExpression(id=1, text="loss.item()", each=WatchTime.STEP),
        WatchExpression(id=2, text="grad('0')", each=WatchTime.STOP),
        WatchExpression(id=3, text="1 / 0", each=WatchTime.STEP),
    )
    peer.drain()
    peer.ask(m.SetWatches(watches=watches))
    (first,) = [values for values in peer.drain() if isinstance(values, m.WatchValues)]
    assert [value.id for value in first.values] == [1, 2, 3] and all(value.error for value in first.values)
    number = peer.send(m.Go(verb=Verb.RUN, until=RunUntil.STEPS, steps=3))
    peer.reply(number)
    peer.ask(m.Ping())
    taken = [values for values in peer.drain() if isinstance(values, m.WatchValues)]
    after = [values for values in taken if values.after_step]
    assert [values.step for values in after] and all(values.values[0].number is not None for values in after[1:])
    stop = [values for values in taken if not values.after_step]
    assert len(stop) == 1 and stop[0].values[0].number is not None


def test_a_watched_expression_that_hangs_is_broken_off_and_the_run_stops(peer: Peer, mlp: Path, tmp_path: Path) -> None:
    peer.open(mlp)
    peer.ask(m.SetWatches(watches=()))
    there = tmp_path / "there"
    text = f"[open({str(there)!r}, 'w').close()] + [0 for _ in iter(int, 1)] if step else 0"
    peer.ask(m.SetWatches(watches=(WatchExpression(id=5, text=text, each=WatchTime.STEP),)))
    number = peer.send(m.Go(verb=Verb.RUN))
    while not there.exists():
        pass
    peer.ask(m.Interrupt())
    done = peer.reply(number)
    assert isinstance(done, m.Done) and done.paused
    taken = [values for values in peer.drain() if isinstance(values, m.WatchValues)]
    assert taken[-1].values[0].is_off and "interrupted" in taken[-1].values[0].error
