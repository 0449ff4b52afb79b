"""The phase strip: which station is marked how, and the readout."""

import pytest
from pytestqt.qtbot import QtBot

from gradscope.protocol.phases import Moment, Position, Rest, SubStep
from gradscope.ui.phase_steps import PLAIN_STEP, PhaseSteps, Station, stations
from gradscope.ui.phase_strip import PhaseStrip
from gradscope.ui.theme import DARK, ThemeManager
from tests.ui.fakes import small_training, switch_theme
from tests.ui.shell_fakes import ShellController

D, R, S, N, L = Station.DONE, Station.RUNNING, Station.STOPPED, Station.NEXT, Station.LATER


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        (Position(), [L, L, L, L, L, L, L]),
        (Position(rest=Rest.READY), [N, L, L, L, L, L, L]),
        (Position(rest=Rest.FORWARD), [D, D, D, D, N, L, L]),
        (Position(rest=Rest.ACCUMULATING), [N, L, L, L, L, L, L]),
        (Position(rest=Rest.BACKWARD), [D, D, D, D, D, N, L]),
        (Position(rest=Rest.IN_FORWARD), [D, D, S, L, L, L, L]),
        (Position(rest=Rest.IN_BACKWARD, running=True), [D, D, D, D, R, L, L]),
        (
            Position(rest=Rest.IN_FORWARD, running=True, moment=Moment(step=3, substep=SubStep.BATCH)),
            [R, L, L, L, L, L, L],
        ),
        (Position(rest=Rest.IN_STEP, moment=Moment(step=3, substep=SubStep.SCHEDULE)), [D, D, D, D, D, D, S]),
    ],
)
def test_stations(position: Position, expected: list[Station]) -> None:
    assert list(stations(position, PLAIN_STEP).values()) == expected


def test_stations_are_told_in_words(qtbot: QtBot, themes: ThemeManager) -> None:
    steps = PhaseSteps(themes)
    qtbot.addWidget(steps)
    steps.show_position(Position(rest=Rest.FORWARD), PLAIN_STEP)
    assert "loss: done, backward: next, step: later" in steps.accessibleDescription()


def test_stations_are_drawn_differently_without_their_colours(qtbot: QtBot, themes: ThemeManager) -> None:
    steps = PhaseSteps(themes)
    qtbot.addWidget(steps)
    steps.resize(steps.sizeHint())
    pictures = set()
    for rest, running in (
        (Rest.READY, False),
        (Rest.IN_FORWARD, False),
        (Rest.IN_FORWARD, True),
        (Rest.FORWARD, False),
    ):
        steps.show_position(Position(rest=rest, running=running), PLAIN_STEP)
        image = steps.grab().toImage().convertToFormat(steps.grab().toImage().Format.Format_Grayscale8)
        pictures.add(bytes(image.constBits()))
    assert len(pictures) == 4


def test_a_narrow_strip_needs_less_room(qtbot: QtBot, themes: ThemeManager) -> None:
    steps = PhaseSteps(themes)
    qtbot.addWidget(steps)
    assert steps.minimumSizeHint().width() < steps.sizeHint().width()
    steps.resize(steps.minimumSizeHint())
    switch_theme(themes, DARK)
    assert not steps.grab().isNull()


def test_the_readout(qtbot: QtBot, controller: ShellController, themes: ThemeManager) -> None:
    strip = PhaseStrip(controller, themes)  # type: ignore[arg-type]
    qtbot.addWidget(strip)
    assert strip.readout.isHidden()
    training = small_training()
    controller.start(training)
    assert strip.readout.accessibleName() == "step 0, epoch 0, batch 0/29, loss –"
    controller.play(training.steps(30))
    name = strip.readout.accessibleName()
    assert name.startswith("step 30, epoch 1, batch 1/29, loss ")
    loss = float(controller.state.history.loss.values[-1, 0])
    assert name.endswith(f"loss {loss:.4g}")
