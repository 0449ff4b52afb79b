"""The What if and Probe tabs: what a person sees of steps that were tried, and of a batch that is pinned."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtWidgets import QScrollArea
from pytestqt.qtbot import QtBot

from gradscope.protocol import messages as m
from gradscope.protocol.failure import Failure, FailureKind
from gradscope.protocol.phases import Rest
from gradscope.protocol.what_if.tried import (
    USUAL,
    AlongUpdate,
    Alternative,
    Directions,
    Measured,
    Mode,
    ProbeRecord,
    ProbeSetting,
    Standing,
    Surface,
    TrialProgress,
    Trials,
    Tried,
)
from gradscope.state.engine import EngineState, EngineStatus
from gradscope.state.what_if.probe_history import MOST_RECORDS, NORM, ZEROS, ProbeHistory
from gradscope.ui.actions.rows import ActionId
from gradscope.ui.actions.what_ifs import WhatIfs, what_if_refusal
from gradscope.ui.look.colours import DARK
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.what_if.probe_tab import ProbeTab
from gradscope.ui.what_if.what_if_tab import WhatIfTab
from gradscope.ui.window.main_window import MainWindow
from tests.ui.fakes import small_training, switch_theme
from tests.ui.shell_fakes import FakeClient, ShellController

OF = Measured(step=8, standing=Standing.BACKWARD_DONE, batch_step=8, samples=32, notes=("The newest one alone",))
TRIALS = Trials(
    of=OF,
    loss=2.0,
    tried=(
        Tried(alternative=Alternative(), samples=32, loss=1.5, update_norm=0.1, predicted=-1.0, others=2.5),
        Tried(alternative=Alternative(rate=10.0), loss=math.inf, update_norm=1.0, predicted=-10.0, is_skipped=True),
        Tried(alternative=Alternative(clip=False), refusal="This training clips no gradients"),
        Tried(alternative=Alternative(optimizer="Adam"), loss=1.25, update_norm=0.2, predicted=-0.75, others=2.0),
    ),
    other_batches=1,
    others=3.0,
)
ALONG = AlongUpdate(
    of=OF,
    alternative=Alternative(),
    at=np.array([-1.0, 0.0, 1.0, 2.0]),
    losses=np.array([3.0, 2.0, 1.5, np.inf]),
    slope=-1.0,
    update_norm=0.1,
)
SURFACE = Surface(
    of=OF,
    directions=Directions.UPDATE_AND_GRADIENT,
    mode=Mode.TRAIN,
    first="the update (1: one step)",
    second="a random direction, since it is parallel",
    x=np.array([-1.0, 0.0, 1.0]),
    y=np.array([-1.0, 0.0]),
    losses=np.array([[3.0, 2.0, 1.5], [np.nan, 2.0, 1e6]]),
    path=np.array([[-0.5, 0.25], [0.0, 0.0]]),
    path_shares=np.array([0.5, 1.0]),
    path_steps=np.array([7.0, 8.0]),
)


class Lab(ShellController):
    """Answers when the test says so."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.sent: list[Any] = []
        self.waiting: Callable[[Any], None] = lambda reply: None
        client = FakeClient(self)
        client.send = self.sent.append  # type: ignore[attr-defined]
        self.client = client

    def ask(self, message: object, on_reply: Callable[[Any], None]) -> None:
        self.sent.append(message)
        if isinstance(message, (m.WhatIf, m.LossAlong, m.LossSurface, m.SetProbe, m.RunProbe)):
            self.waiting = on_reply

    def tell_reply(self, reply: object) -> None:
        self.state.apply(reply)
        self.waiting(reply)
        self.flush()


@pytest.fixture
def lab(qtbot: QtBot, tmp_path: Path) -> Lab:
    lab = Lab(tmp_path)
    lab.start(small_training(), steps=8)
    return lab


@pytest.fixture
def themes(lab: Lab) -> ThemeManager:
    return ThemeManager(lab.settings, lab)


