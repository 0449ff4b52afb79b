"""What a fresh window shows: the samples, recent files, and what to press first."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from PySide6.QtCore import QSize, Qt, Slot
from PySide6.QtGui import QAction, QIcon
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QScrollArea, QSizePolicy, QVBoxLayout, QWidget

from gradscope.assets import SampleGroup, resources_dir, sample_docs, sample_groups
from gradscope.state.topics import Topic
from gradscope.ui.actions.controller import Controller
from gradscope.ui.dialogs.script_memory import ScriptMemory
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.settings import Setting
from gradscope.ui.look.theme import ThemeManager, icon
from gradscope.ui.widgets.card_grid import CardGrid
from gradscope.ui.widgets.plain import PlainLabel, caption, plain_tip
from gradscope.ui.widgets.redraw import owing
from gradscope.ui.window.sample_card import SampleCard
from gradscope.ui.words.text import shortened

_MAX_WIDTH_CHARACTERS = 150
_RECENT_SHOWN = 5
_LOGO_LINES = 4
_MAX_NAME = 30
"""Letters of the session's name on the button that leads back to it."""


class StartPage(QScrollArea):
    """`open_file` is called with the path of a sample or of a recent file."""

    def __init__(
        self,
        controller: Controller,
        themes: ThemeManager,
        *,
        open_action: QAction,
        start_action: QAction,
        open_file: Callable[[str], None],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._settings = controller.settings
        self._themes = themes
        self._open_file = open_file
        self.setWidgetResizable(True)
        self.setAccessibleName(self.tr("Start page"))
        page = QWidget(self)
        page.setObjectName("startPage")
        self.cards: list[SampleCard] = []
        self.open_button = QPushButton(self.tr("Open..."), page)
        self.open_button.setProperty("emphasised", True)
        side = self.fontMetrics().height()
        self.open_button.setIconSize(QSize(side, side))
        self.open_button.setToolTip(open_action.toolTip())
        self.open_button.clicked.connect(open_action.trigger)
        self.back_button = QPushButton(page)
        self.back_button.setIconSize(QSize(side, side))
        self.back_button.setToolTip(self.tr("Show the session again, as it was left"))
        self.back_button.clicked.connect(start_action.trigger)
        self._controller = controller
        self._recent = QVBoxLayout()
        self._recent.setSpacing(4)
        self._recent_buttons: list[QPushButton] = []
        self._column = QWidget(page)
        self._column.setMaximumWidth(_MAX_WIDTH_CHARACTERS * self.fontMetrics().horizontalAdvance("0"))
        self._fill(QVBoxLayout(self._column))
        outer = QHBoxLayout(page)
        outer.setContentsMargins(24, 24, 24, 24)
        outer.addStretch(1)
        outer.addWidget(self._column, 100)
        outer.addStretch(1)
        self.setWidget(page)
        self._refresh_recent()
        self._refresh_back()
        self._on_theme_changed(themes.theme)
        controller.refreshed.connect(self._on_refreshed)
        controller.settings.changed.connect(self._on_setting_changed)
        themes.changed.connect(self._on_theme_changed)

    # ------------------------------------------------------------------------------------------ slots

    @Slot(object)
    @owing
    def _on_refreshed(self, topics: set[Topic]) -> None:
        if Topic.SESSION in topics:
            self._refresh_back()

    @Slot(str)
    def _on_setting_changed(self, key: str) -> None:
        if key == Setting.RECENT_FILES:
            self._refresh_recent()

    @Slot(object)
    def _on_theme_changed(self, theme: Theme) -> None:
        self.open_button.setIcon(icon("open", theme, colour=theme.accent_text))
        self.back_button.setIcon(icon("back", theme))

    # ------------------------------------------------------------------------------------------ private

    def _card(self, path: Path) -> SampleCard:
        title, text = sample_docs(path)
        heading, colon, rest = title.replace("`", "").partition(": ")
        first_paragraph = " ".join(text.split("\n\n")[0].replace("`", "").split())
        first_sentence, stop, _ = first_paragraph.partition(". ")
        body = f"{rest[:1].upper()}{rest[1:]}" if colon else first_sentence + stop.strip()
        card = SampleCard(number=len(self.cards) + 1, title=heading, text=body.removesuffix("."), path=path)
        card.clicked.connect(partial(self._on_card_clicked, str(path)))
        self.cards.append(card)
        return card

    def _on_card_clicked(self, path: str) -> None:
        self._open_file(path)

    def _fill(self, column: QVBoxLayout) -> None:
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(16)
        column.addStretch(1)
        column.addLayout(self._header())
        column.addWidget(self._steps_note())
        self._recent_heading = self._heading(self.tr("Recent"))
        column.addWidget(self._recent_heading)
        column.addLayout(self._recent)
        for group, paths in sample_groups().items():
            if paths:
                column.addWidget(self._heading(self._title(group)))
                column.addWidget(CardGrid([self._card(path) for path in paths]))
        column.addStretch(3)

    def _title(self, group: SampleGroup) -> str:
        return {
            SampleGroup.STEP: self.tr("Samples: the training step"),
            SampleGroup.MODELS: self.tr("Samples: models"),
            SampleGroup.LESSONS: self.tr("Samples: when training goes wrong"),
        }[group]

    def _header(self) -> QHBoxLayout:
        side = _LOGO_LINES * self.fontMetrics().height()
        logo = PlainLabel(parent=self)
        logo.setPixmap(QIcon(str(resources_dir() / "icons" / "gradscope.svg")).pixmap(QSize(side, side)))
        title = PlainLabel("gradscope", self)
        font = title.font()
        font.setPointSizeF(font.pointSizeF() * 2)
        font.setBold(True)
        title.setFont(font)
        sentence = PlainLabel(
            self.tr("Stop a PyTorch training loop at every phase, and look at every layer, gradient and update"), self
        )
        sentence.setProperty("role", "muted")
        sentence.setWordWrap(True)
        texts = QVBoxLayout()
        texts.setSpacing(4)
        texts.addWidget(title)
        texts.addWidget(sentence)
        hint = PlainLabel(self.tr("or drop a script, a notebook, a recipe or a snapshot here"), self)
        hint.setProperty("role", "muted")
        hint.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        actions = QVBoxLayout()
        actions.setSpacing(4)
        actions.addWidget(self.back_button)
        actions.addWidget(self.open_button)
        actions.addWidget(hint)
        line = QHBoxLayout()
        line.setSpacing(16)
        line.addWidget(logo, 0, Qt.AlignmentFlag.AlignTop)
        line.addLayout(texts, 1)
        line.addLayout(actions)
        return line

    def _steps_note(self) -> QLabel:
        note = QLabel(
            self.tr(
                "Open a sample or your own training script, then press <b>Forward</b> (F5), <b>Backward</b> (F6) and "
                "<b>Step</b> (F7), and watch what each of them does. <b>Run</b> (F9) makes many steps."
            ),
            self,
        )
        note.setTextFormat(Qt.TextFormat.RichText)
        note.setWordWrap(True)
        return note

    def _heading(self, text: str) -> QLabel:
        label = PlainLabel(text, self)
        font = label.font()
        font.setPointSizeF(font.pointSizeF() * 1.2)
        font.setBold(True)
        label.setFont(font)
        label.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        return label

    def _refresh_back(self) -> None:
        session = self._controller.state.session
        self.back_button.setVisible(session is not None)
        if session is not None:
            text = self.tr("Back to {name}").format(name=shortened(session.name, at_most=_MAX_NAME))
            self.back_button.setText(caption(text))

    def _refresh_recent(self) -> None:
        for button in self._recent_buttons:
            self._recent.removeWidget(button)
            button.deleteLater()
        self._recent_buttons.clear()
        memory = ScriptMemory(self._settings)
        paths = self._settings.get(Setting.RECENT_FILES)[:_RECENT_SHOWN]
        self._recent_heading.setVisible(bool(paths))
        for path in paths:
            label = memory.label(path)
            button = QPushButton(caption(f"{label.name}   {label.folder}"), self._column)
            button.setProperty("flat", True)
            button.setProperty("role", "link")
            button.setToolTip(plain_tip(label.whole))
            button.clicked.connect(partial(self._on_card_clicked, path))
            self._recent_buttons.append(button)
            self._recent.addWidget(button, 0, Qt.AlignmentFlag.AlignLeft)
