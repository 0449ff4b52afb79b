"""The Console panel: what a person types and sees, what is remembered, and the list of watched expressions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QRectF, Qt, QUrl
from pytestqt.qtbot import QtBot

from gradscope.protocol import messages as m
from gradscope.protocol.failure import Failure, FailureKind
from gradscope.protocol.messages.evaluate import MAX_CODE, TensorTold, WatchTime, WatchValue
from gradscope.protocol.subjects import COLUMNS, SubjectKey, SubjectKind
from gradscope.state.engine import EngineState, EngineStatus
from gradscope.state.topics import Topic
from gradscope.ui.actions.console_memory import MAX_TYPED, ConsoleMemory
from gradscope.ui.actions.rows import ActionId
from gradscope.ui.console.sparkline import points
from gradscope.ui.console.watch_model import Column
from gradscope.ui.dialogs.value import ValueDialog
from gradscope.ui.docks.console import ConsoleDock
from gradscope.ui.look.colours import DARK
from gradscope.ui.look.settings import Setting
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.window.main_window import MainWindow
from gradscope.ui.words.console import written_out
from tests.ui.fakes import small_training, switch_theme
from tests.ui.shell_fakes import FakeClient, ShellController


class Prompt(ShellController):
    """Keeps what was asked; the test answers."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.sent: list[Any] = []
        self.on_replies: list[Callable[[Any], None]] = []
        client = FakeClient(self)
        client.send = self.sent.append  # type: ignore[attr-defined]
        self.client = client

    def ask(self, message: object, on_reply: Callable[[Any], None]) -> None:
        if isinstance(message, (m.Evaluate, m.Complete, m.SetWatches)):
            self.sent.append(message)
            self.on_replies.append(on_reply)

    def reply_with(self, reply: object) -> None:
        self.on_replies[-1](reply)
        self.flush()


@pytest.fixture
def prompt(qtbot: QtBot, tmp_path: Path) -> Prompt:
    prompt = Prompt(tmp_path)
    prompt.start(small_training(), steps=3)
    return prompt


@pytest.fixture
def themes(prompt: Prompt) -> ThemeManager:
    return ThemeManager(prompt.settings, prompt)


@pytest.fixture
def window(prompt: Prompt, themes: ThemeManager, qtbot: QtBot) -> MainWindow:
    window = MainWindow(prompt, themes)  # type: ignore[arg-type]
    qtbot.addWidget(window)
    window.resize(1440, 900)
    window.show()
    window.console.focus_field()
    prompt.flush()
    return window


@pytest.fixture
def dock(window: MainWindow) -> ConsoleDock:
    return window.console


def told(**fields: Any) -> TensorTold:
    base = TensorTold(
        leaf="",
        shape=(100, 3),
        dtype="float32",
        device="cpu",
        requires_grad=False,
        summary=np.array([300.0, 1.0, 0.0, 4.0, -1.0, 2.0, 0.5, 1.0, 2.0]),
        edges=np.arange(4.0),
        counts=np.array([2, 3, 1]),
        values=np.arange(192.0).reshape(64, 3),
    )
    return replace(base, **fields)


def enter(dock: ConsoleDock, qtbot: QtBot, text: str) -> None:
    dock.field.setPlainText(text)
    qtbot.keyClick(dock.field, Qt.Key.Key_Return)


def text_of(dock: ConsoleDock) -> str:
    return dock.transcript.toPlainText()


# ------------------------------------------------------------------------------------------------- evaluating


def test_the_empty_console_offers_something_to_try(dock: ConsoleDock, prompt: Prompt) -> None:
    assert "Evaluate Python where the training stands" in text_of(dock) and "optimizer.param_groups" in text_of(dock)
    dock.transcript.anchorClicked.emit(QUrl("example:0"))
    assert prompt.sent == [m.Evaluate(text="loss")]
    assert text_of(dock) == ">>> loss"


def test_what_is_entered_is_evaluated_and_its_answer_shown(dock: ConsoleDock, prompt: Prompt, qtbot: QtBot) -> None:
    enter(dock, qtbot, "print(1)\nx.mean()")
    assert prompt.sent == [m.Evaluate(text="print(1)\nx.mean()")]
    assert dock.field.toPlainText() == "" and dock.stop.isEnabled() and not dock.run.isEnabled()
    prompt.reply_with(m.Evaluated(text="tensor(0.5)", output="1\n", seconds=0.25))
    assert text_of(dock).splitlines() == [">>> print(1)", "... x.mean()", "1", "tensor(0.5)", "250 ms"]
    assert dock.run.isEnabled() and not dock.stop.isEnabled()


