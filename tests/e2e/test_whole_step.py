"""The whole step through the window: windows of micro-batches, turns, mixed precision, Zero grad, Validate, closures."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gradscope.protocol import messages as m
from gradscope.protocol.phases import Phase, Rest, RunUntil, Verb
from gradscope.protocol.subjects import L2, SubjectKey, SubjectKind
from gradscope.state.selection import Selection
from gradscope.ui.actions.rows import ActionId
from gradscope.ui.docks.inspector import InspectorDock
from tests.e2e.driver import App

RECIPE = """
import torch
from torch import nn
from gradscope import Recipe

{before}

def recipe():
    model = nn.Linear(3, 2)
    data = [(torch.randn(3), torch.randn(2)) for _ in range(24)]
    more = {{}}
    {inside}
    sgd = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    return Recipe(**{{"model": model, "dataset": data, "loss": nn.MSELoss(), "batch_size": 4, "optimizer": sgd, **more}})
"""
GAN = """
class Gan(nn.Module):
    def __init__(self):
        super().__init__()
        self.generator = nn.Linear(2, 2)
        self.discriminator = nn.Linear(2, 1)

def discriminator_step(model, batch):
    fake = model.generator(torch.randn(len(batch), 2)).detach()
    return (model.discriminator(fake) - model.discriminator(batch)).mean()

def generator_step(model, batch):
    return -model.discriminator(model.generator(torch.randn(len(batch), 2))).mean()
"""
GAN_INSIDE = """
    model = Gan()
    parts = {"discriminator": model.discriminator, "generator": model.generator}
    more["model"], more["loss"], more["dataset"] = model, None, torch.randn(16, 2)
    more["optimizer"] = {name: torch.optim.Adam(part.parameters()) for name, part in parts.items()}
    more["training_step"] = {"discriminator": discriminator_step, "generator": generator_step}
"""
OVERFLOW = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return self.linear(x) * (1e4 if self.calls == 2 else 1.0)
"""

WriteStep = Callable[..., Path]


@pytest.fixture
def write_step(tmp_path: Path) -> WriteStep:
    """A recipe file; `inside` sets further fields in `more`."""

    def write(inside: str, before: str = "") -> Path:
        path = tmp_path / "step.py"
        path.write_text(RECIPE.format(before=before, inside=inside.strip()), encoding="utf-8")
        return path

    return write


@pytest.fixture
def app(shared_app: App) -> App:
    return shared_app


def press(app: App, action: ActionId) -> None:
    """As a person would: wait until it can be pressed, press it, and wait until it is done."""
    button = app.window.actions_[action]
    app.wait(button.isEnabled)
    button.trigger()
    app.wait_for_rest()


def readout(app: App) -> str:
    return app.window.phase_strip.readout.accessibleName()


def tabs(app: App) -> list[str]:
    workspace = app.window.workspace
    return [workspace.tabText(i) for i in range(workspace.count()) if workspace.isTabVisible(i)]


def log(app: App) -> list[str]:
    return [line.text for line in app.state.log.lines]


def moment_text(app: App, key: SubjectKey) -> str:
    app.controller.select(Selection.of_subject(key))
    app.controller.flush()
    inspector = app.window.findChild(InspectorDock)
    return str(inspector.header._moment.text())


def test_a_window_is_stepped_through_by_its_buttons(app: App, write_step: WriteStep) -> None:
    app.open(write_step('more["accumulate"], more["clip_norm"] = 4, 0.1'))
    assert tabs(app)[-1] == "Clipping"
    losses = []
    for micro in range(4):
        assert f"micro-batch {micro + 1}/4" in readout(app)
        press(app, ActionId.FORWARD)
        losses.append(app.state.history.loss.values[-1, 0])
        press(app, ActionId.BACKWARD)
        expected = Rest.BACKWARD if micro == 3 else Rest.ACCUMULATING
        assert app.state.position.rest is expected
        assert app.window.actions_[ActionId.STEP].isEnabled() == (micro == 3)
    grad = SubjectKey(SubjectKind.GRAD, "weight")
    assert "micro-batches 1 to 4 of 4 added up, batch 3 of epoch 0, before step 0; before clipping" in moment_text(
        app, grad
    )
    press(app, ActionId.STEP)
    np.testing.assert_allclose(app.state.history.loss.values, [[np.mean(losses)]], rtol=1e-6)
    clip = app.state.reports[Phase.STEP].clip
    assert clip is not None and clip.coefficient is not None
    clipped = SubjectKey(SubjectKind.CLIPPED_GRAD, "weight")
    assert f"multiplied with {clip.coefficient:.4g} by clip_norm" in moment_text(app, clipped)
    before, after = (app.state.history.latest(key) for key in (grad, clipped))
    assert before is not None and after is not None
    np.testing.assert_allclose(after.summary[L2] / before.summary[L2], clip.coefficient, rtol=1e-5)
    np.testing.assert_allclose(app.state.history.clipping.values[0, :2], [clip.norm, 0.1], rtol=1e-4)
    # The last window of an epoch of six batches is shorter, and Next batch takes it whole.
    assert "micro-batch 1/2" in readout(app)
    press(app, ActionId.NEXT_BATCH)
    assert (app.state.position.step, app.state.position.epoch) == (2, 1)
    momentum = SubjectKey(SubjectKind.OPTIMIZER_STATE, "weight", leaf=".momentum_buffer")
    assert moment_text(app, momentum).startswith("Momentum: ")


