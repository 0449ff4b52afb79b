"""The Lesson panel: what a recipe says about itself, and what to watch in a sample."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Slot
from PySide6.QtGui import QAction, QFontDatabase, QResizeEvent, QTextBlockFormat, QTextCursor
from PySide6.QtWidgets import QBoxLayout, QPushButton, QTextBrowser, QWidget

from gradscope.assets import sample_docs
from gradscope.state.topics import Topic
from gradscope.ui.actions.controller import Controller
from gradscope.ui.docks.panel import Panel
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import plain_tip
from gradscope.ui.widgets.redraw import owing
from gradscope.ui.words.lesson import Lesson, lesson_of
from gradscope.ui.words.lesson_markup import html_of, plain_paragraphs

_MARGIN = 12
_LINE_HEIGHT = 1.3
"""Of the panel's font, also where a line has code in it, whose font may be taller."""


class LessonDock(Panel):
    """`start_action` leads to the start page; `open_file` is called with the path of the next sample."""

    def __init__(
        self,
        controller: Controller,
        themes: ThemeManager,
        parent: QWidget | None = None,
        *,
        start_action: QAction,
        open_file: Callable[[str], None],
    ) -> None:
        super().__init__(self.tr("Lesson"), name="lessonDock", themes=themes, parent=parent)
        self._controller = controller
        self._themes = themes
        self._open_file = open_file
        self.lesson: Lesson | None = None
        self.text = QTextBrowser(self)
        self.text.setOpenLinks(False)
        self.text.setAccessibleName(self.tr("Lesson"))
        self.text.document().setDocumentMargin(_MARGIN)
        self.start = QPushButton(self.tr("Start page"), self)
        self.start.setToolTip(start_action.toolTip())
        self.start.clicked.connect(start_action.trigger)
        self.next = QPushButton(self.tr("Next sample"), self)
        self.next.clicked.connect(self._on_next_clicked)
        self.body.addWidget(self.text, 1)
        self.body.addWidget(_Buttons([self.start, self.next], self))
        self.refresh()
        controller.panels_refreshed.connect(self._on_refreshed)
        themes.changed.connect(self._on_theme_changed)

    def refresh(self) -> None:
        """Show what there is to say of the recipe that is open."""
        session = self._controller.state.session
        lesson = None if session is None else lesson_of(session)
        if lesson == self.lesson and not self.text.document().isEmpty():
            return
        self.lesson = lesson
        following = None if lesson is None else lesson.following
        self.next.setVisible(following is not None)
        if following is not None:
            self.next.setToolTip(plain_tip(sample_docs(following)[0]))
        self._write()

    # ------------------------------------------------------------------------------------------ slots

    @Slot(object)
    @owing
    def _on_refreshed(self, topics: set[Topic]) -> None:
        if Topic.SESSION in topics:
            self.refresh()

    @Slot(object)
    def _on_theme_changed(self, _theme: Theme) -> None:
        self._write()

    @Slot()
    def _on_next_clicked(self) -> None:
        if self.lesson is not None and self.lesson.following is not None:
            self._open_file(str(self.lesson.following))

    # ------------------------------------------------------------------------------------------ private

    def _write(self) -> None:
        self.text.document().setDefaultStyleSheet(_style(self._themes.theme))
        self.text.setHtml(self._html())
        height = _LINE_HEIGHT * self.text.fontMetrics().height()
        block = self.text.document().begin()
        while block.isValid():
            shape = block.blockFormat()
            if not shape.headingLevel():
                shape.setLineHeight(height, QTextBlockFormat.LineHeightTypes.FixedHeight.value)
                QTextCursor(block).setBlockFormat(shape)
            block = block.next()

    def _html(self) -> str:
        lesson = self.lesson
        if lesson is None:
            nothing = self.tr("This recipe says nothing about itself: a text in Recipe(description=...) is shown here")
            return f"<div class='muted'>{plain_paragraphs(nothing)}</div>"
        parts = []
        if lesson.number is not None:
            where = self.tr("Sample {number} of {count}").format(number=lesson.number, count=lesson.count)
            parts.append(f"<p class='muted'>{where}</p>")
        title = plain_paragraphs(lesson.title).removeprefix("<p>").removesuffix("</p>")
        parts.append(f"<h2>{title}</h2>")
        if lesson.description.strip():
            parts.append(f"<div class='muted'>{plain_paragraphs(lesson.description)}</div>")
        parts.append(html_of(lesson.sample_text))
        return "\n".join(parts)


@guarded
class _Buttons(QWidget):
    """Beside each other where there is room, else below each other."""

    def __init__(self, buttons: list[QPushButton], parent: QWidget) -> None:
        super().__init__(parent)
        self._buttons = buttons
        self._line = QBoxLayout(QBoxLayout.Direction.LeftToRight, self)
        self._line.setContentsMargins(8, 8, 8, 8)
        self._line.setSpacing(8)
        self._line.setSizeConstraint(QBoxLayout.SizeConstraint.SetNoConstraint)
        for button in buttons:
            self._line.addWidget(button)
        self._line.addStretch(1)

    # ------------------------------------------------------------------------------------------ Qt

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        needed = sum(button.sizeHint().width() for button in self._buttons) + 8 * (len(self._buttons) + 1)
        fits = needed <= event.size().width()
        self._line.setDirection(QBoxLayout.Direction.LeftToRight if fits else QBoxLayout.Direction.TopToBottom)


def _style(theme: Theme) -> str:
    family = QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont).family()
    return f"""
        h2 {{ margin-top: 0; margin-bottom: 4px; font-size: x-large; color: {theme.text}; }}
        h3 {{ margin-top: 16px; margin-bottom: 0; font-size: large; color: {theme.text}; }}
        p {{ margin-top: 8px; margin-bottom: 0; color: {theme.text}; }}
        li {{ margin-top: 8px; color: {theme.text}; }}
        ul {{ margin-left: 16px; -qt-list-indent: 0; }}
        code {{ font-family: '{family}'; background-color: {theme.raised}; }}
        .muted, .muted p {{ color: {theme.muted}; }}
    """