@pytest.fixture
def what_ifs(lab: Lab) -> WhatIfs:
    return WhatIfs(lab, lab)  # type: ignore[arg-type]


@pytest.fixture
def tab(lab: Lab, what_ifs: WhatIfs, themes: ThemeManager, qtbot: QtBot) -> WhatIfTab:
    tab = WhatIfTab(lab, what_ifs, themes)  # type: ignore[arg-type]
    qtbot.addWidget(tab)
    tab.resize(1100, 900)
    tab.show()
    return tab


@pytest.fixture
def probe_tab(lab: Lab, what_ifs: WhatIfs, themes: ThemeManager, qtbot: QtBot) -> ProbeTab:
    tab = ProbeTab(lab, what_ifs, themes)  # type: ignore[arg-type]
    qtbot.addWidget(tab)
    tab.resize(1100, 900)
    tab.show()
    qtbot.waitUntil(lambda: len(tab.charts.charts) == 3)
    return tab


def record(step: int, **fields: Any) -> ProbeRecord:
    row = np.array([16.0, 0, 0, 4, -1.0, 2.0, 0.5, 1.0, 8.0 + step])
    given = {"loss": 1.0 / step, "output": row[None], "names": ("a", "b"), "layers": np.stack([row, 2 * row]), **fields}
    return ProbeRecord(step=step, **given)


# ---------------------------------------------------------------------------------------------------- the steps


def test_the_steps_are_tried_shown_and_the_best_is_marked(tab: WhatIfTab, lab: Lab) -> None:
    assert "put back" in tab.about.text() and not tab.table.isVisible()
    tab.again.click()
    assert lab.sent[-1] == m.WhatIf(alternatives=USUAL) and lab.state.position.running
    assert not tab.again.isEnabled() and tab.progress.isVisible()
    lab.state.apply(m.WhatIfProgress(progress=TrialProgress(what="rate x 10", done=3, planned=9)))
    lab.flush()
    assert tab.status.text() == "rate x 10: 3 of about 9 forwards"
    assert (tab.progress.value(), tab.progress.maximum()) == (3, 9)
    lab.tell_reply(m.WhatIfDone(trials=TRIALS))
    assert not lab.state.position.running and not tab.progress.isVisible() and tab.status.text() == ""
    rows = [line.split("\t") for line in tab.table.all_as_text().splitlines()[1:]]
    assert rows[0][:6] == ["as it is", "2", "1.5", "-0.5", "-1", "0.5"]
    assert rows[1][0].startswith("rate x 10 (left out") and rows[1][2] == "Inf"
    assert rows[2][0] == "without clipping: This training clips no gradients"
    assert rows[3][0] == "★ Adam made anew" and rows[3][7] == "3 → 2"
    assert "Step 8, with the gradients that wait" in tab.about.text() and "32 samples" in tab.about.text()
    assert tab.notes.text() == "The newest one alone"


def test_what_is_of_an_earlier_moment_says_so(tab: WhatIfTab, lab: Lab) -> None:
    for reply in (m.WhatIfDone(trials=TRIALS), m.LossAlongDone(along=ALONG), m.LossSurfaceDone(surface=SURFACE)):
        lab.state.apply(reply)
    lab.flush()
    labels = (tab.about, tab.along_of, tab.surface_of)
    assert not any("moved on" in label.text() for label in labels)
    lab.rest_at(Rest.FORWARD)
    assert all("moved on" in label.text() for label in labels)


