"""The curves of whole steps: what each report adds to which."""

from dataclasses import replace

import numpy as np

from gradscope.protocol.messages import Clip, Report
from gradscope.protocol.phases import Phase
from gradscope.state.history import History
from gradscope.state.records.step_curves import ClipColumn
from tests.state.test_apply import REPORT


def _reports(history: History, *reports: Report, clip_norm: float | None = None) -> History:
    for report in reports:
        history.add_report(report, clip_norm=clip_norm)
    return history


def test_the_mean_of_the_window_takes_the_place_of_its_micro_batches() -> None:
    history = History()
    for micro, loss in enumerate((3.0, 1.0)):
        _reports(history, replace(REPORT, micro=micro, window=2, loss=loss))
        assert history.loss.values.tolist() == [[loss]]
    _reports(history, replace(REPORT, phase=Phase.STEP, micro=1, window=2, loss=2.0))
    assert history.loss.values.tolist() == [[2.0]]
    assert history.losses == {}


def test_each_optimizer_has_a_loss_of_its_own() -> None:
    history = History()
    for step in range(4):
        _reports(history, replace(REPORT, step=step, loss=float(step), optimizer="dg"[step % 2]))
    assert {name: curve.steps.tolist() for name, curve in history.losses.items()} == {"d": [0, 2], "g": [1, 3]}
    assert history.losses["g"].values[:, 0].tolist() == [1, 3]
    assert len(history.loss) == 4


def test_clipping_keeps_every_number_of_its_step() -> None:
    step = replace(REPORT, phase=Phase.STEP)
    first = Clip(norm=4.0, coefficient=0.25, norm_after=1.0, dominant="b", dominant_share=0.75)
    by_value = Clip(norm=2.0, coefficient=None, norm_after=None)
    history = _reports(History(), replace(step, clip=first), replace(REPORT, step=3), clip_norm=1.0)
    _reports(history, replace(step, step=3, clip=by_value))
    np.testing.assert_array_equal(history.clipping.values[0], [4, 1, 0.25, 1, 0, 0.75])
    assert history.clipping.values[1, ClipColumn.NORM] == 2
    assert np.isnan(history.clipping.values[1, ClipColumn.AFTER :]).all()
    assert (history.dominant_at(0), history.dominant_at(1)) == ("b", "")


def test_a_norm_that_is_not_finite_survives_a_long_run() -> None:
    history = History()
    step = replace(REPORT, phase=Phase.STEP, skipped=False)
    for number in range(50_000):
        norm = float("inf") if number == 1234 else 1.0
        history.add_step(
            replace(step, step=number, clip=Clip(norm=norm, coefficient=None, norm_after=None)), clip_norm=1
        )
    assert 1234 in history.clipping.steps[np.isinf(history.clipping.values[:, 0])]
    assert len(history.clipping) <= 20_000


def test_scale_momentum_and_skipped_steps() -> None:
    history, step = History(), replace(REPORT, phase=Phase.STEP, momentum=(0.9, float("nan")))
    _reports(history, replace(step, scale=8.0, skipped=True), replace(step, step=3, scale=4.0))
    _reports(history, replace(step, step=4, scale=4.0, skipped=True, complete=False))
    assert history.scale.values[:, 0].tolist() == [8, 4, 4]
    assert (history.skipped.steps.tolist(), history.skipped_steps) == ([2], 1)
    np.testing.assert_array_equal(history.momentum.values, [[0.9, np.nan]] * 3)