def test_each_optimizer_has_its_turn(app: App, write_step: WriteStep) -> None:
    app.open(write_step(GAN_INSIDE, before=GAN))
    assert "turn discriminator" in readout(app)
    for action in (ActionId.FORWARD, ActionId.BACKWARD, ActionId.STEP):
        press(app, action)
    assert "turn generator" in readout(app)
    assert "the turn of the optimizer generator" in app.window.actions_[ActionId.STEP].toolTip()
    # Next batch finishes the turns of this batch; then a whole batch is two steps.
    press(app, ActionId.NEXT_BATCH)
    assert (app.state.position.step, app.state.position.batch, app.state.position.optimizer) == (2, 1, "discriminator")
    press(app, ActionId.NEXT_BATCH)
    losses = app.state.history.losses
    assert {name: curve.steps.tolist() for name, curve in losses.items()} == {
        "discriminator": [0, 2],
        "generator": [1, 3],
    }
    generator = SubjectKey(SubjectKind.GRAD, "generator.weight")
    assert "turn of generator" in moment_text(app, generator)


def test_skipped_steps_are_told_everywhere(app: App, write_step: WriteStep) -> None:
    # A small loss, so that the first scale fits but for the one batch.
    inside = """
    model = Net()
    more.update(model=model, precision="fp16", loss=lambda output, target: nn.functional.mse_loss(output, target) / 100)
    """
    app.open(write_step(inside, before=OVERFLOW))
    assert tabs(app)[-1] == "Loss scale"
    for action in (ActionId.NEXT_BATCH, ActionId.FORWARD, ActionId.BACKWARD):
        press(app, action)
    key = SubjectKey(SubjectKind.GRAD, "linear.weight")
    assert "divided by the loss scale 65536" in moment_text(app, key)
    assert "not finite" in log(app)[-1]
    press(app, ActionId.STEP)
    assert app.state.reports[Phase.STEP].skipped
    assert "step 1 skipped" in readout(app)
    assert log(app)[-1] == "Step 1 was skipped: a gradient was not finite with a loss scale of 65536"
    assert app.window.status.message.text() == log(app)[-1]
    assert "Step 1 was skipped and changed nothing" in moment_text(app, SubjectKey(SubjectKind.UPDATE, "linear.weight"))
    assert app.state.history.skipped.steps.tolist() == [1]
    press(app, ActionId.NEXT_BATCH)
    assert "skipped" not in readout(app) and "scale 32768" in readout(app)


def test_zero_grad_by_hand(app: App, write_step: WriteStep) -> None:
    app.open(write_step('more["zero_grad"] = "manual"'))
    assert "until this is pressed" in app.window.actions_[ActionId.ZERO_GRAD].toolTip()
    press(app, ActionId.NEXT_BATCH)
    assert not any("adds to gradients" in line for line in log(app))
    press(app, ActionId.NEXT_BATCH)
    assert "adds to gradients of an earlier step" in log(app)[-1]
    key = SubjectKey(SubjectKind.GRAD, "weight")
    assert "added to what has been there since the last Zero grad" in moment_text(app, key)
    press(app, ActionId.ZERO_GRAD)
    assert moment_text(app, key).endswith("Zero grad has cleared it since")
    pages: list[object] = []
    app.controller.fetch(m.FetchPage(subject=key), pages.append)
    app.wait(lambda: bool(pages))
    assert isinstance(pages[0], m.Unavailable)
    press(app, ActionId.NEXT_BATCH)
    assert sum("adds to gradients" in line for line in log(app)) == 1
    assert "cleared" not in moment_text(app, key)


def test_validate_on_demand_and_at_the_end_of_an_epoch(app: App, write_step: WriteStep) -> None:
    inside = """
    more["validation"] = data[:8]
    more["metrics"] = {"error": lambda output, target: (output - target).abs().mean()}
    more["best_metric"] = "error"
    """
    app.open(write_step(inside))
    press(app, ActionId.VALIDATE)
    assert "Validation before the first step: loss " in log(app)[-1] and "the best so far" in log(app)[-1]
    app.run(RunUntil.EPOCH)
    app.wait(lambda: app.state.position.epoch == 1 and not app.state.position.running)
    assert app.state.history.validations["loss"].steps.tolist() == [-1, 5]
    press(app, ActionId.VALIDATE)
    validation = app.state.validation
    assert validation is not None and (validation.step, validation.samples) == (5, 8)
    assert app.state.history.validations["error"].values[-1, 0] == validation.metrics["error"]
    assert tabs(app)[-1] == "Validation"


def test_a_closure_s_evaluations_are_told(app: App, write_step: WriteStep) -> None:
    app.open(write_step('more["optimizer"] = torch.optim.LBFGS(model.parameters(), max_iter=3)'))
    press(app, ActionId.NEXT_BATCH)
    count = app.state.reports[Phase.STEP].evaluations
    assert count > 1
    assert f"evaluations {count}" in readout(app)
    assert f"has evaluated the loss {count} times" in app.window.actions_[ActionId.STEP].toolTip()
    validate = app.window.actions_[ActionId.VALIDATE]
    assert not validate.isEnabled() and "no validation data" in validate.toolTip()
    app.go(Verb.VALIDATE)
    assert app.state.failure is None and app.state.position.rest is Rest.READY