def test_an_alternative_of_ones_own_is_tried_too_and_can_be_removed(
    tab: WhatIfTab, lab: Lab, what_ifs: WhatIfs
) -> None:
    tab.own.rate.setText("much")
    tab.own.add.click()
    assert "has to be a number" in tab.own.problem.text() and not lab.sent
    tab.own.rate.setText("0.5")
    tab.own.optimizer.setCurrentText("AdamW")
    tab.own.samples.setValue(4)
    tab.own.clip.setChecked(False)
    tab.others.setValue(3)
    tab.own.add.click()
    own = Alternative(rate=0.5, optimizer="AdamW", batch_size=4, clip=False)
    assert lab.sent[-1] == m.WhatIf(alternatives=(*USUAL, own), other_batches=3)
    lab.tell_reply(m.WhatIfDone(trials=replace(TRIALS, tried=(*TRIALS.tried, Tried(alternative=own, loss=1.0)))))
    tab.own.add.click()
    assert "tried already" in tab.own.problem.text()
    assert not tab.remove.isEnabled()
    tab.table.selectRow(4)
    assert tab.remove.isEnabled()
    tab.remove.click()
    assert what_ifs.own == [] and lab.sent[-1] == m.WhatIf(alternatives=USUAL, other_batches=3)


def test_cancelling_is_told(tab: WhatIfTab, lab: Lab) -> None:
    tab.again.click()
    tab.cancel.click()
    assert lab.sent[-1] == m.CancelWhatIf()
    lab.tell_reply(m.Cancelled())
    assert tab.status.text() == "Cancelled: training is as it was" and tab.again.isEnabled()


def test_a_failure_is_told(tab: WhatIfTab, lab: Lab) -> None:
    tab.follow.click()
    failure = Failure(kind=FailureKind.USER_CODE, sentence="forward() has raised")
    lab.tell_reply(m.Failed(failure=failure, position=replace(lab.state.position, running=False)))
    assert tab.status.text() == "forward() has raised. Training is as it was"


def test_an_engine_that_dies_ends_it(tab: WhatIfTab, lab: Lab) -> None:
    tab.slice.click()
    lab.state.set_engine(EngineState(status=EngineStatus.DEAD))
    lab.flush()
    assert "the engine has ended" in tab.status.text() and lab.state.what_if.running is None


def test_where_it_cannot_be_tried_the_buttons_say_why(tab: WhatIfTab, lab: Lab) -> None:
    lab.rest_at(Rest.ACCUMULATING)
    assert not tab.again.isEnabled() and "accumulation" in tab.again.toolTip()
    lab.rest_at(Rest.BACKWARD)
    assert tab.again.isEnabled() and "accumulation" not in tab.again.toolTip()
    lab.rest_at(Rest.READY, running=True)
    assert not tab.slice.isEnabled() and "Pause" in tab.slice.toolTip()


# ---------------------------------------------------------------------------------------------------- around a step


def test_the_loss_along_the_chosen_step(tab: WhatIfTab, lab: Lab) -> None:
    lab.tell_reply(m.WhatIfDone(trials=TRIALS))
    lab.flush()
    tab.table.selectRow(3)
    tab.follow.click()
    assert lab.sent[-1] == m.LossAlong(alternative=Alternative(optimizer="Adam"))
    lab.tell_reply(m.LossAlongDone(along=ALONG))
    assert tab.along.message == "" and "lowest loss here 1.5, at 1 times the step" in tab.along.readout.text()
    table = tab.along.table(lab.state)
    assert [table.cell(2, column) for column in range(3)] == [1.0, 1.5, 1.0]
    tab.table.selectRow(2)
    tab.follow.click()
    assert lab.sent[-1] == m.LossAlong(), "one that was refused is not followed"


def test_a_slice_with_cells_that_are_no_numbers(tab: WhatIfTab, lab: Lab) -> None:
    tab.directions.setCurrentIndex(1)
    tab.mode.setCurrentIndex(1)
    tab.side.setCurrentIndex(0)
    tab.slice.click()
    assert lab.sent[-1] == m.LossSurface(directions=Directions.RANDOM, mode=Mode.EVAL, side=11)
    lab.tell_reply(m.LossSurfaceDone(surface=SURFACE))
    assert tab.surface.message == "" and "Lowest loss here 1.5, at (1, -1)" in tab.surface.readout.text()
    table = tab.surface.table(lab.state)
    assert table.rows == 2 and [table.cell(0, column) for column in range(4)] == [-1.0, 3.0, 2.0, 1.5]
    told = [entry.text for entry in tab.surface._legend.entries]
    assert told == ["now", "after the step", "since step 7 (50 % of the way in this plane)"]


