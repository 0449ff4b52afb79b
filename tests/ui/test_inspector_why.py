"""The inspector's Why and Check: what they ask, when, and how they tell the answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from gradscope.protocol import messages
from gradscope.protocol.failure import Failure, FailureKind
from gradscope.protocol.messages.why import (
    CheckGradient,
    Explain,
    Explained,
    ExplainedFactor,
    ExplainedTerm,
    GradientChecked,
    SampledElement,
)
from gradscope.protocol.phases import Position, Rest
from gradscope.protocol.subjects import SubjectKey, SubjectKind
from gradscope.state.engine import EngineState, EngineStatus
from gradscope.state.selection import Selection
from gradscope.state.topics import Topic
from gradscope.ui.docks.inspector import InspectorDock
from gradscope.ui.look.colours import DARK
from gradscope.ui.models.cell_table import SHARE_ROLE
from tests.ui.fakes import FakeController, light_themes, small_training, started, switch_theme

WEIGHT, BIAS = "net.0.weight", "net.0.bias"


def term(name: str, share: float | None, value: float) -> ExplainedTerm:
    return ExplainedTerm(
        name=name, formula=f"−lr · {name}", sentence=f"About {name}", l2=abs(value), share=share, value=value
    )


EXPLAINED = Explained(
    parameter=WEIGHT,
    step=1,
    optimizer="Adam",
    terms=(term("gradient", 1.25, -0.5), term("momentum", -0.25, 0.1), term("rounding", 1e-9, 1e-10)),
    factors=(
        ExplainedFactor(name="rate", formula="lr", sentence="s", low=0.1, middle=0.1, high=0.1),
        ExplainedFactor(name="adaptive scale", formula="s = 1 / √v", sentence="s", low=1.0, middle=2.0, high=30.0),
    ),
    delta_l2=0.4,
    residual=2e-8,
    lost=4,
    with_gradient=1000,
    elements=1024,
    index=(3, 7),
    before=1.0,
    delta=-0.4,
    gradient=5.0,
)
SAMPLE = SampledElement(
    index=(3, 7), analytic=1.0, numeric=1.5, relative_error=0.5, left=1.5, right=1.5, verdict="differs", actual=1.0
)
CHECKED = GradientChecked(
    parameter=WEIGHT,
    step=2,
    samples=(SAMPLE, replace(SAMPLE, index=(0, 1), relative_error=1e-9, verdict="agrees")),
    size=128,
    agrees=False,
    tolerance=1e-4,
    loss=0.5,
    actual_error=1e-7,
    notes=("A note of the engine",),
)


def dock_at(
    qtbot: QtBot, tmp_path: Path, *, steps: int, tab: str, kind: SubjectKind = SubjectKind.PARAMETER
) -> tuple[InspectorDock, FakeController]:
    controller = started(small_training(), steps=steps)
    dock = InspectorDock(controller, light_themes(tmp_path))
    qtbot.addWidget(dock)
    dock.resize(340, 700)
    dock.show()
    controller.select(Selection.of_subject(SubjectKey(kind, WEIGHT)))
    dock.tabs.setCurrentWidget(getattr(dock, tab))
    return dock, controller


def move(controller: FakeController, **changes: object) -> None:
    position = replace(controller.state.position, **changes)
    controller.state.apply(messages.Moved(position=position))
    controller.flush()


def cells(dock: InspectorDock, tab: str) -> list[list[str]]:
    model = getattr(dock, tab).model
    return [[model.index(r, c).data() for c in range(model.columnCount())] for r in range(model.rowCount())]


# -------------------------------------------------------------------------------------------------- why


def test_the_tabs_are_there_for_parameters_only(qtbot: QtBot, tmp_path: Path) -> None:
    dock, controller = dock_at(qtbot, tmp_path, steps=1, tab="why")
    assert dock.tabs.isTabVisible(dock.tabs.indexOf(dock.why)) and dock.tabs.content() is dock.why
    controller.select(Selection.of_subject(SubjectKey(SubjectKind.ACTIVATION, "net.0")))
    for view in (dock.why, dock.check):
        assert not dock.tabs.isTabVisible(dock.tabs.indexOf(view))
    assert dock.tabs.content() not in (dock.why, dock.check)


def test_nothing_is_asked_before_a_step_or_while_it_runs(qtbot: QtBot, tmp_path: Path) -> None:
    dock, controller = dock_at(qtbot, tmp_path, steps=0, tab="why")
    assert "Step (F7)" in dock.why.message and controller.asked == []
    dock, controller = dock_at(qtbot, tmp_path / "b", steps=2, tab="values")
    controller.set_running(True)
    dock.tabs.setCurrentWidget(dock.why)
    assert dock.why.message.startswith("Running") and controller.asked == []
    controller.set_running(False)
    assert [message for message, _ in controller.asked] == [Explain(parameter=WEIGHT)]


def test_the_terms(qtbot: QtBot, tmp_path: Path) -> None:
    dock, controller = dock_at(qtbot, tmp_path, steps=2, tab="why")
    ((message, on_reply),) = controller.asked
    assert message == Explain(parameter=WEIGHT)
    on_reply(EXPLAINED)
    assert dock.why.message == ""
    assert cells(dock, "why") == [
        ["gradient", "125 %", "0.5", "-0.5"],
        ["momentum", "−25 %", "0.1", "0.1"],
        ["rounding", "<0.1 %", "1e-10", "1e-10"],
        ["= delta", "100 %", "0.4", "-0.4"],
    ]
    assert [dock.why.model.index(row, 1).data(SHARE_ROLE) for row in range(4)] == [1.25, -0.25, 1e-9, None]
    assert dock.why.facts.splitlines() == [
        "Step 1, by Adam. Unexplained: 2e-8",
        "Lost updates: 4 of 1,000 elements with a gradient did not move (0.4 %)",
        "lr = 0.1",
        "s = 1 / √v: 1 to 30, half of them below 2",
        "1 → 0.6, its gradient 5",
    ]
    assert dock.why._detail.text() == "−lr · gradient\nAbout gradient"
    dock.why.table.selectRow(1)
    assert dock.why._detail.text() == "−lr · momentum\nAbout momentum"
    assert "momentum\t-0.25\t0.1\t0.1" in dock.why.table.all_as_text()
    # It is painted, light and dark, and asked for only once a step.
    dock.grab()
    switch_theme(dock.why._delegate._themes, DARK)
    dock.grab()
    controller.state.touch(Topic.POSITION)
    controller.flush()
    assert len(controller.asked) == 1


def test_what_is_not_finite_is_said_to_be_so_and_not_to_have_moved(qtbot: QtBot, tmp_path: Path) -> None:
    dock, controller = dock_at(qtbot, tmp_path, steps=2, tab="why")
    controller.asked[0][1](replace(EXPLAINED, lost=0, with_gradient=49_392, elements=50_176, not_finite=784))
    told = dock.why._lost.text()
    assert told.startswith("NaN or Inf: the gradient or the change of 784 of 50,176 elements\n")
    assert "every element with a gradient moved" not in told and "finite gradient moved" in told
    assert dock.why._lost.property("role") == "bad"


def test_many_lost_updates_are_a_warning(qtbot: QtBot, tmp_path: Path) -> None:
    dock, controller = dock_at(qtbot, tmp_path, steps=2, tab="why")
    controller.asked[0][1](replace(EXPLAINED, lost=500))
    assert dock.why._lost.property("role") == "warning" and "(50 %)" in dock.why._lost.text()


def test_it_stays_while_the_next_step_is_under_way(qtbot: QtBot, tmp_path: Path) -> None:
    dock, controller = dock_at(qtbot, tmp_path, steps=2, tab="why")
    controller.asked[0][1](EXPLAINED)
    move(controller, rest=Rest.BACKWARD)
    assert dock.why.message == "" and len(controller.asked) == 1
    move(controller, rest=Rest.READY, step=3)
    assert len(controller.asked) == 2
    # An answer that comes too late is dropped.
    controller.select(Selection.of_subject(SubjectKey(SubjectKind.PARAMETER, BIAS)))
    assert controller.asked[2][0] == Explain(parameter=BIAS)
    controller.asked[1][1](EXPLAINED)
    assert cells(dock, "why")[0][0] == "gradient" and dock.why.message == "Computing"
    move(controller, rest=Rest.FORWARD)
    assert "press on to the next Step" in dock.why.message


def test_not_explained_says_why(qtbot: QtBot, tmp_path: Path) -> None:
    dock, controller = dock_at(qtbot, tmp_path, steps=2, tab="why")
    reason = "The steps of RAdam are not explained"
    controller.asked[0][1](replace(EXPLAINED, terms=(), factors=(), residual=None, reason=reason))
    assert dock.why.message == reason
    assert not dock.why.table.isVisible() and not dock.why._detail.isVisible()
    assert "Lost updates: 4" in dock.why.facts


def test_another_element_is_asked_for(qtbot: QtBot, tmp_path: Path) -> None:
    dock, controller = dock_at(qtbot, tmp_path, steps=2, tab="why")
    controller.asked[0][1](EXPLAINED)
    assert dock.why._element.text() == "3, 7"
    dock.why._element.setText("[1, 2]")
    dock.why._element.editingFinished.emit()
    message, on_reply = controller.asked[1]
    assert message == Explain(parameter=WEIGHT, index=(1, 2))
    on_reply(replace(EXPLAINED, index=(1, 2)))
    assert dock.why._element.text() == "1, 2"
    dock.why._element.setText("")
    dock.why._element.editingFinished.emit()
    assert controller.asked[2][0] == Explain(parameter=WEIGHT)


# -------------------------------------------------------------------------------------------------- check


def test_a_check_needs_a_batch(qtbot: QtBot, tmp_path: Path) -> None:
    dock, controller = dock_at(qtbot, tmp_path, steps=0, tab="check")
    assert not dock.check.button.isEnabled() and "Press Forward (F5) first" in dock.check.message
    move(controller, rest=Rest.FORWARD)
    assert dock.check.button.isEnabled() and "Training is not touched" in dock.check.message
    controller.set_running(True)
    assert not dock.check.button.isEnabled()


def test_a_check_and_its_result(qtbot: QtBot, tmp_path: Path) -> None:
    dock, controller = dock_at(qtbot, tmp_path, steps=2, tab="check")
    dock.check._samples.setValue(2)
    dock.check.button.click()
    ((message, on_reply),) = controller.asked
    assert message == CheckGradient(parameter=WEIGHT, samples=2)
    assert dock.check.message == f"Checking {WEIGHT}" and dock.check.button.text() == "Stop"
    on_reply(CHECKED)
    assert dock.check.button.text() == "Check gradient"
    text = dock.check.message
    assert text.startswith("✗ 1 of 2 elements differ, by up to 0.5, worst at [3, 7]")
    assert "custom backward" in text and "A note of the engine" in text and "1e-7" in text
    assert dock.check._verdict.property("role") == "bad"
    assert cells(dock, "check") == [["✗ [3, 7]", "1", "1.5", "0.5"], ["✓ [0, 1]", "1", "1.5", "1e-9"]]
    dock.grab()
    # Each parameter has its own result.
    controller.select(Selection.of_subject(SubjectKey(SubjectKind.PARAMETER, BIAS)))
    assert "Training is not touched" in dock.check.message and not dock.check.table.isVisible()
    controller.select(Selection.of_subject(SubjectKey(SubjectKind.PARAMETER, WEIGHT)))
    assert dock.check.message == text and dock.check.table.isVisible()
    # Another session knows nothing of it.
    controller.play(small_training().opened())
    controller.select(Selection.of_subject(SubjectKey(SubjectKind.PARAMETER, WEIGHT)))
    assert "Press Forward (F5) first" in dock.check.message


def test_a_check_that_agrees(qtbot: QtBot, tmp_path: Path) -> None:
    dock, controller = dock_at(qtbot, tmp_path, steps=2, tab="check")
    dock.check.button.click()
    kink = replace(SAMPLE, verdict="kink")
    controller.asked[0][1](replace(CHECKED, samples=(kink, *CHECKED.samples[1:]), agrees=True))
    assert dock.check.message.startswith("✓ 2 of 128 elements checked, none differs")
    assert "1 may lie on a kink" in dock.check.message
    assert dock.check._verdict.property("role") == "good"
    assert cells(dock, "check")[0][0] == "∧ [3, 7]"


def test_a_check_is_stopped_or_fails(qtbot: QtBot, tmp_path: Path) -> None:
    dock, controller = dock_at(qtbot, tmp_path, steps=2, tab="check")
    dock.check.button.click()
    dock.check.button.click()
    assert controller.interruptions == 1 and len(controller.asked) == 1
    failure = Failure(kind=FailureKind.CANCELLED, sentence="It was interrupted")
    controller.asked[0][1](messages.Failed(failure=failure, position=Position()))
    assert dock.check.message == "It was interrupted" and dock.check.button.text() == "Check gradient"


@pytest.mark.parametrize("status", [EngineStatus.DEAD, EngineStatus.STARTING])
def test_an_engine_that_has_gone_does_not_answer(qtbot: QtBot, tmp_path: Path, status: EngineStatus) -> None:
    dock, controller = dock_at(qtbot, tmp_path, steps=2, tab="check")
    dock.check.button.click()
    controller.state.set_engine(EngineState(status=status))
    controller.flush()
    assert dock.check.button.text() == "Check gradient"
