"""The Console panel: Python in the stopped training, and the expressions that are watched."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication, QSize, Signal, Slot
from PySide6.QtWidgets import QCheckBox, QToolButton, QVBoxLayout, QWidget

from gradscope.protocol.messages.evaluate import TensorTold
from gradscope.state.selection import Selection
from gradscope.state.topics import Topic
from gradscope.ui.actions.console import Console
from gradscope.ui.actions.controller import Controller
from gradscope.ui.console.code_field import CodeField
from gradscope.ui.console.field_row import FieldRow
from gradscope.ui.console.transcript import Transcript
from gradscope.ui.console.watch_list import WatchList
from gradscope.ui.dialogs.value import ValueDialog
from gradscope.ui.docks.console_split import ConsoleSplit
from gradscope.ui.docks.panel import Panel
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager, icon
from gradscope.ui.widgets.plain import plain_tip
from gradscope.ui.widgets.redraw import owing
from gradscope.ui.words.console import KEPT, PUT_BACK, examples

_TOPICS = frozenset({Topic.SESSION, Topic.CONSOLE, Topic.WATCHES, Topic.ENGINE, Topic.POSITION, Topic.MODEL})


class ConsoleDock(Panel):
    """What was evaluated above the field to type in; the watched expressions beside them."""

    inspected = Signal(object)
    """The dialog that shows a tensor of an answer."""

    def __init__(
        self, controller: Controller, themes: ThemeManager, parent: QWidget | None = None, *, console: Console
    ) -> None:
        super().__init__(
            QCoreApplication.translate("Console", "Console"), name="consoleDock", themes=themes, parent=parent
        )
        self._controller, self._themes, self._console = controller, themes, console
        self.transcript = Transcript(themes, self)
        self.transcript.setAccessibleName(self.tr("What was evaluated"))
        self.field = CodeField(self)
        self.field.setObjectName("codeField")
        self.field.setAccessibleName(self.tr("Python to evaluate"))
        self.run = self._button("run", self.tr("Evaluate (Enter); Shift+Enter begins a new line"))
        self.stop = self._button("stop", self.tr("Interrupt what is evaluated (Ctrl+C)"))
        self.keep = QCheckBox(self.tr("Keep effects"), self)
        self.keep.setToolTip(plain_tip(QCoreApplication.translate("Console", KEPT)))
        self.watches = WatchList(themes, self)
        self.split = ConsoleSplit(self._left(), self.watches, self)
        self.body.addWidget(self.split, 1)
        self.title_bar.add_button("clear", self.tr("Clear what was evaluated"), console.clear)
        self._connect()
        self._on_theme_changed(themes.theme)
        self._refresh()

    def focus_field(self) -> None:
        """Bring it to the front, ready to type."""
        self.show()
        self.raise_()
        self.field.setFocus()

    # ------------------------------------------------------------------------------------------ slots

    @Slot(object)
    @owing
    def _on_refreshed(self, topics: set[Topic]) -> None:
        if topics & _TOPICS:
            self._refresh()

    @Slot(str)
    def _on_submitted(self, text: str) -> None:
        if self._console.evaluate(text, keep=self.keep.isChecked()):
            self.field.clear()

    @Slot()
    def _on_run_clicked(self) -> None:
        self._on_submitted(self.field.toPlainText().strip("\n"))
        self.field.setFocus()

    @Slot(str, int)
    def _on_completion_wanted(self, text: str, cursor: int) -> None:
        self._console.complete(text, cursor, self.field.offer)

    @Slot(str)
    def _on_example_wanted(self, text: str) -> None:
        if not self._console.evaluate(text, keep=self.keep.isChecked()):
            # Now it cannot be: when it can, it is there.
            self.field.setPlainText(text)
        self.field.setFocus()

    @Slot(int, int)
    def _on_inspect_wanted(self, number: int, place: int) -> None:
        text, tensor = self._tensor(number, place)
        if tensor is not None:
            dialog = ValueDialog(text, tensor, self._themes, self)
            dialog.show()
            self.inspected.emit(dialog)

    @Slot(int, int)
    def _on_select_wanted(self, number: int, place: int) -> None:
        _, tensor = self._tensor(number, place)
        if tensor is not None and tensor.subject is not None:
            self._controller.select(Selection.of_subject(tensor.subject))

    @Slot(bool)
    def _on_keep_toggled(self, _checked: bool) -> None:
        self._refresh()

    @Slot(object)
    def _on_theme_changed(self, theme: Theme) -> None:
        for button, name in ((self.run, "run"), (self.stop, "stop")):
            button.setIcon(icon(name, theme))

    # ------------------------------------------------------------------------------------------ private

    def _connect(self) -> None:
        console = self._console
        self.field.submitted.connect(self._on_submitted)
        self.field.completion_wanted.connect(self._on_completion_wanted)
        self.field.interrupt_wanted.connect(console.interrupt)
        self.run.clicked.connect(self._on_run_clicked)
        self.stop.clicked.connect(console.interrupt)
        self.keep.toggled.connect(self._on_keep_toggled)
        self.transcript.example_wanted.connect(self._on_example_wanted)
        self.transcript.inspect_wanted.connect(self._on_inspect_wanted)
        self.transcript.select_wanted.connect(self._on_select_wanted)
        self.transcript.watch_wanted.connect(console.watch)
        self.watches.added.connect(console.watch)
        self.watches.edited.connect(lambda watch, text: console.change_watch(watch, text=text))
        self.watches.time_changed.connect(lambda watch, each: console.change_watch(watch, each=each))
        self.watches.removed.connect(console.unwatch)
        self._controller.panels_refreshed.connect(self._on_refreshed)
        self._themes.changed.connect(self._on_theme_changed)

    def _left(self) -> QWidget:
        left = QWidget(self)
        row = FieldRow(self.field, (self.run, self.stop, self.keep), left)
        column = QVBoxLayout(left)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(self.transcript, 1)
        column.addWidget(row)
        return left

    def _button(self, icon_name: str, tooltip: str) -> QToolButton:
        button = QToolButton(self)
        button.setIcon(icon(icon_name, self._themes.theme))
        side = self.fontMetrics().height()
        button.setIconSize(QSize(side, side))
        button.setToolTip(plain_tip(tooltip))
        button.setAccessibleName(tooltip)
        return button

    def _refresh(self) -> None:
        state = self._controller.state
        console, refusal = state.console, state.evaluate_refusal()
        is_running = console.running is not None
        self.transcript.show_entries(console.entries, examples(state.session))
        self.field.set_typed(self._console.typed)
        # What is typed stays, and can be gone on with, while training runs; it only cannot be evaluated.
        self.field.setEnabled(state.snapshot is None)
        placeholder = self.tr("Python, as %1").replace("%1", next(iter(examples(state.session)), "1 + 1"))
        self.field.show_placeholder(placeholder if refusal is None or is_running else refusal)
        self.run.setEnabled(refusal is None)
        self.stop.setEnabled(is_running)
        self.keep.setEnabled(state.snapshot is None)
        self.set_title_note(self._status(refusal))
        self.watches.field.setEnabled(state.snapshot is None)
        self.watches.show_state(console)

    def _status(self, refusal: str | None) -> str:
        if refusal is not None:
            return refusal
        return QCoreApplication.translate("Console", KEPT if self.keep.isChecked() else PUT_BACK)

    def _tensor(self, number: int, place: int) -> tuple[str, TensorTold | None]:
        entry = next((e for e in self._controller.state.console.entries if e.number == number), None)
        if entry is None or entry.reply is None or place >= len(entry.reply.tensors):
            return "", None
        return entry.text, entry.reply.tensors[place]
