"""What the panel says while there are no stops: what one can do, with examples to click."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QPushButton, QVBoxLayout, QWidget

from gradscope.protocol.visible import visible
from gradscope.state.app_state import AppState
from gradscope.ui.findings.scrolled_page import ScrolledPage
from gradscope.ui.inspector.sentence import Sentence
from gradscope.ui.widgets.flow_row import FlowRow
from gradscope.ui.widgets.plain import WrappedLabel, caption, plain_tip

_ANYWHERE = ("any nan", "grad.l2 > 10", "loss > 1.5 * previous loss", "update_ratio > 0.1", "every 10 steps")


class Examples(QWidget):
    chosen = Signal(str)
    """The text of an example: it is to be looked at, changed and added."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._texts: tuple[str, ...] = ()
        self.headline = WrappedLabel(parent=self)
        font = self.headline.font()
        font.setBold(True)
        self.headline.setFont(font)
        self.about = Sentence(role="muted", parent=self)
        self.row = FlowRow(self, spacing=8)
        self.buttons: list[QPushButton] = []
        self.hint = Sentence(role="muted", parent=self)
        page = QVBoxLayout()
        page.setContentsMargins(12, 8, 12, 8)
        page.setSpacing(6)
        for widget in (self.headline, self.about, self.row, self.hint):
            page.addWidget(widget)
        page.addStretch(1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(ScrolledPage(page, self))

    def show_state(self, state: AppState, refusal: str | None) -> None:
        """`refusal`: why there can be no stops now."""
        self.headline.setText(refusal or self.tr("Training can stop anywhere"))
        about = self.tr(
            "At a layer, a step or a line of your code, or at the moment a number crosses a limit, before anything later "
            "runs. Begin with one of these:"
        )
        self.about.say("" if refusal else about)
        self.hint.say(
            ""
            if refusal
            else self.tr("Or right-click a layer, a number, a row of a plot, a moment or a line of the source.")
        )
        self._show_texts(() if refusal else (*_ANYWHERE, *self._of_model(state)))

    def _of_model(self, state: AppState) -> tuple[str, ...]:
        """Of the first layer that has a name."""
        modules = () if state.session is None else state.session.modules
        name = next((module.name for module in modules if module.name and visible(module.name) == module.name), "")
        return (f"enter {name}",) if name and len(name) < 40 and " " not in name else ()

    def _show_texts(self, texts: tuple[str, ...]) -> None:
        if texts == self._texts:
            return
        self._texts = texts
        while len(self.buttons) < len(texts):
            button = QPushButton(self.row)
            button.setAutoDefault(False)
            self.buttons.append(button)
            self.row.add(button)
        for button in self.buttons:
            button.setVisible(False)
        for button, text in zip(self.buttons, texts, strict=False):
            button.setText(caption(text))
            button.setToolTip(plain_tip(self.tr("Look at it, change it, add it")))
            button.disconnect(button)
            button.clicked.connect(partial(self._on_clicked, text))
            button.setVisible(True)

    def _on_clicked(self, text: str) -> None:
        self.chosen.emit(text)
