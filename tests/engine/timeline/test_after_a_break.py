"""Phases that are broken off, and what is asked for from inside of one: the way back is as if nothing had been."""

from __future__ import annotations

import pytest
import trainings
from plain import seeded
from test_any_walk import Pausing
from walks import LARGE, Spot, Straight, run

from gradscope import Session
from gradscope.engine.surroundings.unwinding import Unwind
from gradscope.protocol.failure import BadInput
from gradscope.protocol.messages import edits
from gradscope.protocol.phases import Phase, Rest

RATE = edits.EditOption(group=0, option="lr", value="0.05")


def broken_off(session: Session, gate: Pausing, phase: Phase) -> None:
    """The next phase, at its second moment."""

    def leave() -> None:
        raise Unwind

    gate.arm(1, leave)
    with pytest.raises(Unwind):
        {Phase.FORWARD: session.forward, Phase.BACKWARD: session.backward, Phase.STEP: session.step}[phase]()
    gate.disarm()


def test_a_backward_takes_its_forward_with_it_out_of_what_was_done() -> None:
    straight, gate = Straight(trainings.accumulating, 6), Pausing()
    with Session(seeded(trainings.accumulating), timeline_bytes=LARGE, gate=gate) as session:
        run(session, 3)
        for _ in range(3):
            session.advance()
        assert session.position.rest is Rest.FORWARD and session.position.micro == 1
        broken_off(session, gate, Phase.BACKWARD)
        session.step_back()
        assert session.position.rest is Rest.FORWARD and session.position.micro == 0
        run(session, 6)
        for step in (3, 5, 1):
            session.go_to(step)
            assert session.state_hash() == straight.hashes[Spot.of(session)]
        assert len(session.timeline.branches) == 1


def test_steps_whose_checkpoint_is_gone_are_reached_over_one_that_was_broken_off() -> None:
    straight, gate = Straight(trainings.own_loader, 12), Pausing()
    with Session(seeded(trainings.own_loader), timeline_bytes=LARGE, gate=gate) as session:
        session.timeline.pace.share = 0.0
        session.timeline.pace.spend(1e9)
        run(session, 4)
        assert session.timeline.checkpoints == [0]
        session.forward()
        broken_off(session, gate, Phase.BACKWARD)
        broken_off(session, gate, Phase.FORWARD)
        run(session, 12)
        session.go_to(9)
        assert session.state_hash() == straight.hashes[Spot.of(session)]
        assert session.timeline.newest is not None and session.timeline.newest.verified is True


def test_what_was_kept_before_a_forward_holds_after_it_was_broken_off() -> None:
    straight, gate = Straight(trainings.own_loader, 6), Pausing()
    with Session(seeded(trainings.own_loader), timeline_bytes=LARGE, gate=gate) as session:
        run(session, 4)
        session.go_to(2)
        broken_off(session, gate, Phase.FORWARD)
        run(session, 4)
        assert len(session.timeline.branches) == 1, "the same once more is no branch"
        broken_off(session, gate, Phase.FORWARD)
        broken_off(session, gate, Phase.FORWARD)
        session.timeline.stand_again()
        assert session.state_hash() == straight.hashes[Spot.of(session)]
        broken_off(session, gate, Phase.FORWARD)
        session.edit(RATE)
        run(session, 6)
        rate = session.state_hash()
        session.go_to(4)
        run(session, 6)
        assert session.state_hash() == rate and len(session.timeline.branches) == 1


@pytest.mark.parametrize("phase", list(Phase))
def test_nothing_else_can_be_done_from_inside_a_phase(phase: Phase) -> None:
    straight, gate = Straight(trainings.validated, 3), Pausing()
    with Session(seeded(trainings.validated), timeline_bytes=LARGE, gate=gate) as session:
        run(session, 2)
        while {Rest.READY: Phase.FORWARD, Rest.FORWARD: Phase.BACKWARD}.get(session.position.rest, Phase.STEP) != phase:
            session.advance()
        asked: list[str] = []

        def ask() -> None:
            for refused in (session.advance, session.validate, session.zero_grad, session.step_back):
                with pytest.raises(BadInput) as error:
                    refused()
                asked.append(str(error.value))

        gate.arm(0, ask)
        session.advance()
        assert len(asked) == 4
        run(session, 3)
        assert session.state_hash() == straight.hashes[Spot.of(session)] and len(session.timeline.branches) == 1


def test_a_forward_that_was_broken_off_where_the_past_was_edited_leaves_no_branch() -> None:
    straight, gate = Straight(trainings.counting, 4), Pausing()

    def before_the_edit(session: Session) -> None:
        """One goes on from before it, without it."""
        session.go_to(1)
        session.step_back()
        session.step()
        broken_off(session, gate, Phase.FORWARD)

    with Session(seeded(trainings.counting), timeline_bytes=LARGE, gate=gate) as session:
        run(session, 1)
        session.edit(RATE)
        run(session, 3)
        edited = session.state_hash()
        before_the_edit(session)
        session.step_back()
        assert session.position.rest is Rest.BACKWARD and len(session.timeline.branches) == 1
        assert session.state_hash() == straight.hashes[Spot.of(session)]
        before_the_edit(session)
        session.timeline.stand_again()
        assert session.state_hash() == straight.hashes[Spot.of(session)] and len(session.timeline.branches) == 1
        before_the_edit(session)
        session.edit(RATE)
        run(session, 3)
        assert session.state_hash() == edited and len(session.timeline.branches) == 1, "the same edit again"
        before_the_edit(session)
        run(session, 4)
        assert session.state_hash() == straight.hashes[Spot.of(session)]
        assert [(way.id, way.changes) for way in session.timeline.branches] == [(0, []), (1, [])], "nobody's hand"
        session.go_to(3, branch=0)
        assert session.state_hash() == edited
