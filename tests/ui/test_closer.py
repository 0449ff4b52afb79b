"""Values of an earlier step that are computed again: what is offered and why not, progress, and what is shown then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pytestqt.qtbot import QtBot

from gradscope.protocol import messages
from gradscope.protocol.failure import Failure, FailureKind
from gradscope.protocol.messages import Recompute, Recomputed, ReplayProgress, TimelineState
from gradscope.protocol.phases import Position, Rest
from gradscope.protocol.subjects import SubjectKey, SubjectKind
from gradscope.state.selection import Selection
from gradscope.ui.docks.inspector import InspectorDock
from gradscope.ui.look.theme import ThemeManager
from tests.ui.fakes import answer_fetch, script_training, small_training
from tests.ui.shell_fakes import ShellController

STEPS = 12
GRADIENT = SubjectKey(SubjectKind.GRAD, "net.0.weight")
SHAPE = (16, 8)


def tell(controller: ShellController, *told: object) -> None:
    for message in told:
        controller.state.apply(message)
    controller.flush()


def can_go(**given: object) -> TimelineState:
    usual: dict[str, object] = {
        "limit_bytes": 2**30,
        "used_bytes": 2**20,
        "checkpoints": tuple(range(STEPS)),
        "earliest": 0,
    }
    return TimelineState(**{**usual, **given})  # type: ignore[arg-type]


@pytest.fixture
def trained(controller: ShellController) -> ShellController:
    controller.start(small_training(), steps=STEPS)
    tell(controller, can_go())
    controller.select(Selection.of_subject(GRADIENT))
    return controller


@pytest.fixture
def dock(qtbot: QtBot, trained: ShellController, themes: ThemeManager) -> InspectorDock:
    dock = InspectorDock(trained, themes)  # type: ignore[arg-type]
    qtbot.addWidget(dock)
    dock.resize(420, 700)
    dock.tabs.setCurrentWidget(dock.values)
    with qtbot.waitExposed(dock):
        dock.show()
    return dock


def asked(controller: ShellController) -> list[tuple[Recompute, Callable[[Any], None]]]:
    return [(entry[0], entry[1]) for entry in controller.asked if isinstance(entry[0], Recompute)]


def answer(controller: ShellController, reply: object) -> None:
    """As the controller does: the state first, then who has asked."""
    _, on_reply = asked(controller)[-1]
    controller.state.apply(reply)
    on_reply(reply)
    controller.flush()


def found(*, verified: bool | None = True, notes: tuple[str, ...] = ()) -> Recomputed:
    return Recomputed(step=5, subject=GRADIENT, shape=SHAPE, dtype="float32", verified=verified, notes=notes)


def test_nothing_is_offered_while_the_newest_is_shown(dock: InspectorDock, trained: ShellController) -> None:
    assert not dock.closer.isVisible()
    trained.show_step(5)
    assert dock.closer.isVisible() and dock.closer.button.isEnabled() and not dock.closer.interrupt.isVisible()
    assert "Compute again" in dock.values.message
    trained.show_step(None)
    assert not dock.closer.isVisible()


def test_values_that_were_computed_again_are_fetched_of_that_step(
    qtbot: QtBot, dock: InspectorDock, trained: ShellController
) -> None:
    trained.show_step(5)
    dock.closer.button.click()
    dock.closer.button.click()
    assert [request for request, _ in asked(trained)] == [Recompute(step=5, subject=GRADIENT)]
    assert trained.state.position.running and not dock.closer.button.isVisible()
    tell(trained, ReplayProgress(step=4, start=3, until=5))
    assert dock.closer.said.text() == "Computing again: replayed 1 of 2 steps"
    dock.closer.interrupt.click()
    assert ("interrupt",) in trained.asked

    answer(trained, found())
    assert not trained.state.position.running and trained.state.position.step == STEPS
    assert dock.closer.said.text() == "Computed again: the same step, verified"
    assert dock.values.message == "" and not dock.closer.button.isVisible()
    trained.fetches.clear()
    dock.values.model.data(dock.values.model.index(0, 0))
    qtbot.waitUntil(lambda: bool(trained.fetches))
    fetch = trained.fetches[-1][0]
    assert isinstance(fetch, messages.FetchPage) and (fetch.step, fetch.subject) == (5, GRADIENT)
    for view, kind in ((dock.picture, messages.FetchPicture), (dock.histogram, messages.FetchHistogram)):
        dock.tabs.setCurrentWidget(view)
        fetch = trained.fetches[-1][0]
        assert isinstance(fetch, kind) and fetch.step == 5

    _, on_reply = trained.fetches[-1]
    on_reply(answer_fetch(fetch))
    trained.show_step(None)
    fetch = trained.fetches[-1][0]
    assert isinstance(fetch, messages.FetchHistogram) and fetch.step is None


def test_another_step_than_then_is_said_to_be(dock: InspectorDock, trained: ShellController) -> None:
    trained.show_step(5)
    dock.closer.button.click()
    answer(trained, found(verified=False, notes=("The replay was not the same from step 4 on",)))
    said = dock.closer.said.text()
    assert "not the same step" in said and "from step 4 on" in said
    assert dock.closer.said.property("role") == "warning"


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (messages.Cancelled(), "It was interrupted; training stands where it stood"),
        (
            messages.Failed(
                failure=Failure(kind=FailureKind.USER_CODE, sentence="The forward of step 5 failed"),
                position=Position(rest=Rest.READY, step=STEPS),
            ),
            "The forward of step 5 failed",
        ),
    ],
)
def test_what_went_wrong_is_said_and_can_be_tried_again(
    dock: InspectorDock, trained: ShellController, reply: object, said: str
) -> None:
    trained.show_step(5)
    dock.closer.button.click()
    answer(trained, reply)
    assert not trained.state.position.running and dock.closer.said.text() == said
    assert dock.closer.button.isEnabled()
    trained.show_step(6)
    assert dock.closer.said.text() == "", "it was another step"


def test_what_the_engine_has_let_go_of_is_offered_anew(
    qtbot: QtBot, dock: InspectorDock, trained: ShellController
) -> None:
    trained.show_step(5)
    dock.closer.button.click()
    answer(trained, found())
    trained.answer = lambda request: messages.Unavailable(subject=GRADIENT, reason="They are not here")
    dock.values.model.data(dock.values.model.index(0, 0))
    qtbot.waitUntil(dock.closer.button.isVisible)
    assert dock.closer.button.isEnabled() and "Compute again" in dock.values.message


def test_where_it_cannot_be_the_reason_is_said(dock: InspectorDock, trained: ShellController) -> None:
    trained.show_step(2)
    tell(trained, can_go(earliest=4, checkpoints=(4, 6)))
    assert not dock.closer.button.isEnabled() and "earliest step" in dock.closer.said.text()
    tell(trained, can_go(limit_bytes=0, earliest=None, checkpoints=()))
    assert "Going back is off" in dock.closer.said.text() and "off" in dock.closer.button.toolTip()
    tell(trained, can_go())
    assert dock.closer.button.isEnabled()
    tell(trained, messages.Moved(position=Position(rest=Rest.IN_FORWARD, step=STEPS)))
    assert not dock.closer.button.isEnabled() and "between two phases" in dock.closer.said.text()
    tell(trained, messages.Moved(position=Position(rest=Rest.READY, step=STEPS, running=True)))
    assert not dock.closer.button.isEnabled()


def test_on_another_branch_a_step_of_that_number_is_another_one(dock: InspectorDock, trained: ShellController) -> None:
    trained.show_step(5)
    dock.closer.button.click()
    answer(trained, found())
    tell(trained, can_go(branch=1))
    assert dock.closer.button.isVisible() and "Compute again" in dock.values.message


def test_of_a_script_it_says_so(qtbot: QtBot, controller: ShellController, themes: ThemeManager) -> None:
    controller.start(script_training(), steps=STEPS)
    key = controller.state.history.subjects(SubjectKind.GRAD)[0]
    controller.select(Selection.of_subject(key))
    controller.answer = answer_fetch
    dock = InspectorDock(controller, themes)  # type: ignore[arg-type]
    qtbot.addWidget(dock)
    with qtbot.waitExposed(dock):
        dock.show()
    controller.show_step(5)
    assert not dock.closer.button.isEnabled() and dock.closer.said.text()
