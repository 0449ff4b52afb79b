"""How far a run has come: its steps, speed and time left."""

from dataclasses import replace

import pytest

from gradscope.protocol.phases import Position, Rest, RunUntil
from gradscope.state.run_progress import RunProgress

HERE = Position(rest=Rest.READY, step=40, batch=10, batches_per_epoch=29)


def test_speed_and_time_left() -> None:
    run = RunProgress.begin(HERE, RunUntil.STEPS, 100, now=10.0)
    assert (run.done, run.steps, run.steps_per_sec, run.secs_left) == (0, 100, None, None)
    run.see(replace(HERE, step=41), now=10.1)
    assert run.steps_per_sec is None, "it is too early to tell"
    run.see(replace(HERE, step=60), now=12.0)
    assert (run.done, run.steps_per_sec, run.secs_left) == (20, 10.0, 8.0)


def test_the_speed_is_that_of_the_last_seconds() -> None:
    run = RunProgress.begin(HERE, RunUntil.STEPS, 1000, now=0.0)
    for second in range(1, 21):
        run.see(replace(HERE, step=40 + 10 * second), now=float(second))
    for second in range(1, 11):
        run.see(replace(HERE, step=240 + second), now=20.0 + second)
    assert run.steps_per_sec == pytest.approx(1.0)


def test_how_many_steps_an_epoch_has_left() -> None:
    def wanted(position: Position, until: RunUntil = RunUntil.EPOCH) -> int | None:
        return RunProgress.begin(position, until, 1, now=0.0).steps

    assert wanted(HERE) == 19
    assert wanted(replace(HERE, window=4)) == 5
    assert wanted(replace(HERE, batch=11, window=4, micro=1)) == 5
    assert wanted(replace(HERE, batches_per_epoch=None)) is None
    assert wanted(replace(HERE, optimizer="critic")) is None, "each batch has several turns"
    assert wanted(HERE, RunUntil.PAUSED) is None
