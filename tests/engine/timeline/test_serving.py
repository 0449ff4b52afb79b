"""A real engine process that goes back: where it stands, what it tells, and what breaks it off."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from gate import Gate
from peer import Peer

from gradscope.protocol import messages as m
from gradscope.protocol.messages.edits import EditMade, EditOption
from gradscope.protocol.phases import Rest, Verb
from gradscope.protocol.subjects import SubjectKey, SubjectKind

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

WAITS_IN_STEP_2 = """
import torch
from torch import nn
from gradscope import Recipe

class Waits(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        if self.calls == 3:
            {wait}
        return self.linear(x)

def recipe():
    torch.manual_seed(0)
    model = Waits()
    data = torch.utils.data.TensorDataset(torch.randn(24, 4), torch.randint(0, 2, (24,)))
    return Recipe(model=model, dataset=data, loss=nn.CrossEntropyLoss(), batch_size=8,
                  optimizer=torch.optim.Adam(model.parameters(), lr=0.01))
"""
ROOM = 2**28


def told(peer: Peer, kind: type) -> list[object]:
    return [message for message in peer.drain() if isinstance(message, kind)]


def losses(said: list[object]) -> dict[int, float | None]:
    return {
        report.step: report.loss for report in said if isinstance(report, m.Report) and report.phase.value == "step"
    }


def test_steps_are_gone_back_to_and_come_out_the_same(peer: Peer, mlp: Path) -> None:
    peer.open(mlp, timeline_bytes=ROOM)
    peer.drain()
    peer.run_steps(6)
    said = peer.drain()
    first, state = losses(said), [one for one in said if isinstance(one, m.TimelineState)][-1]
    assert state.earliest == 0 and state.checkpoints == tuple(range(6)) and 0 < state.used_bytes <= state.limit_bytes
    assert [branch.until_step for branch in state.branches] == [6] and state.reason == ""
    went = peer.ask(m.GoTo(step=2))
    assert isinstance(went, m.WentTo) and (went.position.step, went.position.rest) == (2, Rest.READY)
    assert went.notes == () and went.branch == 0
    peer.drain()
    peer.run_steps(4)
    assert losses(peer.drain()) == {step: loss for step, loss in first.items() if step >= 2}


def test_back_by_phase_and_by_step(peer: Peer, mlp: Path) -> None:
    peer.open(mlp, timeline_bytes=ROOM)
    peer.run_steps(3)
    places = []
    for whole in (False, False, True, True):
        went = peer.ask(m.StepBack(whole_step=whole))
        assert isinstance(went, m.WentTo) and went.verified is not False
        places.append((went.position.step, went.position.rest))
    assert places == [(2, Rest.BACKWARD), (2, Rest.FORWARD), (2, Rest.READY), (1, Rest.READY)]


def test_back_from_inside_a_phase_stands_before_it(
    peer: Peer, write_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    gate = Gate(tmp_path)
    peer.open(write_recipe(WAITS_IN_STEP_2.format(wait=gate.code)), timeline_bytes=ROOM)
    peer.run_steps(2)
    number = peer.send(m.Go(verb=Verb.FORWARD))
    gate.wait()
    paused = peer.send(m.Pause())
    peer.reply(paused)
    gate.open()
    assert peer.reply(number).position.rest is Rest.IN_FORWARD
    went = peer.ask(m.StepBack())
    assert isinstance(went, m.WentTo), went
    assert (went.position.step, went.position.rest) == (2, Rest.READY)
    done = peer.go(Verb.FORWARD)
    assert isinstance(done, m.Done) and (done.position.step, done.position.rest) == (2, Rest.FORWARD)


def test_an_edit_in_the_past_begins_a_branch_which_is_told(peer: Peer, mlp: Path) -> None:
    peer.open(mlp, timeline_bytes=ROOM)
    peer.run_steps(4)
    peer.ask(m.GoTo(step=2))
    peer.ask(EditOption(group=0, option="lr", value="0.5"))
    peer.run_steps(2)
    state = told(peer, m.TimelineState)[-1]
    assert isinstance(state, m.TimelineState) and state.branch == 1
    first, second = state.branches
    assert (second.parent, second.from_step, second.until_step) == (0, 2, 4) and "0.5" in second.change
    assert first.until_step == 4
    went = peer.ask(m.GoTo(step=3, branch=1))
    assert [edit.text for edit in went.edits] and all(type(edit) is EditMade for edit in went.edits)
    went = peer.ask(m.GoTo(step=3, branch=0))
    assert (went.position.step, went.branch, went.edits) == (3, 0, ())


def test_a_replay_is_broken_off_and_training_stands_where_it_was(
    peer: Peer, write_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    gate = Gate(tmp_path)
    peer.open(write_recipe(WAITS_IN_STEP_2.format(wait=gate.code)), timeline_bytes=ROOM)
    gate.open()
    peer.run_steps(3)
    assert isinstance(peer.ask(m.StepBack()), m.WentTo)
    gate.close()
    # The forward of step 2 is run again, and waits; so does the one that leads back to where training stood.
    number = peer.send(m.StepBack())
    gate.wait()
    peer.ask(m.Interrupt())
    gate.open()
    assert isinstance(peer.reply(number), m.Cancelled)
    done = peer.go(Verb.STEP)
    assert isinstance(done, m.Done) and (done.position.step, done.position.rest) == (3, Rest.READY)


def test_it_is_refused_where_it_is_off_and_set_while_a_session_is_open(peer: Peer, mlp: Path) -> None:
    peer.open(mlp)
    peer.run_steps(2)
    refused = peer.ask(m.StepBack())
    assert isinstance(refused, m.Failed) and "off" in refused.failure.sentence
    assert isinstance(peer.ask(m.SetTimeline(limit_bytes=ROOM)), m.Pong)
    peer.run_steps(2)
    went = peer.ask(m.GoTo(step=2))
    assert isinstance(went, m.WentTo) and went.position.step == 2
    refused = peer.ask(m.GoTo(step=1))
    assert isinstance(refused, m.Failed) and "expected 2 to 4" in refused.failure.sentence
    assert isinstance(peer.ask(m.SetTimeline(limit_bytes=0)), m.Pong)
    assert peer.run_steps(2).position.step == 4


# ------------------------------------------------------------------------------------------ looking closer

LAYER = SubjectKey(SubjectKind.ACTIVATION, "hidden")


def page(peer: Peer, **asked: object) -> object:
    return peer.ask(m.FetchPage(subject=LAYER, **asked))  # type: ignore[arg-type]


def test_values_of_a_past_step_are_computed_again_and_training_goes_on_as_if_not(peer: Peer, mlp: Path) -> None:
    peer.open(mlp, timeline_bytes=ROOM)
    peer.run_steps(3)
    then = page(peer)
    assert isinstance(then, m.Page)
    peer.run_steps(3)
    now = page(peer)
    gone = page(peer, step=2)
    assert isinstance(gone, m.Unavailable) and "computed again" in gone.reason
    peer.drain()
    found = peer.ask(m.Recompute(step=2, subject=LAYER))
    assert isinstance(found, m.Recomputed) and found.verified is True and found.notes == ()
    assert (found.step, found.subject, found.shape, found.dtype) == (2, LAYER, then.shape, then.dtype)
    told = [one for one in peer.drain() if not isinstance(one, (m.ReplayProgress, m.Recomputed, m.Pong))]
    assert told == [], "nothing of it is told as if it were new"
    again = page(peer, step=2)
    assert isinstance(again, m.Page) and (again.values == then.values).all()
    assert isinstance(peer.ask(m.FetchPicture(subject=LAYER, step=2)), m.Picture)
    histogram = peer.ask(m.FetchHistogram(subject=LAYER, step=2))
    assert isinstance(histogram, m.Histogram) and histogram.counts.sum() == then.shape[0] * then.shape[1]
    newest = page(peer)
    assert isinstance(newest, m.Page) and isinstance(now, m.Page) and (newest.values == now.values).all()
    peer.run_steps(2)
    on = losses(peer.drain())
    peer.open(mlp, timeline_bytes=0)
    peer.drain()
    peer.run_steps(8)
    plain = losses(peer.drain())
    assert on == {step: plain[step] for step in (6, 7)}


def test_computing_again_is_broken_off_and_refused_where_nothing_is_kept(
    peer: Peer, write_recipe: Callable[..., Path], tmp_path: Path, mlp: Path
) -> None:
    gate = Gate(tmp_path)
    peer.open(write_recipe(WAITS_IN_STEP_2.format(wait=gate.code)), timeline_bytes=ROOM)
    gate.open()
    peer.run_steps(5)
    subject = SubjectKey(SubjectKind.GRAD, "linear.weight")
    gate.close()
    number = peer.send(m.Recompute(step=2, subject=subject))
    gate.wait()
    peer.ask(m.Interrupt())
    gate.open()
    assert isinstance(peer.reply(number), m.Cancelled)
    done = peer.run_steps(1)
    assert isinstance(done, m.Done) and (done.position.step, done.position.rest) == (6, Rest.READY)
    assert isinstance(peer.ask(m.Recompute(step=2, subject=subject)), m.Recomputed)
    peer.open(mlp)
    peer.run_steps(2)
    refused = peer.ask(m.Recompute(step=1, subject=LAYER))
    assert isinstance(refused, m.Failed) and "Going back is off" in refused.failure.sentence
