"""The console in the real app: what is evaluated, interrupted, watched, kept; and an engine that dies of it."""

from pathlib import Path

import pytest

from gradscope.assets import sample_path
from gradscope.protocol.messages.evaluate import Evaluated
from gradscope.protocol.phases import Rest, RunUntil, Verb
from gradscope.ui.docks.console import ConsoleDock
from tests.e2e.driver import App


@pytest.fixture
def app(shared_app: App) -> App:
    path = sample_path("digits_mlp")
    assert path is not None
    shared_app.open(path)
    shared_app.window.console.focus_field()
    return shared_app


def answer(app: App, text: str, *, keep: bool = False) -> Evaluated:
    dock: ConsoleDock = app.window.console
    dock.keep.setChecked(keep)
    app.wait(lambda: app.state.evaluate_refusal() is None)
    dock.field.submitted.emit(text)
    entry = app.state.console.entries[-1]
    app.wait(lambda: entry.reply is not None)
    dock.keep.setChecked(False)
    assert entry.reply is not None
    return entry.reply


def test_expressions_at_rest_and_what_they_change_is_put_back(app: App) -> None:
    app.go(Verb.FORWARD)
    app.go(Verb.BACKWARD)
    assert answer(app, "loss.item()").text == repr(app.state.history.loss.values[-1, 0].item())
    before = answer(app, "model.hidden.weight.norm().item(), torch.rand(1).item()").text
    assert not answer(app, "model.hidden.weight.data.zero_(); optimizer.step(); torch.rand(9)").error
    assert answer(app, "model.hidden.weight.norm().item(), torch.rand(1).item()").text == before
    told = answer(app, 'grad("hidden")')
    assert told.tensors[0].subject is not None and told.tensors[0].subject.name == "hidden"
    app.go(Verb.STEP)
    assert app.state.position.rest is Rest.READY


def test_what_is_kept_is_in_the_log_and_in_the_training(app: App) -> None:
    assert answer(app, "optimizer.param_groups[0]['lr'] = 0.125", keep=True).moved
    assert any("Kept of what was evaluated" in line.text for line in app.state.log.lines)
    app.go(Verb.NEXT_BATCH)
    assert app.state.history.lr.values[-1, 0] == 0.125


def test_an_endless_loop_is_interrupted(app: App) -> None:
    dock = app.window.console
    dock.field.submitted.emit("print('in it', flush=True)\nwhile True: pass")
    app.wait(lambda: app.state.console.running is not None)
    # It may not have begun yet: an interrupt that comes too early is over.
    entry = app.state.console.entries[-1]

    def is_broken_off() -> bool:
        dock.stop.click()
        return entry.reply is not None

    app.wait(is_broken_off)
    assert entry.reply is not None and entry.reply.is_cancelled
    assert answer(app, "1 + 1").text == "2"


def test_watched_expressions_are_drawn_over_a_run(app: App) -> None:
    app.window.console.watches.added.emit("loss.item()")
    app.window.console.watches.added.emit("1 / 0")
    app.run(RunUntil.STEPS, 5)
    app.wait_for_rest()
    loss, bad = app.state.console.watches
    app.wait(lambda: loss.step == app.state.position.step)
    known = dict(zip(range(5), app.state.history.loss.values[:5, 0], strict=True))
    assert loss.steps and all(number == known[step] for step, number in zip(loss.steps, loss.numbers, strict=True))
    assert bad.value is not None and bad.value.is_off and "ZeroDivisionError" in bad.value.error
    for watch in (loss, bad):
        app.window.console.watches.removed.emit(watch)


def test_an_engine_that_is_ended_by_it_leaves_the_app(own_app: App, tmp_path: Path) -> None:
    path = sample_path("digits_mlp")
    assert path is not None
    own_app.open(path)
    own_app.window.console.field.submitted.emit("import os; os._exit(3)")
    own_app.wait_for_death()
    own_app.wait(lambda: own_app.state.console.running is None)
    reply = own_app.state.console.entries[-1].reply
    assert reply is not None and reply.error.startswith("The engine has ended")