def test_an_error_is_shown_with_its_lines_and_html_is_text(dock: ConsoleDock, prompt: Prompt, qtbot: QtBot) -> None:
    enter(dock, qtbot, "f()")
    prompt.reply_with(m.Evaluated(error="NameError: <b>f</b>", traceback='  File "<console 1>", line 1\nNameError: f'))
    assert text_of(dock).splitlines() == [">>> f()", "NameError: <b>f</b>", '  File "<console 1>", line 1']
    enter(dock, qtbot, "1 +")
    prompt.reply_with(
        m.Failed(failure=Failure(kind=FailureKind.BAD_INPUT, sentence="no"), position=prompt.state.position)
    )
    assert text_of(dock).splitlines()[-1] == "no"


def test_an_answer_without_a_value_is_an_answer(dock: ConsoleDock, prompt: Prompt, qtbot: QtBot) -> None:
    enter(dock, qtbot, "optimizer.step()")
    prompt.reply_with(m.Evaluated())
    assert text_of(dock).splitlines()[-1] == "No value; what it changed is put back"


def test_a_long_text_is_not_sent(dock: ConsoleDock, prompt: Prompt, qtbot: QtBot) -> None:
    enter(dock, qtbot, "a" * (MAX_CODE + 1))
    assert prompt.sent == [] and "expected at most 20,000" in text_of(dock)


def test_keeping_effects_is_said_before_and_after(dock: ConsoleDock, prompt: Prompt, qtbot: QtBot) -> None:
    assert "is put back" in dock.title_bar.note.text()
    dock.keep.click()
    assert "stays" in dock.title_bar.note.text()
    enter(dock, qtbot, "w.zero_()")
    assert prompt.sent == [m.Evaluate(text="w.zero_()", keep=True)]
    revision = prompt.state.revision
    prompt.reply_with(m.Evaluated(moved=("model.w", "random numbers")))
    assert text_of(dock).splitlines()[-1] == "Changed for good: model.w, random numbers"
    assert prompt.state.revision > revision


