"""The branches of a training over its steps, as lines that leave each other; one can look at a step, or go there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PySide6.QtCore import QEvent, QPoint, QPointF, QRectF, QSize, Qt, Signal, Slot
from PySide6.QtGui import QColor, QContextMenuEvent, QHelpEvent, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.widgets.elided_label import elided
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import plain_tip

_NAMES_SHARE = 0.38
_MARGIN = 12
_LANE_EMS = 1.7
_AXIS_EMS = 1.6
_LEAST_TICK_GAP = 3
"""Pixels between two marks of checkpoints; of those that are closer, one is drawn."""
_ROUND = (1, 2, 5, 10)


@dataclass(frozen=True, kw_only=True)
class Lane:
    """One branch."""

    id: int
    parent: int | None
    from_step: int
    until_step: int
    label: str
    is_current: bool
    """The training is on it."""


@dataclass(frozen=True, kw_only=True)
class Moments:
    """What there is to mark on the steps."""

    now: int
    """The step that is made next."""
    shown: int | None = None
    """The earlier step that is looked at."""
    checkpoints: tuple[int, ...] = ()
    """Of the branch that the training is on."""


@guarded
class TimelinePicture(QWidget):
    step_wanted = Signal(int)
    """A place was clicked, or the mouse dragged there: that step is to be looked at."""
    go_wanted = Signal(int, int)
    """Step and branch: the place was double-clicked, or Enter pressed there."""
    menu_wanted = Signal(int, int, QPoint)
    """Of a branch, at a step, and where that is on the screen."""

    def __init__(self, themes: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._themes = themes
        self._lanes: tuple[Lane, ...] = ()
        self._moments = Moments(now=0)
        self._chosen = 0
        """The lane that the keyboard is on, by its place."""
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Minimum)
        self.setMouseTracking(True)
        self.setAccessibleName(self.tr("Branches of the training"))
        themes.changed.connect(self._on_theme_changed)

    def show_lanes(self, lanes: Sequence[Lane], moments: Moments) -> None:
        """The first lane is drawn at the top."""
        if (tuple(lanes), moments) == (self._lanes, self._moments):
            return
        is_other = [lane.id for lane in lanes] != [lane.id for lane in self._lanes]
        self._lanes, self._moments = tuple(lanes), moments
        if is_other:
            self._chosen = next((i for i, lane in enumerate(self._lanes) if lane.is_current), 0)
            self.updateGeometry()
        self.setAccessibleDescription("; ".join(lane.label for lane in self._lanes))
        self.update()

    # ------------------------------------------------------------------------------------------ places

    @property
    def _last(self) -> int:
        return max([1, self._moments.now, *(lane.until_step for lane in self._lanes)])

    def _line(self) -> tuple[float, float]:
        """Where the steps begin and end, in pixels."""
        left = _MARGIN + _NAMES_SHARE * self.width()
        return left, max(left + 1, self.width() - 2.0 * _MARGIN)

    def x_of(self, step: int) -> float:
        left, right = self._line()
        return left + (right - left) * step / self._last

    def step_at(self, x: float) -> int:
        left, right = self._line()
        return min(max(round((x - left) / (right - left) * self._last), 0), self._last)

    def _em(self) -> int:
        return self.fontMetrics().height()

    def y_of(self, place: int) -> float:
        return (0.9 + place * _LANE_EMS) * self._em()

    def lane_at(self, y: float) -> Lane | None:
        place = round((y / self._em() - 0.9) / _LANE_EMS)
        return self._lanes[place] if 0 <= place < len(self._lanes) else None

    def _place_at(self, lane: Lane, step: int) -> int:
        """Where the way to a lane's end is at a step: before the lane begins, it is that of its parent."""
        places = {other.id: i for i, other in enumerate(self._lanes)}
        for _ in self._lanes:
            if step >= lane.from_step or lane.parent not in places:
                break
            lane = self._lanes[places[lane.parent]]
        return places[lane.id]

    # ------------------------------------------------------------------------------------------ painting

    def _paint_axis(self, painter: QPainter, theme: Theme) -> None:
        metrics, y = self.fontMetrics(), self.y_of(len(self._lanes) - 1) + 0.9 * self._em()
        left, right = self._line()
        painter.setPen(QPen(QColor(theme.border), 1))
        painter.drawLine(QPointF(left, y), QPointF(right, y))
        room = metrics.horizontalAdvance(str(self._last)) + 2 * _MARGIN
        most = max(1, int((right - left) // room))
        unit, stride = 1, 1
        while self._last / stride > most:
            stride = next((unit * n for n in _ROUND if self._last / (unit * n) <= most), unit * 10)
            unit *= 10
        for step in range(0, self._last + 1, stride):
            x = self.x_of(step)
            painter.setPen(QPen(QColor(theme.border), 1))
            painter.drawLine(QPointF(x, y), QPointF(x, y + 4))
            painter.setPen(QColor(theme.muted))
            text = str(step)
            painter.drawText(QPointF(x - metrics.horizontalAdvance(text) / 2, y + 5 + metrics.ascent()), text)

    def _paint_lane(self, painter: QPainter, place: int, theme: Theme) -> None:
        lane, y = self._lanes[place], self.y_of(place)
        colour = QColor(theme.accent if lane.is_current else theme.muted)
        pen = QPen(colour, 3 if lane.is_current else 2, c=Qt.PenCapStyle.RoundCap)
        painter.setPen(pen)
        begin, end = self.x_of(lane.from_step), self.x_of(max(lane.from_step, lane.until_step))
        above = next((i for i, other in enumerate(self._lanes) if other.id == lane.parent), None)
        if above is not None and above != place:
            painter.setPen(QPen(colour, 1.5, Qt.PenStyle.SolidLine))
            painter.drawLine(QPointF(begin, self.y_of(above)), QPointF(begin, y))
            painter.setPen(pen)
        painter.drawLine(QPointF(begin, y), QPointF(max(end, begin + 2), y))
        font = painter.font()
        font.setBold(lane.is_current)
        painter.setFont(font)
        painter.setPen(QColor(theme.text if lane.is_current else theme.muted))
        room = int(_NAMES_SHARE * self.width()) - _MARGIN
        metrics = painter.fontMetrics()
        painter.drawText(QPointF(_MARGIN, y + metrics.ascent() / 2 - 1), elided(lane.label, metrics, room))
        font.setBold(False)
        painter.setFont(font)
        if self.hasFocus() and place == self._chosen:
            painter.setPen(QPen(QColor(theme.accent), 1, Qt.PenStyle.DotLine))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            half = 0.75 * self._em()
            painter.drawRect(QRectF(3, y - half, self.width() - 6, 2 * half))
        if lane.is_current:
            self._paint_moments(painter, lane, theme)

    def _paint_moments(self, painter: QPainter, lane: Lane, theme: Theme) -> None:
        painter.setPen(QPen(QColor(theme.accent), 1))
        before = -_LEAST_TICK_GAP
        for step in self._moments.checkpoints:
            x = int(self.x_of(min(step, self._last)))
            if x - before >= _LEAST_TICK_GAP:
                at = self.y_of(self._place_at(lane, step))
                painter.drawLine(QPointF(x, at - 6), QPointF(x, at - 2))
                before = x
        painter.setPen(QPen(QColor(theme.surface), 1.5))
        painter.setBrush(QColor(theme.accent))
        now = self._moments.now
        painter.drawEllipse(QPointF(self.x_of(now), self.y_of(self._place_at(lane, now))), 5.5, 5.5)

    def _paint_shown(self, painter: QPainter, theme: Theme) -> None:
        if self._moments.shown is None:
            return
        x = self.x_of(self._moments.shown)
        painter.setPen(QPen(QColor(theme.text), 1.5, Qt.PenStyle.DashLine))
        painter.drawLine(QPointF(x, 2), QPointF(x, self.y_of(len(self._lanes) - 1) + 0.9 * self._em()))

    # ------------------------------------------------------------------------------------------ slots

    @Slot(object)
    def _on_theme_changed(self, _theme: Theme) -> None:
        self.update()

    # ------------------------------------------------------------------------------------------ Qt

    def paintEvent(self, _event: QPaintEvent) -> None:
        theme = self._themes.theme
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.fillRect(self.rect(), QColor(theme.surface))
        if self._lanes:
            self._paint_axis(painter, theme)
            for place in range(len(self._lanes)):
                self._paint_lane(painter, place, theme)
            self._paint_shown(painter, theme)
        painter.end()

    def _is_on_steps(self, x: float) -> bool:
        left, right = self._line()
        return left - _MARGIN <= x <= right + _MARGIN

    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() is Qt.MouseButton.LeftButton and self._is_on_steps(event.position().x()):
            self.step_wanted.emit(self.step_at(event.position().x()))

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if event.buttons() & Qt.MouseButton.LeftButton and self._is_on_steps(event.position().x()):
            self.step_wanted.emit(self.step_at(event.position().x()))

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        lane = self.lane_at(event.position().y())
        if lane is not None and self._is_on_steps(event.position().x()):
            self.go_wanted.emit(self.step_at(event.position().x()), lane.id)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if not self._lanes or event.modifiers() & Qt.KeyboardModifier.AltModifier:
            event.ignore()
            return
        lane, shown = self._lanes[self._chosen], self._moments.shown
        step = self._moments.now if shown is None else shown
        match event.key():
            case Qt.Key.Key_Up | Qt.Key.Key_Down:
                move = -1 if event.key() == Qt.Key.Key_Up else 1
                self._chosen = min(max(self._chosen + move, 0), len(self._lanes) - 1)
                self.update()
            case Qt.Key.Key_Left | Qt.Key.Key_Right:
                self.step_wanted.emit(max(0, step + (-1 if event.key() == Qt.Key.Key_Left else 1)))
            case Qt.Key.Key_Return | Qt.Key.Key_Enter:
                self.go_wanted.emit(step if lane.is_current else lane.until_step, lane.id)
            case _:
                event.ignore()

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        if event.reason() is QContextMenuEvent.Reason.Keyboard and self._lanes:
            lane, place = self._lanes[self._chosen], QPoint(_MARGIN, round(self.y_of(self._chosen)))
            step = self._moments.now if self._moments.shown is None else self._moments.shown
        else:
            found, place = self.lane_at(event.pos().y()), event.pos()
            if found is None:
                return
            lane, step = found, self.step_at(event.pos().x())
            if not self._is_on_steps(event.pos().x()):
                step = lane.until_step
        self.menu_wanted.emit(lane.id, step, self.mapToGlobal(place))

    def event(self, event: QEvent) -> bool:
        if isinstance(event, QHelpEvent) and event.type() == QEvent.Type.ToolTip:
            lane = self.lane_at(event.pos().y())
            text = "" if lane is None else lane.label
            if lane is not None and self._is_on_steps(event.pos().x()):
                step = self.tr("Step {step}: click to look at it, double-click to take the training there")
                text = f"{text}\n{step.format(step=self.step_at(event.pos().x()))}"
            QToolTip.showText(event.globalPos(), plain_tip(text), self)
            return True
        return super().event(event)

    def sizeHint(self) -> QSize:
        height = (len(self._lanes) * _LANE_EMS + 0.6 + _AXIS_EMS) * self._em()
        return QSize(30 * self._em(), round(height))

    def minimumSizeHint(self) -> QSize:
        return QSize(12 * self._em(), self.sizeHint().height())
