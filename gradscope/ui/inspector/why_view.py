"""Why the selected parameter moved as it did in the newest step: the terms of its delta."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QModelIndex, Qt, Slot
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QFrame,
    QHBoxLayout,
    QHeaderView,
    QLineEdit,
    QScrollArea,
    QStackedLayout,
    QVBoxLayout,
    QWidget,
)

from gradscope.protocol.messages.why import Explain, Explained, ExplainedFactor, ExplainedTerm
from gradscope.protocol.phases import Phase, Rest
from gradscope.protocol.visible import visible
from gradscope.state.records.newest import Latest
from gradscope.ui.inspector.sentence import Sentence
from gradscope.ui.inspector.signed_bars import SignedBarDelegate
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.models.cell_table import Cell, CellTableModel
from gradscope.ui.plots.words.formats import exact, percent, short, two_digits
from gradscope.ui.widgets.copy_table import CopyTable
from gradscope.ui.widgets.empty_note import EmptyNote
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import PlainLabel
from gradscope.ui.words.shown_step import why_not_explained

if TYPE_CHECKING:
    from gradscope.ui.actions.controller import Controller

_MANY_LOST = 0.01
_SHARE_COLUMN = 1
_WIDTH_OF_COLUMNS = {2: 42, 3: 36}
"""Column -> characters that the table must have room for to show it."""


@guarded
class WhyView(QWidget):
    """Asks the engine once a step. While the next step is under way, it keeps showing the newest one."""

    def __init__(self, controller: Controller, themes: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._theme = themes.theme
        self._asked: tuple[str, int, tuple[int, ...] | None] | None = None
        self._shown: Explained | None = None
        self._filled: Explained | None = None
        """What the table is of."""
        self._index: tuple[int, ...] | None = None
        self._note = EmptyNote("")
        self._moment = Sentence(role="muted")
        self._moment.setToolTip(self.tr("The L2 norm of what the terms leave of the delta, relative to the delta's"))
        self._reason = Sentence()
        self.model = CellTableModel((self.tr("Term"), self.tr("Share"), "L2", self.tr("Element")), self)
        self.table = self._make_table(themes)
        self._detail = Sentence()
        self._facts = Sentence(role="muted")
        self._lost = Sentence()
        self._element = QLineEdit()
        self._element.setAccessibleName(self.tr("Element"))
        self._element.setToolTip(
            self.tr("The element whose values are shown, as 3, 7; empty: the one that moved farthest")
        )
        self._element.editingFinished.connect(self._on_element_edited)
        self._values = Sentence(role="muted")
        self._stack = QStackedLayout(self)
        self._stack.addWidget(self._make_page())
        self._stack.addWidget(self._note)
        themes.changed.connect(self._on_theme_changed)

    @property
    def message(self) -> str:
        """The sentence that is shown instead of terms, if any."""
        if self._stack.currentWidget() is self._note:
            return self._note.text()
        return self._reason.text() if self._shown is not None and not self._shown.terms else ""

    @property
    def facts(self) -> str:
        """What is said around the table."""
        return "\n".join(
            label.text() for label in (self._moment, self._lost, self._facts, self._values) if label.text()
        )

    def look_at(self, latest: Latest, token: object | None) -> None:
        """Explain the newest step of a parameter; token None while the session runs."""
        name, position = latest.row.key.name, self._controller.state.position
        if self._shown is not None and self._shown.parameter != name:
            self.forget()
        not_explained = why_not_explained(self._controller.state, latest)
        if not_explained:
            self._asked = None
            self._say(not_explained)
        elif token is None:
            self._say(self.tr("Running: this is computed when it pauses"))
        elif self._is_after_step():
            self._ask(name, position.step)
        elif self._shown is not None:
            self._show(self._shown)
        elif position.step == 0:
            self._say(self.tr("Press Forward (F5), Backward (F6), then Step (F7) to see why it moved"))
        else:
            self._say(
                self.tr("The newest step's gradient has made way for the next one: press on to the next Step (F7)")
            )

    def forget(self) -> None:
        """Another parameter or session: what was shown or asked for is void."""
        self._asked = self._shown = self._index = None

    # ------------------------------------------------------------------------------------------ slots

    @Slot(object)
    def _on_theme_changed(self, theme: Theme) -> None:
        self._theme = theme
        if self._shown is not None:
            self._fill(self._shown)

    @Slot(QModelIndex)
    def _on_term_changed(self, current: QModelIndex) -> None:
        terms = self._shown.terms if self._shown is not None else ()
        if 0 <= current.row() < len(terms):
            term = terms[current.row()]
            self._detail.say(f"{term.formula}\n{term.sentence}")
        else:
            self._detail.say(self.tr("The change of the parameter: the sum of the terms") if terms else "")

    @Slot()
    def _on_element_edited(self) -> None:
        numbers = re.findall(r"\d+", self._element.text())
        index = tuple(int(number) for number in numbers) or None
        if self._shown is None or index in (self._index, self._shown.index):
            return
        self._index = index
        position = self._controller.state.position
        if self._is_after_step() and not position.running:
            self._ask(self._shown.parameter, position.step)

    # ------------------------------------------------------------------------------------------ private

    def _is_after_step(self) -> bool:
        """Nothing has been done since the newest step."""
        position, reports = self._controller.state.position, self._controller.state.reports
        if position.rest is not Rest.ENDED:
            return position.rest is Rest.READY and position.step > 0
        # Of a script that has ended it is to be seen by what it has done at last.
        step = reports.get(Phase.STEP)
        return step is not None and step.complete and all(report.step <= step.step for report in reports.values())

    def _ask(self, name: str, step: int) -> None:
        wanted = (name, step, self._index)
        if wanted == self._asked:
            if self._shown is not None:
                self._show(self._shown)
            return
        self._asked = wanted

        def on_reply(reply: Any) -> None:
            if self._asked != wanted:
                return
            if isinstance(reply, Explained):
                self._show(reply)
            else:
                self._say(reply.failure.sentence)

        if self._shown is None:
            self._say(self.tr("Computing"))
        self._controller.ask(Explain(parameter=name, index=self._index), on_reply)

    def _say(self, text: str) -> None:
        self._note.setText(text)
        self._stack.setCurrentWidget(self._note)

    def _show(self, explained: Explained) -> None:
        self._shown = explained
        if explained is not self._filled:
            self._fill(explained)
            self._filled = explained
        self._stack.setCurrentIndex(0)

    def _fill(self, explained: Explained) -> None:
        is_explained = bool(explained.terms)
        self._moment.say(self._told_moment(explained))
        self._reason.say(explained.reason)
        has_element = is_explained and explained.index is not None
        self.table.setVisible(is_explained)
        self._element_row.setVisible(has_element)
        self._delegate.set_range([term.share for term in explained.terms if term.share is not None])
        row = self.table.currentIndex().row()
        self.model.show_rows(self._rows(explained) if is_explained else ())
        self.table.setCurrentIndex(self.model.index(min(max(row, 0), len(explained.terms)), 0))
        self._on_term_changed(self.table.currentIndex())
        self.table.updateGeometry()
        self.table.setFixedHeight(_height_of(self.table))
        self._facts.say("\n".join(self._told_factor(factor) for factor in explained.factors))
        is_alarming = (explained.lost or 0) > _MANY_LOST * explained.with_gradient
        lost = "\n".join(line for line in (self._told_not_finite(explained), self._told_lost(explained)) if line)
        self._lost.say(lost, role="bad" if explained.not_finite else "warning" if is_alarming else "")
        self._element.setText(", ".join(str(i) for i in explained.index or ()))
        self._element.setEnabled(bool(explained.index))
        self._values.say(self._told_element(explained) if has_element else "")

    def _told_element(self, explained: Explained) -> str:
        if explained.before is None or explained.delta is None:
            return ""
        before, after = explained.before, explained.before + explained.delta
        text = self.tr("{before} → {after}").format(before=short(before), after=short(after))
        if explained.gradient is not None:
            text += self.tr(", its gradient {gradient}").format(gradient=short(explained.gradient))
        return text

    def _rows(self, explained: Explained) -> tuple[tuple[Cell, ...], ...]:
        rows = [self._row(term) for term in explained.terms]
        total, delta = explained.delta_l2 or 0.0, explained.delta
        rows.append(
            (
                Cell(text=self.tr("= delta"), is_strong=True),
                Cell(text="100 %" if total else "–", is_number=True, is_strong=True),
                Cell(text=short(total), exact=exact(total), is_number=True, is_strong=True),
                Cell(text=_short(delta), exact=_exact(delta), is_number=True, is_strong=True),
            )
        )
        return tuple(rows)

    def _row(self, term: ExplainedTerm) -> tuple[Cell, ...]:
        tip = f"{term.formula}\n{term.sentence}"
        share = "–" if term.share is None else _percent(100 * term.share)
        return (
            Cell(text=term.name, tip=tip),
            Cell(text=share, exact=_exact(term.share), tip=tip, share=term.share, is_number=True),
            Cell(text=short(term.l2), exact=exact(term.l2), is_number=True),
            Cell(text=_short(term.value), exact=_exact(term.value), is_number=True),
        )

    def _told_moment(self, explained: Explained) -> str:
        text = self.tr("Step {step}, by {optimizer}").format(
            step=explained.step, optimizer=visible(explained.optimizer)
        )
        if explained.residual is None:
            return text
        return text + self.tr(". Unexplained: {residual}").format(residual=two_digits(explained.residual))

    def _told_factor(self, factor: ExplainedFactor) -> str:
        if factor.low == factor.high:
            return f"{factor.formula} = {short(factor.low)}"
        return self.tr("{formula}: {low} to {high}, half of them below {middle}").format(
            formula=factor.formula, low=short(factor.low), high=short(factor.high), middle=short(factor.middle)
        )

    def _told_not_finite(self, explained: Explained) -> str:
        if not explained.not_finite:
            return ""
        text = self.tr("NaN or Inf: the gradient or the change of {count} of {all} elements")
        return text.format(count=f"{explained.not_finite:,}", all=f"{explained.elements:,}")

    def _told_lost(self, explained: Explained) -> str:
        if explained.lost is None or not explained.with_gradient:
            return ""
        share = explained.lost / explained.with_gradient
        if explained.lost == 0:
            if explained.not_finite:
                return self.tr("No other update was lost: every element with a finite gradient moved")
            return self.tr("No update was lost: every element with a gradient moved")
        return self.tr("Lost updates: {lost} of {all} elements with a gradient did not move ({share})").format(
            lost=f"{explained.lost:,}", all=f"{explained.with_gradient:,}", share=percent(100 * share)
        )

    def _make_table(self, themes: ThemeManager) -> CopyTable:
        table = CopyTable()
        table.setModel(self.model)
        table.setAccessibleName(self.tr("Terms of the delta"))
        table.setFrameShape(QFrame.Shape.NoFrame)
        table.setShowGrid(False)
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.verticalHeader().hide()
        table.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + 10)
        header = table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(_SHARE_COLUMN, QHeaderView.ResizeMode.Stretch)
        table.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._delegate = SignedBarDelegate(themes, table)
        table.setItemDelegateForColumn(_SHARE_COLUMN, self._delegate)
        table.selectionModel().currentRowChanged.connect(self._on_term_changed)
        return table

    def _make_page(self) -> QWidget:
        self._element_row = QWidget()
        element = QHBoxLayout(self._element_row)
        element.setContentsMargins(0, 0, 0, 0)
        label = PlainLabel(self.tr("Element"))
        label.setBuddy(self._element)
        element.addWidget(label)
        element.addWidget(self._element, 1)
        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(8, 4, 8, 8)
        column.setSpacing(8)
        for widget in (self._moment, self._reason, self.table, self._detail, self._lost, self._facts):
            column.addWidget(widget)
        column.addWidget(self._element_row)
        column.addWidget(self._values)
        column.addStretch(1)
        scroll = QScrollArea()
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(page)
        return scroll

    # ------------------------------------------------------------------------------------------ Qt

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        room = self.width() / max(1, self.fontMetrics().averageCharWidth())
        for column, characters in _WIDTH_OF_COLUMNS.items():
            self.table.setColumnHidden(column, room < characters)


def _height_of(table: CopyTable) -> int:
    rows = table.model().rowCount() * table.verticalHeader().defaultSectionSize()
    return rows + table.horizontalHeader().sizeHint().height() + 2 * table.frameWidth()


def _percent(value: float) -> str:
    return f"−{percent(-value)}" if value < 0 else percent(value)


def _short(value: float | None) -> str:
    return "" if value is None else short(value)


def _exact(value: float | None) -> str:
    return "" if value is None else exact(value)
