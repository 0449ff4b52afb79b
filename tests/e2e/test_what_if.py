"""What if in the real app: a step is tried in several ways, followed, sliced, cancelled; a batch is pinned; nothing moves."""

import numpy as np
import pytest

from gradscope.assets import sample_path
from gradscope.protocol.phases import Rest, RunUntil, Verb
from gradscope.protocol.what_if.tried import Directions, Mode
from gradscope.ui.actions.rows import ActionId
from tests.e2e.driver import App


@pytest.fixture
def app(shared_app: App) -> App:
    return shared_app


def open_sample(app: App, name: str) -> None:
    path = sample_path(name)
    assert path is not None
    app.open(path)


def losses_of(app: App) -> list[float]:
    return [float(value) for value in app.state.history.loss.values[:, 0]]


def trained_alone(app: App, steps: int) -> list[float]:
    open_sample(app, "digits_mlp")
    app.run(RunUntil.STEPS, steps)
    app.wait_for_rest()
    return losses_of(app)


def is_over(app: App) -> bool:
    return app.state.what_if.running is None


def test_what_is_tried_and_pinned_leaves_the_training_as_it_was(app: App) -> None:
    alone = trained_alone(app, 12)
    open_sample(app, "digits_mlp")
    app.run(RunUntil.STEPS, 4)
    app.wait_for_rest()
    app.go(Verb.FORWARD)
    app.go(Verb.BACKWARD)
    app.window.actions_[ActionId.WHAT_IF].trigger()
    app.wait(lambda: is_over(app))
    tab = app.window.trials.what_if.content
    assert tab.isVisible() and app.state.what_if.trials is not None
    assert "Step 4, with the gradients that wait" in tab.about.text()
    tab.follow.click()
    app.wait(lambda: is_over(app))
    along = app.state.what_if.along
    assert along is not None and float(along.losses[along.at == 0][0]) == app.state.what_if.trials.loss
    app.window.commands.what_ifs.slice(Directions.RANDOM, Mode.EVAL, 5)
    app.wait(lambda: is_over(app))
    assert app.state.what_if.surface is not None and app.state.what_if.surface.losses.shape == (5, 5)
    app.window.actions_[ActionId.PIN_PROBE].trigger()
    app.wait(lambda: is_over(app))
    app.go(Verb.STEP)
    assert "moved on" in tab.about.text()
    app.run(RunUntil.STEPS, 7)
    app.wait_for_rest()
    assert losses_of(app) == alone
    history = app.state.what_if.probe_history
    app.wait(lambda: len(history) == 9)
    assert history.steps.tolist() == list(range(4, 13)) and np.isfinite(history.losses).all()
    probe = app.window.trials.probe.content
    assert "Batch of step 4" in probe.about.text()
    app.window.actions_[ActionId.UNPIN_PROBE].trigger()
    app.wait(lambda: is_over(app))
    assert app.state.what_if.probe is None


def test_a_slice_is_cancelled_and_training_goes_on(app: App) -> None:
    open_sample(app, "digits_mlp")
    app.go(Verb.NEXT_BATCH)
    app.window.commands.what_ifs.slice(Directions.UPDATE_AND_GRADIENT, Mode.TRAIN, 101)
    app.wait(lambda: app.state.what_if.progress is not None)
    tab = app.window.trials.what_if.content
    tab.cancel.click()
    app.wait(lambda: is_over(app))
    assert tab.status.text() == "Cancelled: training is as it was" and app.state.what_if.surface is None
    app.go(Verb.NEXT_BATCH)
    assert app.state.position.step == 2 and app.state.position.rest is Rest.READY
