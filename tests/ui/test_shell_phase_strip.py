"""The phase strip: which station is marked how, and the readout."""

import pytest
from pytestqt.qtbot import QtBot

from gradscope.protocol.phases import Moment, Position, Rest, SubStep
from gradscope.ui.look.colours import DARK
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.window.phase_steps import PLAIN_STEP, PhaseSteps, Station, WindowState, stations, window_state
from gradscope.ui.window.phase_strip import PhaseStrip
from tests.ui.fakes import full_training, small_training, switch_theme
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


def test_gradients_are_cleared_only_at_the_start_of_a_window() -> None:
    later = stations(Position(rest=Rest.ACCUMULATING, micro=1, window=4), PLAIN_STEP)
    assert list(later.values()) == [N, D, L, L, L, L, L]
    without = tuple(substep for substep in PLAIN_STEP if substep is not SubStep.ZERO_GRAD)
    assert list(stations(Position(rest=Rest.ACCUMULATING, micro=1, window=4), without).values()) == [N, L, L, L, L, L]


@pytest.mark.parametrize(
    ("rest", "micro", "expected"),
    [
        (Rest.EMPTY, 0, WindowState()),
        (Rest.READY, 0, WindowState(3, 0)),
        (Rest.FORWARD, 1, WindowState(3, 1, 1)),
        (Rest.IN_BACKWARD, 1, WindowState(3, 1, 1)),
        (Rest.ACCUMULATING, 2, WindowState(3, 2)),
        (Rest.BACKWARD, 2, WindowState(3, 3)),
        (Rest.IN_STEP, 2, WindowState(3, 3)),
    ],
)
def test_how_far_a_window_has_come(rest: Rest, micro: int, expected: WindowState) -> None:
    window = 1 if rest is Rest.EMPTY else 3
    assert window_state(Position(rest=rest, micro=micro, window=window)) == expected


@pytest.mark.parametrize("size", [4, 40])
def test_a_window_is_drawn_and_told(qtbot: QtBot, themes: ThemeManager, size: int) -> None:
    steps = PhaseSteps(themes)
    qtbot.addWidget(steps)
    plain = steps.sizeHint().width()
    pictures = set()
    for rest, micro in ((Rest.FORWARD, 0), (Rest.FORWARD, 1), (Rest.FORWARD, 2)):
        steps.show_position(Position(rest=rest, micro=micro, window=size), PLAIN_STEP)
        steps.resize(steps.sizeHint())
        pictures.add(bytes(steps.grab().toImage().constBits()))
    assert len(pictures) == 3
    assert steps.sizeHint().width() > plain
    assert f"gradients added up: 2 of {size} micro-batches" in steps.accessibleDescription()


def test_stations_are_told_in_words(qtbot: QtBot, themes: ThemeManager) -> None:
    steps = PhaseSteps(themes)
    qtbot.addWidget(steps)
    steps.show_position(Position(rest=Rest.FORWARD), PLAIN_STEP)
    assert "loss: done, backward: next, step: later" in steps.accessibleDescription()
    assert "validate" not in steps.accessibleDescription()
    steps.show_position(Position(rest=Rest.READY), (*PLAIN_STEP, SubStep.VALIDATE))
    assert "validate (after the last step of an epoch): later" in steps.accessibleDescription()


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


def test_the_readout_tells_window_turn_scale_and_skipped_steps(
    qtbot: QtBot, controller: ShellController, themes: ThemeManager
) -> None:
    strip = PhaseStrip(controller, themes)  # type: ignore[arg-type]
    qtbot.addWidget(strip)
    training = full_training()
    controller.start(training)
    controller.play(training.forward())
    assert "micro-batch 1/2" in strip.readout.accessibleName()
    controller.play(training.backward())
    assert "micro-batch 2/2, scale 65536" in strip.readout.accessibleName()
    for stream in (training.forward(), training.backward(), training.optimizer_step()):
        controller.play(stream)
    assert "step 0 skipped" in strip.readout.accessibleName()
    controller.play(training.steps(1))
    assert "skipped" not in strip.readout.accessibleName()
    assert "scale 32768" in strip.readout.accessibleName()

    training = small_training(settings={"optimizers": ("discriminator", "generator")})
    controller.start(training, steps=1)
    assert "turn generator" in strip.readout.accessibleName()
    controller.start(small_training(evaluations=5), steps=2)
    assert "evaluations 5" in strip.readout.accessibleName()


def test_numbers_come_before_texts_of_stations_and_the_loss_before_other_numbers(
    qtbot: QtBot, controller: ShellController, themes: ThemeManager
) -> None:
    strip = PhaseStrip(controller, themes)  # type: ignore[arg-type]
    qtbot.addWidget(strip)
    strip.show()
    training = full_training()
    controller.start(training, steps=1)
    widths = []
    for width in (2400, 1100, 720):
        strip.resize(width, 40)
        qtbot.wait(1)
        widths.append(strip.steps.width())
        shown = strip.readout.text()
        assert "micro-batch" in shown and "loss" in shown
        assert ("scale" in shown) == (width > 1000)
        # The number at the end is not cut off.
        assert strip.readout.width() >= strip.readout.sizeHint().width()
    assert widths == sorted(widths, reverse=True)
