"""The exact numbers of one subject: counts, range, moments; the update ratio of an update."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from PySide6.QtCore import QPoint, QSize, Qt, Signal, Slot
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QFrame, QHeaderView, QMenu, QSizePolicy, QWidget

from gradscope.protocol.numbers import number
from gradscope.protocol.stops.quantities import Statistic
from gradscope.protocol.subjects import (
    COUNT,
    INF,
    L2,
    MAX,
    MEAN,
    MIN,
    NAN,
    STD,
    ZERO,
    SubjectKey,
    SubjectKind,
    has_norms_only,
)
from gradscope.state.app_state import AppState
from gradscope.state.records.newest import Latest
from gradscope.ui.models.summary_table import Entry, SummaryTableModel
from gradscope.ui.plots.words.formats import percent
from gradscope.ui.widgets.access_keys import give_access_keys
from gradscope.ui.widgets.copy_table import CopyTable
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.words.spot import Spot

if TYPE_CHECKING:
    from gradscope.ui.look.colours import Theme
    from gradscope.ui.look.theme import ThemeManager

_DIGITS = 6
_FEWER_DIGITS = 3
"""Where there is little room, or large letters."""
_WIDE_FROM_CHARACTERS = 38
_STATISTICS = (
    *(Statistic.COUNT, Statistic.MIN, Statistic.MAX, Statistic.MEAN, Statistic.STD),
    *(Statistic.NAN, Statistic.INF, Statistic.ZERO_SHARE, Statistic.L2),
)
"""As the entries follow each other; behind them there is only the update ratio."""


@guarded
class SummaryView(CopyTable):
    menu_filling = Signal(object, object)
    """QMenu and the Spot that it is about: who has something to offer for it adds that now."""

    def __init__(self, themes: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model = SummaryTableModel(self)
        self.setModel(self._model)
        self.setAccessibleName(self.tr("Summary"))
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setShowGrid(False)
        self.horizontalHeader().hide()
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(self.fontMetrics().height() + 4)
        header = self.horizontalHeader()
        for column in range(4):
            is_name = column % 2 == 0
            mode = QHeaderView.ResizeMode.ResizeToContents if is_name else QHeaderView.ResizeMode.Stretch
            header.setSectionResizeMode(column, mode)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._digits = _DIGITS
        self._note = ""
        """Why there is no number where there is none."""
        self._shown: tuple[AppState, Latest] | None = None
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.customContextMenuRequested.connect(self._on_menu_requested)
        self._on_theme_changed(themes.theme)
        themes.changed.connect(self._on_theme_changed)

    def show_subject(self, state: AppState, latest: Latest) -> None:
        self._shown = (state, latest)
        before = self._model.rowCount()
        self._model.show_entries(self._entries(state, latest))
        if self._model.rowCount() != before:
            self.updateGeometry()

    def all_as_text(self) -> str:
        return "\n".join(f"{entry.name}\t{entry.exact}" for entry in self._model.entries)

    @Slot(object)
    def _on_theme_changed(self, theme: Theme) -> None:
        self._model.set_colours(muted=theme.muted, bad=theme.bad)

    @Slot(QPoint)
    def _on_menu_requested(self, point: QPoint) -> None:
        menu = QMenu(self)
        menu.aboutToHide.connect(menu.deleteLater)
        spot = self.spot_at(point)
        if spot is not None:
            self.menu_filling.emit(menu, spot)
            menu.addSeparator()
        menu.addActions(self.actions())
        give_access_keys(menu)
        menu.popup(self.viewport().mapToGlobal(point))

    def spot_at(self, point: QPoint) -> Spot | None:
        """The number at a place of the view; None where there is none, or it says nothing of the training."""
        entry = self._model.position(self.indexAt(point))
        if self._shown is None or entry is None:
            return None
        key, exact = self._shown[1].row.key, self._model.entries[entry].exact
        value = float(exact) if exact else None
        if entry >= len(_STATISTICS):
            return Spot(subject=key, is_ratio=True, value=value)
        statistic, count = _STATISTICS[entry], float(self._shown[1].summary[COUNT])
        if statistic is Statistic.ZERO_SHARE and value is not None:
            value = value / count if count else None
        return None if statistic is Statistic.COUNT else Spot(subject=key, statistic=statistic, value=value)

    def _entries(self, state: AppState, latest: Latest) -> tuple[Entry, ...]:
        summary = latest.summary
        count = int(summary[COUNT])
        self._note = self.tr("not captured: only norms are") if has_norms_only(summary) else ""
        entries = [
            self._count(self.tr("count"), count),
            self._number("min", summary[MIN]),
            self._number("max", summary[MAX]),
            self._number(self.tr("mean"), summary[MEAN]),
            self._number("std", summary[STD]),
            self._count("NaN", int(summary[NAN]), is_alarming=summary[NAN] > 0),
            self._count("Inf", int(summary[INF]), is_alarming=summary[INF] > 0),
            self._zeros(float(summary[ZERO]), count),
            self._number("L2", summary[L2]),
        ]
        key = latest.row.key
        if key.kind is SubjectKind.UPDATE:
            entries.append(self._number(self.tr("ratio"), _ratio(state, key, float(summary[L2]))))
        return tuple(entries)

    def _zeros(self, zeros: float, count: int) -> Entry:
        name = self.tr("zeros")
        if math.isnan(zeros):
            return Entry(name=name, text="–", exact="", note=self._note)
        share = percent(100 * zeros / count) if count else "–"
        text = f"{int(zeros):,} ({share})" if self._digits == _DIGITS else share
        return Entry(name=name, text=text, exact=str(int(zeros)))

    @staticmethod
    def _count(name: str, value: int, *, is_alarming: bool = False) -> Entry:
        return Entry(name=name, text=f"{value:,}", exact=str(value), is_alarming=bool(is_alarming))

    def _number(self, name: str, value: float) -> Entry:
        value = float(value)
        if math.isnan(value):
            return Entry(name=name, text="–", exact="", note=self._note)
        if math.isinf(value):
            # Of finite numbers only, so it is the sum that no float holds; Inf is counted elsewhere.
            return Entry(name=name, text=_beyond(value), exact=repr(value), note=self.tr("more than a float64 holds"))
        return Entry(name=name, text=number(value, digits=self._digits), exact=repr(value))

    # ------------------------------------------------------------------------------------------ Qt

    def sizeHint(self) -> QSize:
        return QSize(240, self._model.rowCount() * self.verticalHeader().defaultSectionSize() + 4)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        room = self.width() / max(1, self.fontMetrics().averageCharWidth())
        digits = _DIGITS if room >= _WIDE_FROM_CHARACTERS else _FEWER_DIGITS
        if digits != self._digits:
            self._digits = digits
            if self._shown is not None:
                self.show_subject(*self._shown)

    def minimumSizeHint(self) -> QSize:
        return QSize(120, self.sizeHint().height())


def _beyond(value: float) -> str:
    return ">1.8e308" if value > 0 else "<-1.8e308"


def _ratio(state: AppState, key: SubjectKey, norm: float) -> float:
    """||update|| / ||parameter||, both of the same step; NaN where the parameter is all zero or unknown."""
    parameter = state.shown.latest(SubjectKey(SubjectKind.PARAMETER, key.name))
    size = float(parameter.summary[L2]) if parameter is not None else math.nan
    return norm / size if size > 0 else math.nan
