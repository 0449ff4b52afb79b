"""Where checkpoints may take a share of the time only, going back is as exact as ever."""

from __future__ import annotations

import pytest

from gradscope import Session
from gradscope.engine.timeline import pace as module
from gradscope.engine.timeline.pace import Pace
from tests.engine.timeline.trainings import with_optimizer


def test_only_a_share_of_the_time_is_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: clock[0])
    pace = Pace()
    pace.share = 0.1
    taken: list[int] = []
    for step in range(100):
        if pace.is_due():
            taken.append(step)
            pace.spend(0.5)
        clock[0] += 1.0
    # What was saved up pays for the first one.
    assert taken[0] == 0 and len(taken) in (20, 21)
    # Steps by hand are far apart.
    clock[0] += 60.0
    assert pace.is_due()


def test_steps_without_a_checkpoint_are_gone_to_all_the_same() -> None:
    with Session(with_optimizer("Adam"), timeline_bytes=2**26) as session:
        session.timeline.pace.share = 0.0
        session.timeline.pace.spend(10.0)
        hashes = []
        for _ in range(6):
            hashes.append(session.state_hash())
            session.next_batch()
        assert session.timeline.checkpoints == [0]
        session.go_to(4)
        assert session.state_hash() == hashes[4]
        session.next_batch()
        assert session.state_hash() == hashes[5]
