"""What every chart has: a title line, an explanation, a table twin, and a sentence while there is nothing to draw."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import TYPE_CHECKING

from PySide6.QtCore import QPoint, Slot
from PySide6.QtGui import QPalette, QShowEvent
from PySide6.QtWidgets import (
    QHBoxLayout,
    QMenu,
    QSizePolicy,
    QStackedWidget,
    QToolButton,
    QToolTip,
    QVBoxLayout,
    QWidget,
)

from gradscope.state.app_state import AppState
from gradscope.state.topics import Topic
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager, icon
from gradscope.ui.plots.parts.number_table import NumberTable, TableData
from gradscope.ui.plots.parts.plot_view import PlotView
from gradscope.ui.widgets.access_keys import give_access_keys
from gradscope.ui.widgets.copy_table import CopyTable
from gradscope.ui.widgets.elided_label import ElidedLabel
from gradscope.ui.widgets.empty_note import EmptyNote
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import plain_tip
from gradscope.ui.widgets.redraw import owing
from gradscope.ui.widgets.wrapped_title import WrappedTitle
from gradscope.ui.words.spot import Spot

if TYPE_CHECKING:
    from gradscope.ui.actions.controller import Controller

_LONGEST_NUMBER = "-8.88888888e+308"
_CELL_MARGINS = 10
_FITTED_COLUMNS = 100
_ZOOM = 1.5


@guarded
class Chart(QWidget):
    """Redraws when it is visible and something it shows has changed. Subclasses write `draw` and `table`."""

    topics = frozenset({Topic.SESSION, Topic.SETTINGS, Topic.HISTORY, Topic.SELECTION})

    def __init__(
        self,
        controller: Controller,
        themes: ThemeManager,
        plot: PlotView,
        *,
        title: str,
        explanation: str,
        readout_below: bool = False,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setBackgroundRole(QPalette.ColorRole.Base)
        self.setAutoFillBackground(True)
        self.controller = controller
        self.themes = themes
        self.plot = plot
        self._is_dirty = True
        self.when_shown: Callable[[], object] = self.redraw
        """Called where it is seen again and something has changed: it may draw in a while, when others have been drawn."""
        self._table_model = NumberTable(self)
        if plot.playhead is not None:
            explanation += " " + self.tr(
                "Click at a step, or drag the dotted line to it, to see that step in every panel."
            )
        self._build(title, explanation, readout_below=readout_below)
        plot.following_changed.connect(self._on_following_changed)
        plot.menu_wanted.connect(self._on_menu_wanted)
        plot.step_chosen.connect(self._on_step_chosen)
        plot.step_taken_back.connect(self._on_step_taken_back)
        self._step_before: int | None = None
        controller.refreshed.connect(self._on_refreshed)
        themes.changed.connect(self._on_theme_changed)
        self._style_buttons(themes.theme)

    # ------------------------------------------------------------------------------------------ to be written

    def draw(self, state: AppState) -> str:
        """Put the state into the plot; a sentence instead if there is nothing to draw."""
        raise NotImplementedError

    def table(self, state: AppState) -> TableData:
        """The numbers that the plot shows."""
        raise NotImplementedError

    def spot_at(self, x: float, y: float) -> Spot | None:
        """What lies there, in the plot's coordinates, that a menu could be about; nothing, unless a subclass knows it."""
        return None

    def write(self, state: AppState) -> None:
        """Say what the numbers are in the step that is shown; the plot itself is drawn already."""

    def restyle(self, theme: Theme) -> None:
        """Take the colours of a theme; a redraw follows."""
        self.plot.restyle(theme)

    # ------------------------------------------------------------------------------------------ public

    @property
    def theme(self) -> Theme:
        return self.themes.theme

    def redraw(self) -> None:
        """One that fails is made up for by the next, or when the chart is next seen."""
        self._is_dirty = True
        state = self.controller.state
        self._show_marks()
        problem = self.draw(state)
        self._table_button.setEnabled(not problem)
        if problem:
            self._message.setText(problem)
            self.readout.show_text("")
            self._pages.setCurrentWidget(self._message)
        elif self._table_button.isChecked():
            self._table_model.set_data(self.table(state))
            self._widen_columns()
            self._pages.setCurrentWidget(self._table)
        else:
            self._pages.setCurrentWidget(self.body)
        self._is_dirty = False

    @property
    def is_owing(self) -> bool:
        """It is seen, and something it shows has changed since it was drawn."""
        return self._is_dirty and self.isVisible()

    def mark_dirty(self) -> None:
        """Redraw now, or when next seen."""
        self._is_dirty = True
        if self.isVisible():
            self.redraw()

    def show_moment(self, text: str, shorter: list[str]) -> None:
        """What the readout says. `shorter` are other words for the same, and none of them is cut off; without them it is a
        sentence, which may be."""
        if shorter:
            self.readout.show_forms([text, *shorter])
        else:
            self.readout.show_text(text)

    def set_title(self, title: str) -> None:
        """What the chart is of."""
        self._title.show_title(title)
        for widget in (self, self._table, self.plot):
            widget.setAccessibleName(title)

    def replace_title(self, widget: QWidget | None) -> None:
        """Another widget says what this is (None: what the chart stands in says it)."""
        self._title.hide()
        if widget is not None:
            self.header.insertWidget(0, widget)

    def tab_stops(self) -> list[QWidget]:
        """What gets the keyboard, in the order in which it is seen."""
        items = (line.itemAt(i) for line in (self.header, self.second_line) for i in range(line.count()))
        widgets = (item.widget() for item in items if item is not None)
        stops = [widget for widget in widgets if widget is not None and widget is not self._buttons]
        return [*stops, self._table_button, self._info_button, self.plot, *self._zoom_buttons, self._table]

    def hide_buttons(self) -> None:
        """For pictures, where nothing can be pressed."""
        for button in self.findChildren(QToolButton):
            button.hide()
        self.plot.show_corner(False)
        if self.plot.playhead is not None:
            self.plot.playhead.show_for_picture()

    @property
    def message(self) -> str:
        """The sentence that is shown instead of the plot, if any."""
        return self._message.text() if self._pages.currentWidget() is self._message else ""

    # ------------------------------------------------------------------------------------------ slots

    @Slot(object)
    @owing
    def _on_refreshed(self, topics: set[Topic]) -> None:
        if topics & {Topic.EDITS, Topic.FINDINGS, Topic.SHOWN}:
            self._show_marks()
        if Topic.SHOWN in topics and not topics & self.topics and not self._is_dirty and not self.message:
            self.write(self.controller.state)
        if topics & self.topics:
            if Topic.SESSION in topics:
                self.plot.fit()
            self.mark_dirty()

    @Slot(object)
    def _on_theme_changed(self, theme: Theme) -> None:
        self._style_buttons(theme)
        self.restyle(theme)
        self.mark_dirty()

    @Slot(bool)
    def _on_following_changed(self, is_following: bool) -> None:
        self._fit_button.setEnabled(not is_following)

    @Slot(float, float, QPoint)
    def _on_menu_wanted(self, x: float, y: float, place: QPoint) -> None:
        spot = self.spot_at(x, y)
        if spot is not None:
            menu = QMenu(self)
            menu.aboutToHide.connect(menu.deleteLater)
            self.controller.menu_filling.emit(menu, spot)
            give_access_keys(menu)
            menu.popup(place)

    @Slot(float)
    def _on_step_chosen(self, x: float) -> None:
        self._step_before = self.controller.state.shown.step
        self.controller.show_step(round(x))

    @Slot()
    def _on_step_taken_back(self) -> None:
        self.controller.show_step(self._step_before)

    @Slot(bool)
    def _on_table_toggled(self, _checked: bool) -> None:
        self.mark_dirty()
        if self._table_button.isChecked():
            self._table.scrollToBottom()

    @Slot()
    def _on_info_clicked(self) -> None:
        button = self._info_button
        QToolTip.showText(button.mapToGlobal(QPoint(0, button.height())), button.toolTip(), button)

    # ------------------------------------------------------------------------------------------ private

    def _show_marks(self) -> None:
        if self.plot.marks is not None:
            self.plot.marks.show(self.controller.state.edits.marks())
        if self.plot.found is not None:
            self.plot.found.show(self.controller.state.findings.marks())
        shown = self.controller.state.shown
        step = shown.step
        self.plot.show_playhead(shown.newest if step is None else step, step is not None)

    def _widen_columns(self) -> None:
        """Those that nobody has resized, where the newest number is longer than usual: 1.19257883e+308."""
        header, model, metrics = self._table.horizontalHeader(), self._table_model, self._table.fontMetrics()
        usual, widest = header.defaultSectionSize(), metrics.horizontalAdvance(_LONGEST_NUMBER) + _CELL_MARGINS
        for column in range(min(model.columnCount(), _FITTED_COLUMNS) if model.rowCount() else 0):
            needed = metrics.horizontalAdvance(str(model.index(model.rowCount() - 1, column).data())) + _CELL_MARGINS
            if usual < needed <= widest and header.sectionSize(column) == usual:
                header.resizeSection(column, widest)

    def _build(self, title: str, explanation: str, *, readout_below: bool) -> None:
        self._title = WrappedTitle(title)
        self.readout = ElidedLabel()
        self.readout.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.readout.setProperty("role", "muted")
        # Beside a title it gets what that leaves.
        self.readout.keeps_room = readout_below
        self._buttons = buttons = self._make_buttons(explanation)

        self.header = QHBoxLayout()
        self.header.setContentsMargins(8, 2, 4, 2)
        self.header.setSpacing(6)
        self.header.addWidget(self._title, 0)
        self.second_line = QHBoxLayout()
        """Below the header, where the readout has that; a subclass may have buttons at its end."""
        self.second_line.setContentsMargins(8, 0, 4, 2)
        self.second_line.setSpacing(4)
        if readout_below:
            self.header.addStretch(1)
            self.second_line.addWidget(self.readout, 1)
        else:
            self.header.addWidget(self.readout, 1)
        self.header.addWidget(buttons)

        self.body = QWidget()
        self.body_layout = QVBoxLayout(self.body)
        self.body_layout.setContentsMargins(0, 0, 0, 0)
        self.body_layout.setSpacing(0)
        self.body_layout.addWidget(self.plot, 1)
        self._table = CopyTable()
        self._table.setModel(self._table_model)
        self._table.verticalHeader().hide()
        self._message = EmptyNote("")
        self._pages = QStackedWidget()
        for page in (self.body, self._table, self._message):
            self._pages.addWidget(page)

        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addLayout(self.header)
        if readout_below:
            layout.addLayout(self.second_line)
        layout.addWidget(self._pages, 1)
        self.setAccessibleDescription(explanation)
        self.set_title(title)

    def _make_buttons(self, explanation: str) -> QWidget:
        self._fit_button = QToolButton()
        self._fit_button.setText(self.tr("Fit"))
        self._fit_button.setToolTip(self.tr("Show everything again (double click)"))
        self._fit_button.clicked.connect(self.plot.fit)
        self._fit_button.setEnabled(False)
        self._zoom_buttons = [
            self._make_zoom_button("−", self.tr("Zoom out (Ctrl and wheel)"), _ZOOM),
            self._make_zoom_button("+", self.tr("Zoom in (Ctrl and wheel)"), 1 / _ZOOM),
            self._fit_button,
        ]
        self.plot.set_corner(self._zoom_buttons)
        self._table_button = QToolButton()
        self._table_button.setText(self.tr("Table"))
        self._table_button.setCheckable(True)
        self._table_button.setToolTip(self.tr("The same numbers as a table"))
        self._table_button.toggled.connect(self._on_table_toggled)
        self._info_button = QToolButton()
        # Only rich text is wrapped.
        self._info_button.setToolTip(f"<p>{html.escape(explanation)}</p>")
        self._info_button.setAccessibleName(self.tr("How to read this"))
        self._info_button.clicked.connect(self._on_info_clicked)
        buttons = QWidget()
        row = QHBoxLayout(buttons)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(2)
        for button in (self._table_button, self._info_button):
            self._style_as_small(button)
            row.addWidget(button)
        return buttons

    @staticmethod
    def _style_as_small(button: QToolButton) -> None:
        """Of the line of the title."""
        button.setProperty("flat", True)
        button.setProperty("compact", True)

    def _make_zoom_button(self, sign: str, tip: str, factor: float) -> QToolButton:
        button = QToolButton()
        button.setText(sign)
        button.setToolTip(plain_tip(tip))
        button.setAccessibleName(tip)
        button.setAutoRepeat(True)
        button.clicked.connect(lambda: self.plot.zoom(factor))
        return button

    def _style_buttons(self, theme: Theme) -> None:
        self._info_button.setIcon(icon("info", theme, colour=theme.muted))

    # ------------------------------------------------------------------------------------------ Qt

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if self._is_dirty:
            self.when_shown()