def test_what_runs_is_interrupted(dock: ConsoleDock, prompt: Prompt, qtbot: QtBot) -> None:
    enter(dock, qtbot, "while True: pass")
    dock.stop.click()
    qtbot.keyClick(dock.field, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert prompt.sent[1:] == [m.Interrupt(), m.Interrupt()]
    prompt.reply_with(m.Evaluated(error="It was interrupted. Training is as before", is_cancelled=True))
    dock.stop.click()
    assert len(prompt.sent) == 3


def test_an_engine_that_ends_answers_nothing(dock: ConsoleDock, prompt: Prompt, qtbot: QtBot) -> None:
    enter(dock, qtbot, "import os; os._exit(1)")
    prompt.state.set_engine(EngineState(status=EngineStatus.DEAD, text="It has ended"))
    prompt.flush()
    assert text_of(dock).splitlines()[-1] == "The engine has ended before there was an answer"
    assert not dock.run.isEnabled() and "engine is not running" in dock.title_bar.note.text()


def test_while_training_runs_it_says_why_not(dock: ConsoleDock, prompt: Prompt, qtbot: QtBot) -> None:
    prompt.rest_at(prompt.state.position.rest, running=True)
    assert dock.title_bar.note.text() == "Training is running: press Pause first"
    enter(dock, qtbot, "loss")
    assert prompt.sent == [] and dock.field.toPlainText() == "loss"
    prompt.rest_at(prompt.state.position.rest)
    assert dock.run.isEnabled()


def test_what_was_typed_comes_back(dock: ConsoleDock, prompt: Prompt, qtbot: QtBot) -> None:
    for text in ("first", "second\nline"):
        enter(dock, qtbot, text)
        prompt.reply_with(m.Evaluated())
    dock.field.setPlainText("draft")
    keys = (
        Qt.Key.Key_Up,
        Qt.Key.Key_Up,
        Qt.Key.Key_Up,
        Qt.Key.Key_Up,
        Qt.Key.Key_Down,
        Qt.Key.Key_Down,
        Qt.Key.Key_Down,
    )
    seen = []
    for key in keys:
        qtbot.keyClick(dock.field, key)
        seen.append(dock.field.toPlainText())
    assert seen[0] == "second\nline" and "first" in seen and seen[-1] == "draft"


def test_shift_enter_begins_a_line_and_enter_evaluates(dock: ConsoleDock, prompt: Prompt, qtbot: QtBot) -> None:
    height = dock.field.sizeHint().height()
    qtbot.keyClicks(dock.field, "if x:")
    qtbot.keyClick(dock.field, Qt.Key.Key_Return, Qt.KeyboardModifier.ShiftModifier)
    qtbot.keyClicks(dock.field, "if y:")
    qtbot.keyClick(dock.field, Qt.Key.Key_Return, Qt.KeyboardModifier.ShiftModifier)
    qtbot.keyClick(dock.field, Qt.Key.Key_Tab)
    qtbot.keyClicks(dock.field, "z")
    text = "if x:\n    if y:\n            z"
    assert dock.field.toPlainText() == text and dock.field.sizeHint().height() > height
    qtbot.keyClick(dock.field, Qt.Key.Key_Return)
    assert prompt.sent == [m.Evaluate(text=text)]


def test_names_are_completed(dock: ConsoleDock, prompt: Prompt, qtbot: QtBot) -> None:
    qtbot.keyClicks(dock.field, "model.f")
    qtbot.keyClick(dock.field, Qt.Key.Key_Tab)
    assert prompt.sent == [m.Complete(text="model.f", cursor=7)]
    prompt.reply_with(m.Completions(start=6, names=("fc1", "fc2")))
    assert dock.field.toPlainText() == "model.fc" and dock.field.completer.popup().isVisible()
    qtbot.keyClick(dock.field, Qt.Key.Key_Tab)
    assert dock.field.toPlainText() == "model.fc1"
    dock.field.clear()
    qtbot.keyClicks(dock.field, "op")
    qtbot.keyClick(dock.field, Qt.Key.Key_Tab)
    prompt.reply_with(m.Completions(start=0, names=("optimizer",)))
    assert dock.field.toPlainText() == "optimizer"
    qtbot.keyClick(dock.field, Qt.Key.Key_Tab)
    dock.field.clear()
    prompt.reply_with(m.Completions(start=0, names=("optimizer",)))
    assert dock.field.toPlainText() == ""


def test_a_key_brings_it_to_the_front(window: MainWindow, dock: ConsoleDock) -> None:
    window.moments.raise_()
    window.actions_[ActionId.CONSOLE].trigger()
    assert not dock.field.visibleRegion().isEmpty()


def test_tab_leaves_an_empty_field(dock: ConsoleDock, qtbot: QtBot, window: MainWindow) -> None:
    window.activateWindow()
    dock.field.setFocus()
    qtbot.keyClick(dock.field, Qt.Key.Key_Tab)
    assert dock.field.toPlainText() == ""


# ------------------------------------------------------------------------------------------------- looking closer


def test_a_tensor_is_inspected(dock: ConsoleDock, prompt: Prompt, qtbot: QtBot) -> None:
    enter(dock, qtbot, "w")
    key = SubjectKey(SubjectKind.PARAMETER, "fc1.weight")
    prompt.reply_with(m.Evaluated(text="Tensor 100 x 3", tensors=(told(subject=key),)))
    assert text_of(dock).splitlines()[-1].split("   ")[:3] == ["Inspect", "Show fc1.weight in the panels", "Watch this"]
    with qtbot.waitSignal(dock.inspected) as signal:
        dock.transcript.anchorClicked.emit(QUrl("inspect:1:0"))
    assert signal.args is not None
    (dialog,) = signal.args
    assert isinstance(dialog, ValueDialog) and dialog.windowTitle().startswith("w")
    rows = dialog.numbers.all_as_text().splitlines()
    assert "count\t300" in rows and "NaN\t1" in rows and "max\t2.0" in rows
    assert dialog.values.model().index(63, 3).data() == "191"
    dialog.reject()
    dock.transcript.anchorClicked.emit(QUrl("select:1:0"))
    assert prompt.state.selection.name == "fc1.weight"
    for odd in ("inspect:1:7", "inspect:99:0", "inspect:x", "https://example.org", "select:1:"):
        dock.transcript.anchorClicked.emit(QUrl(odd))


def test_a_tensor_without_numbers_is_inspected_too(themes: ThemeManager, qtbot: QtBot) -> None:
    nothing = told(
        shape=(0,),
        note="a meta tensor has no values",
        summary=np.full(len(COLUMNS), np.nan),
        edges=np.empty(0),
        counts=np.empty(0, np.int64),
        values=np.empty((0, 0)),
    )
    dialog = ValueDialog("w\n" * 50, nothing, themes)
    qtbot.addWidget(dialog)
    dialog.show()
    assert dialog.numbers.model().rowCount() == 0 and not dialog.bars.isVisible()


# ------------------------------------------------------------------------------------------------- watching


def watched(dock: ConsoleDock) -> list[str]:
    model = dock.watches.model
    columns = (Column.EXPRESSION, Column.VALUE, Column.TIME)
    return [" | ".join(str(model.index(row, column).data()) for column in columns) for row in range(model.rowCount())]


def values(step: int, *of: WatchValue, after_step: bool = True, note: str = "") -> m.WatchValues:
    return m.WatchValues(step=step, after_step=after_step, values=of, note=note)


def test_an_answer_is_watched(dock: ConsoleDock, prompt: Prompt, qtbot: QtBot) -> None:
    enter(dock, qtbot, "w.norm()")
    prompt.reply_with(m.Evaluated(text="tensor(1.)"))
    dock.transcript.anchorClicked.emit(QUrl("watch:1"))
    dock.transcript.anchorClicked.emit(QUrl("watch:1"))
    assert watched(dock) == ["w.norm() | – | each step"]
    sent = prompt.sent[-1]
    assert isinstance(sent, m.SetWatches) and [watch.text for watch in sent.watches] == ["w.norm()"]


def test_values_are_shown_and_drawn(dock: ConsoleDock, prompt: Prompt, qtbot: QtBot) -> None:
    qtbot.keyClicks(dock.watches.field, "loss")
    qtbot.keyClick(dock.watches.field, Qt.Key.Key_Return)
    (watch,) = prompt.state.console.watches
    for step, number in enumerate((3.0, 2.0, float("nan"), 1.0)):
        prompt.state.apply(values(step, WatchValue(id=watch.id, text=str(number), number=number)))
    prompt.state.apply(values(4, WatchValue(id=watch.id, text="9", number=9.0), after_step=False))
    prompt.flush()
    assert watched(dock) == ["loss | 9 | each step"]
    assert watch.steps == [0, 1, 2, 3]
    assert "steps 0 to 3" in str(dock.watches.model.index(0, Column.NUMBERS).data(Qt.ItemDataRole.ToolTipRole))
    lines, marks = points(watch.steps, watch.numbers, QRectF(0, 0, 30, 10))
    assert [len(line) for line in lines] == [2, 1] and marks == [20.0]
    assert (lines[0][0].y(), lines[1][0].y()) == (0.0, 10.0)
    # The training has gone back.
    prompt.state.apply(values(1, WatchValue(id=watch.id, text="5", number=5.0), note="half of the time"))
    prompt.flush()
    assert (watch.steps, watch.numbers) == ([0, 1], [3.0, 5.0])
    window = dock.grab()
    assert not window.isNull()


def test_one_that_was_switched_off_is_switched_on_again(dock: ConsoleDock, prompt: Prompt) -> None:
    prompt.state.console.add("1 / 0")
    (watch,) = prompt.state.console.watches
    prompt.state.apply(values(0, WatchValue(id=watch.id, error="ZeroDivisionError", is_off=True)))
    prompt.flush()
    assert watched(dock) == ["1 / 0 | ZeroDivisionError | switched off"]
    dock.watches.time_changed.emit(watch, WatchTime.STEP)
    assert isinstance(prompt.sent[-1], m.SetWatches)


def test_watches_are_changed_and_removed_by_keys(dock: ConsoleDock, prompt: Prompt, qtbot: QtBot) -> None:
    for text in ("a", "b"):
        prompt.state.console.add(text)
    prompt.state.touch(Topic.WATCHES)
    prompt.flush()
    model, table = dock.watches.model, dock.watches.table
    table.setCurrentIndex(model.index(0, Column.TIME))
    dock.watches.table.activated.emit(model.index(0, Column.TIME))
    assert watched(dock) == ["a | – | each stop", "b | – | each step"]
    model.setData(model.index(1, 0), "c")
    assert watched(dock)[1] == "c | – | each step"
    table.selectRow(0)
    qtbot.keyClick(table, Qt.Key.Key_Delete)
    assert watched(dock) == ["c | – | each step"]
    model.setData(model.index(0, 0), "  ")
    assert watched(dock) == [] and prompt.sent[-1] == m.SetWatches(watches=())


# ------------------------------------------------------------------------------------------------- remembering


def test_what_is_typed_and_watched_is_remembered_by_file(prompt: Prompt) -> None:
    memory = ConsoleMemory(prompt.settings)
    prompt.state.console.add("loss", WatchTime.STOP)
    memory.remember("/a.py", [str(i) for i in range(300)] + ["x" * 9999], prompt.state.console.expressions)
    memory.remember("/b.py", ["b"], ())
    typed, found = ConsoleMemory(prompt.settings).recall("/a.py")
    assert typed == [str(i) for i in range(300 - MAX_TYPED, 300)] and found == [("loss", WatchTime.STOP)]
    assert memory.recall("/b.py") == (["b"], []) and memory.recall("/c.py") == ([], [])


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"/a.py": 1}', '{"/a.py": {"typed": [1], "watched": [["a", "never"], 2]}}']
)
def test_what_cannot_be_understood_is_nothing(prompt: Prompt, text: str) -> None:
    prompt.settings.set(Setting.CONSOLE, text)
    assert ConsoleMemory(prompt.settings).recall("/a.py") == ([], [])


