"""What stands in the place of the stations while an earlier step is shown: which it is, and the ways out of it."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QSizePolicy, QWidget

from gradscope.ui.actions.actions import Actions, plain, translated
from gradscope.ui.actions.controller import Controller
from gradscope.ui.actions.rows import ActionId
from gradscope.ui.actions.table import TABLE
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.widgets.action_button import ActionButton
from gradscope.ui.widgets.elided_label import ElidedLabel
from gradscope.ui.words.shown_step import heading

_MOVES = (ActionId.SHOW_EARLIER, ActionId.SHOW_LATER)


class ShownStepBand(QWidget):
    """Hidden while the newest of everything is shown."""

    def __init__(
        self, controller: Controller, themes: ThemeManager, *, actions: Actions, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._controller = controller
        self.label = ElidedLabel(parent=self)
        font = self.label.font()
        font.setBold(True)
        self.label.setFont(font)
        self._line = line = QHBoxLayout(self)
        line.setContentsMargins(0, 0, 0, 0)
        line.setSpacing(4)
        self.buttons: dict[ActionId, ActionButton] = {}
        for action_id in (*_MOVES, ActionId.SHOW_NOW, ActionId.GO_TO_SHOWN):
            row = TABLE[action_id]
            text = plain(translated(row.short or row.text, steps=0))
            button = ActionButton(actions[action_id], icon_name=row.icon or "", text=text, themes=themes, parent=self)
            self.buttons[action_id] = button
        for action_id in _MOVES:
            button = self.buttons[action_id]
            button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonIconOnly)
            line.addWidget(button)
        # What is to be pressed stands beside what is said, not at the far end of the line.
        self.label.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        self.label.setContentsMargins(4, 0, 8, 0)
        line.addWidget(self.label)
        line.addWidget(self.buttons[ActionId.SHOW_NOW])
        line.addWidget(self.buttons[ActionId.GO_TO_SHOWN])
        line.addStretch(1)
        self.hide()

    def whole_width(self) -> int:
        """What the sentence and all words on the buttons need."""
        self._tell()
        self._show_texts(True)
        return self._needed_width()

    def refresh(self, room: int) -> None:
        """Another step is shown, training stands elsewhere, or there are so many pixels now."""
        self._tell()
        self._show_texts(True)
        if self._needed_width() > room:
            # Buttons give up their texts, so that the sentence has room.
            self._show_texts(False)

    def _tell(self) -> None:
        state = self._controller.state
        self.label.show_text(heading(state))
        there = self.buttons[ActionId.GO_TO_SHOWN]
        row = TABLE[ActionId.GO_TO_SHOWN]
        if state.in_script and state.shown.step is not None:
            there.set_text(self.tr("Run again to step {step}").format(step=state.shown.step))
        elif not state.in_script:
            there.set_text(plain(translated(row.text, steps=0)))
        # Where it can never be, nobody has to be told each time.
        there.setVisible(not state.is_attached and state.snapshot is None)

    def _show_texts(self, has_texts: bool) -> None:
        styles = Qt.ToolButtonStyle
        for action_id, button in self.buttons.items():
            has_text = has_texts and action_id not in _MOVES
            button.setToolButtonStyle(styles.ToolButtonTextBesideIcon if has_text else styles.ToolButtonIconOnly)

    def _needed_width(self) -> int:
        shown = [button for button in self.buttons.values() if not button.isHidden()]
        around = sum(button.sizeHint().width() + self._line.spacing() for button in shown)
        return around + self.label.sizeHint().width()