@pytest.mark.parametrize("losses", [np.full((2, 3), np.nan), np.zeros((2, 3)), np.array([[-1e308, 1e308, 0.0]] * 2)])
def test_any_losses_are_drawn(tab: WhatIfTab, lab: Lab, losses: Any) -> None:
    lab.tell_reply(m.LossSurfaceDone(surface=replace(SURFACE, losses=losses)))
    lab.tell_reply(m.LossAlongDone(along=replace(ALONG, losses=np.resize(losses, 4), slope=1e308)))
    lab.flush()
    assert tab.surface.message == "" and tab.along.message == ""


def test_another_theme_another_session(tab: WhatIfTab, lab: Lab, themes: ThemeManager) -> None:
    for reply in (m.WhatIfDone(trials=TRIALS), m.LossAlongDone(along=ALONG), m.LossSurfaceDone(surface=SURFACE)):
        lab.tell_reply(reply)
    switch_theme(themes, DARK)
    assert tab.surface.message == ""
    lab.start(small_training())
    lab.flush()
    assert "Slice" in tab.surface.message and not tab.table.isVisible()


# ---------------------------------------------------------------------------------------------------- the probe


def test_a_batch_is_pinned_and_drawn(probe_tab: ProbeTab, lab: Lab, qtbot: QtBot) -> None:
    assert "Pin a batch" in probe_tab.charts.charts[0].message and not probe_tab.unpin.isEnabled()
    probe_tab.every.setValue(2)
    probe_tab.mode.setCurrentIndex(1)
    probe_tab.pin.click()
    assert lab.sent[-1] == m.SetProbe(every=2, mode=Mode.TRAIN)
    lab.state.apply(m.ProbeRecorded(record=record(8)))
    lab.tell_reply(m.ProbeSet(setting=ProbeSetting(batch_step=7, every=2, mode=Mode.TRAIN, samples=32)))
    assert probe_tab.about.text() == "Batch of step 7 (32 samples), run after every 2 steps in train mode"
    for step in (10, 12):
        lab.state.apply(m.ProbeRecorded(record=record(step)))
    lab.flush()
    loss, outputs, layers = probe_tab.charts.charts
    assert [chart.message for chart in (loss, outputs, layers)] == ["", "", ""]
    assert loss.readout.text() == "loss 0.08333 after step 11"
    assert layers.table(lab.state).headers == ("After step", "a", "b")
    lab.state.apply(
        m.ProbeRecorded(
            record=record(14, loss=None, output=np.empty((0, 9)), names=(), layers=np.empty((0, 9)), error="it raised")
        )
    )
    lab.flush()
    assert "The newest run failed: it raised" in probe_tab.about.text()
    probe_tab.run.click()
    assert lab.sent[-1] == m.RunProbe()
    lab.tell_reply(m.ProbeSet(setting=ProbeSetting(batch_step=7, every=2, mode=Mode.TRAIN, samples=32)))
    probe_tab.unpin.click()
    assert lab.sent[-1] == m.SetProbe(is_pinned=False)
    lab.tell_reply(m.ProbeSet(setting=None))
    assert probe_tab.about.text() == "No batch is pinned" and "Pin a batch" in loss.message


@pytest.mark.parametrize("width", [400, 1000])
def test_in_little_room_the_tab_scrolls_and_nothing_inside_it(probe_tab: ProbeTab, qtbot: QtBot, width: int) -> None:
    area = QScrollArea()
    qtbot.addWidget(area)
    area.setWidgetResizable(True)
    area.setWidget(probe_tab)
    area.resize(width, 260)
    area.show()
    qtbot.waitUntil(lambda: len(probe_tab.charts.charts) == 3)
    qtbot.waitUntil(lambda: area.verticalScrollBar().maximum() > 0)
    assert probe_tab.charts.verticalScrollBar().maximum() == 0
    assert all(chart.height() >= 8 * area.fontMetrics().height() for chart in probe_tab.charts.charts)
    # Its own fixture ends it.
    area.takeWidget()