def test_the_same_file_again_keeps_what_was_said_and_watched(dock: ConsoleDock, prompt: Prompt, qtbot: QtBot) -> None:
    enter(dock, qtbot, "loss")
    prompt.reply_with(m.Evaluated(text="1"))
    prompt.state.console.add("loss")
    (watch,) = prompt.state.console.watches
    prompt.state.apply(values(0, WatchValue(id=watch.id, text="1", number=1.0)))
    prompt.start(small_training())
    prompt.flush()
    assert text_of(dock).startswith(">>> loss") and watched(dock) == ["loss | – | each step"]
    assert isinstance(prompt.sent[-1], m.SetWatches)


def test_a_theme_draws_everything_anew(dock: ConsoleDock, prompt: Prompt, themes: ThemeManager, qtbot: QtBot) -> None:
    enter(dock, qtbot, "loss")
    prompt.reply_with(m.Evaluated(text="1"))
    before = text_of(dock)
    switch_theme(themes, DARK)
    assert text_of(dock) == before
    dock.title_bar.findChildren(type(dock.run))
    prompt.state.console.clear()
    prompt.state.touch(Topic.CONSOLE)
    prompt.flush()
    assert "Try" in text_of(dock)


def test_names_of_parameters_are_written_as_python() -> None:
    assert written_out("encoder.0.weight", "model") == "model.encoder[0].weight"
    assert written_out("0.weight", "model") == "model[0].weight"
    assert written_out("model.fc1.weight", "") == "model.fc1.weight"


