"""A state made of a snapshot is the state that the session's app had."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from gradscope.protocol import messages
from gradscope.protocol.messages import Attachment
from gradscope.protocol.phases import Phase, Rest, Verb
from gradscope.protocol.subjects import SubjectKind
from gradscope.snapshots.format import saved_history
from gradscope.snapshots.reader import open_snapshot
from gradscope.state.app_state import AppState
from gradscope.state.engine import EngineState, EngineStatus
from gradscope.state.records.step_curves import ClipColumn
from gradscope.state.reopened import introduction, state_of
from tests.snapshots import made

if TYPE_CHECKING:
    from gradscope import Session


def live_state(session: Session, phases: int) -> AppState:
    """As the engine's messages would fill it."""
    state = AppState()
    state.apply(messages.Opened(session=session.info, position=session.position))
    state.apply(messages.Subjects(first=0, rows=()))
    initial = session.initial_parameters()

    def tables() -> None:
        rows, places = session.observer.tables.subjects.rows, session.observer.tables.places.rows
        state.apply(messages.Subjects(first=0, rows=tuple(rows)))
        state.apply(messages.Places(first=0, rows=tuple(places)))

    tables()
    state.apply(initial)
    for _ in range(phases):
        report = session.advance()
        tables()
        state.apply(report.raw)
    state.apply(messages.Done(position=session.position))
    return state


def history_of(state: AppState) -> list[Attachment]:
    files = saved_history.encode(state.history.saved())
    return [Attachment(name=name, data=np.frombuffer(data, dtype=np.uint8)) for name, data in files.items()]


@pytest.mark.parametrize("has_history", [True, False], ids=["by the app", "by a script"])
@pytest.mark.parametrize("phases", [1, 5, 9])
def test_it_knows_what_the_live_one_knew(phases: int, has_history: bool, tmp_path: Path) -> None:
    with made.session(phases=0) as session:
        live = live_state(session, phases)
        made.save(session, tmp_path / "s", attachments=history_of(live) if has_history else [])
    state = state_of(open_snapshot(tmp_path / "s"))
    assert state.session == live.session and state.position == live.position
    assert state.tree is not None and live.tree is not None
    assert [child.name for child in state.tree.children] == [child.name for child in live.tree.children]
    assert set(state.reports) == set(live.reports)
    for phase, report in live.reports.items():
        places = [live.places[number] for number in report.places.tolist()]
        assert [state.places[number] for number in state.reports[phase].places.tolist()] == places
        np.testing.assert_array_equal(state.reports[phase].times, report.times)
    np.testing.assert_array_equal(state.history.loss.steps, live.history.loss.steps)
    np.testing.assert_array_equal(state.history.loss.values, live.history.loss.values)
    assert state.history.newest()
    for latest in live.history.newest():
        ours = state.history.latest(latest.row.key)
        assert ours is not None and ours.row == latest.row
        np.testing.assert_allclose(ours.summary, latest.summary, rtol=1e-6)
    np.testing.assert_array_equal(state.history.lr.values[: len(live.history.lr)], live.history.lr.values)
    kinds = [kind for kind in SubjectKind if live.history.subjects(kind)]
    for kind in kinds:
        for key in live.history.subjects(kind):
            ours, theirs = state.history.latest(key), live.history.latest(key)
            assert ours is not None and theirs is not None
            assert (ours.row, ours.step, ours.phase, ours.sampled) == (
                theirs.row,
                theirs.step,
                theirs.phase,
                theirs.sampled,
            )
            np.testing.assert_array_equal(ours.summary, theirs.summary)
            np.testing.assert_array_equal(ours.histogram, theirs.histogram)
            if has_history:
                for column in range(9):
                    np.testing.assert_array_equal(
                        state.history.blocks[kind].series(key, column), live.history.blocks[kind].series(key, column)
                    )


def test_reports_that_the_history_missed_are_added(tmp_path: Path) -> None:
    """The app may have lagged behind the engine."""
    with made.session(phases=0) as session:
        live = live_state(session, 3)
        late = history_of(live)
        for _ in range(3):
            session.advance()
        made.save(session, tmp_path / "s", attachments=late)
        expected = session.reports[Phase.STEP]
    state = state_of(open_snapshot(tmp_path / "s"))
    assert state.history.loss.steps.tolist() == [0, 1]
    for subject in expected.subjects:
        latest = state.history.latest(subject.key)
        assert latest is not None and latest.step == 1


def test_the_table_of_a_script_gives_the_curves(tmp_path: Path) -> None:
    import torch
    from torch.utils.data import TensorDataset

    from gradscope import Recipe, Session

    torch.manual_seed(0)
    model, data = torch.nn.Linear(3, 1), TensorDataset(torch.randn(8, 3), torch.randn(8, 1))
    recipe = Recipe(
        model=model,
        dataset=data,
        loss=torch.nn.MSELoss(),
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        batch_size=4,
        clip_norm=0.5,
        validation=data,
    )
    with Session(recipe) as session:
        live = live_state(session, 13)
        for validated in session.validations:
            live.apply(validated)
        made.save(session, tmp_path / "s")
    state = state_of(open_snapshot(tmp_path / "s"))
    ours, theirs = state.history, live.history
    assert len(ours.clipping) == len(theirs.clipping) == 4
    told = [ClipColumn.NORM, ClipColumn.COEFFICIENT, ClipColumn.THRESHOLD]
    np.testing.assert_array_equal(ours.clipping.values[:, told], theirs.clipping.values[:, told])
    np.testing.assert_array_equal(ours.loss.values, theirs.loss.values)
    np.testing.assert_array_equal(ours.validations["loss"].values, theirs.validations["loss"].values)
    assert state.validation == live.validation and ours.skipped_steps == 0


def test_a_skipped_step_counts_once(folder: Path) -> None:
    """It is in the table, and the newest one has a report of its own."""
    snapshot = open_snapshot(folder)
    report = replace(snapshot.reports[Phase.STEP], skipped=True, scale=8.0)
    steps = replace(snapshot.steps, is_skipped=np.array([True]), scale=np.array([8.0]))
    state = state_of(replace(snapshot, steps=steps, reports={Phase.STEP: report}))
    assert state.history.skipped_steps == 1
    assert state.history.scale.values.tolist() == [[8.0]]


def test_it_cannot_be_trained_and_needs_no_engine(folder: Path) -> None:
    state = state_of(open_snapshot(folder))
    assert state.log.lines[0].text == introduction(open_snapshot(folder))
    assert state.snapshot is not None and state.snapshot.path == str(folder)
    for status in EngineStatus:
        state.set_engine(EngineState(status=status))
        assert {state.refusal(verb) for verb in Verb} == {"This is a snapshot: it cannot be trained"}
    assert state.position.rest is Rest.BACKWARD, "a dead engine has nothing to do with it"
    assert state.schedule is not None and state.schedule.reason


def test_a_snapshot_does_not_run(spoiled: made.Spoiled) -> None:
    path = spoiled.json("session.json", lambda told: told["position"].update(running=True))
    assert not state_of(open_snapshot(path)).position.running


def test_the_introduction_names_everything(folder: Path) -> None:
    text = introduction(open_snapshot(folder))
    assert str(folder) in text and "Small, step 1" in text and "torch 2" in text and "\n" not in text