def test_of_a_script_the_loss_is_not_known(probe_tab: ProbeTab, lab: Lab) -> None:
    note = "The loss is computed by the script itself"
    lab.state.apply(m.ProbeRecorded(record=record(8, loss=None)))
    lab.tell_reply(m.ProbeSet(setting=ProbeSetting(batch_step=7, has_loss=False, note=note)))
    assert probe_tab.charts.charts[0].message == note and probe_tab.charts.charts[1].message == ""


def test_records_of_another_way_through_the_steps_take_the_place_of_those_before() -> None:
    history = ProbeHistory()
    for step in (1, 2, 3, 2):
        history.add(record(step))
    assert history.steps.tolist() == [1, 2] and len(history) == 2
    history.add(record(5, names=("b", "c"), layers=np.ones((2, 9))))
    assert history.names == ["a", "b", "c"]
    assert np.isnan(history.layers(NORM)[2]).tolist() == [True, False, False]
    assert history.layers(ZEROS)[0, :2].tolist() == [0.25, 0.25]


def test_it_keeps_the_newest_of_very_many() -> None:
    history = ProbeHistory()
    for step in range(1, MOST_RECORDS + 10):
        history.add(record(step))
    assert len(history) <= MOST_RECORDS and history.steps[-1] == MOST_RECORDS + 9
    assert (np.diff(history.steps) > 0).all()


# ---------------------------------------------------------------------------------------------------- the window


def test_the_menu_leads_to_the_tabs(lab: Lab, themes: ThemeManager, qtbot: QtBot) -> None:
    window = MainWindow(lab, themes)  # type: ignore[arg-type]
    qtbot.addWidget(window)
    window.show()
    lab.flush()
    actions = window.actions_
    actions[ActionId.WHAT_IF].trigger()
    tab = window.trials.what_if.content
    assert tab.isVisible() and lab.sent[-1] == m.WhatIf(alternatives=USUAL)
    lab.tell_reply(m.WhatIfDone(trials=TRIALS))
    lab.flush()
    assert (
        not actions[ActionId.UNPIN_PROBE].isEnabled()
        and "No batch is pinned" in actions[ActionId.UNPIN_PROBE].toolTip()
    )
    actions[ActionId.PIN_PROBE].trigger()
    probe = window.trials.probe.content
    assert probe.isVisible() and lab.sent[-1] == m.SetProbe()
    lab.tell_reply(m.ProbeSet(setting=ProbeSetting(batch_step=7)))
    window.workspace.hide_page(window.trials.probe)
    actions[ActionId.SHOW_PROBE].trigger()
    assert probe.isVisible()
    actions[ActionId.WHAT_IF].trigger()
    assert tab.isVisible() and sum(isinstance(sent, m.WhatIf) for sent in lab.sent) == 1, "what is known is shown"
    actions[ActionId.UNPIN_PROBE].trigger()
    assert lab.sent[-1] == m.SetProbe(is_pinned=False)


def test_inside_of_a_phase_the_tab_says_why_nothing_can_be_tried_and_what_to_do(tab: WhatIfTab, lab: Lab) -> None:
    assert tab.refused.isHidden()
    lab.rest_at(Rest.IN_BACKWARD)
    assert not tab.again.isEnabled() and tab.refused.isVisible()
    assert tab.refused.text().startswith("Nothing can be tried now. ") and "“Try the steps”" in tab.refused.text()
    assert what_if_refusal(lab.state, ActionId.WHAT_IF) is None
    lab.rest_at(Rest.BACKWARD)
    assert tab.refused.isHidden() and tab.again.isEnabled()