def test_a_click_at_the_small_line_draws_the_expression_over_the_steps(
    window: MainWindow, dock: ConsoleDock, prompt: Prompt, qtbot: QtBot
) -> None:
    prompt.state.console.add("loss.item()")
    (watch,) = prompt.state.console.watches
    watch.steps, watch.numbers = [0, 1, 2], [3.0, math.nan, 1.0]
    prompt.state.touch(Topic.WATCHES)
    prompt.flush()
    table = dock.watches.table
    table.clicked.emit(dock.watches.model.index(0, Column.VALUE))
    assert window.watch_paths.chart is None
    table.clicked.emit(dock.watches.model.index(0, Column.NUMBERS))
    chart = window.watch_paths.chart
    assert chart is not None and chart.isVisible() and chart.accessibleName() == "loss.item()"
    data = chart.table(prompt.state)
    assert data.rows == 3 and [data.cell(2, column) for column in range(2)] == [2, 1.0]
    assert chart.readout.text() == "1 after step 2"
    # It goes on with the expression, and says so when that is gone.
    watch.steps, watch.numbers = [0, 1, 2, 3], [3.0, math.nan, 1.0, 0.5]
    prompt.state.touch(Topic.WATCHES)
    prompt.flush()
    assert chart.readout.text() == "0.5 after step 3"
    prompt.state.console.watches.clear()
    prompt.state.touch(Topic.WATCHES)
    prompt.flush()
    assert chart.message.startswith("The expression is not watched any more")
