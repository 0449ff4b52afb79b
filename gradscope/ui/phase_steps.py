"""The stations of a training step in a row: which are done, which is under way, which comes next."""

from __future__ import annotations

from enum import Enum, auto

from PySide6.QtCore import QPointF, QRectF, QSize, Qt, Slot
from PySide6.QtGui import QColor, QFont, QFontMetrics, QPainter, QPaintEvent, QPen, QPolygonF
from PySide6.QtWidgets import QSizePolicy, QWidget

from gradscope.protocol.phases import INSIDE, Phase, Position, Rest, SubStep
from gradscope.ui.theme import Theme, ThemeManager

_GAP = 8
_LINE = 16


PLAIN_STEP = tuple(s for s in SubStep if s not in (SubStep.UNSCALE, SubStep.CLIP, SubStep.UPDATE, SubStep.VALIDATE))
"""The stations of a recipe without anything special."""


class Station(Enum):
    """How one sub-step stands. Each has its own sign, not only its own colour."""

    DONE = auto()
    RUNNING = auto()
    STOPPED = auto()
    NEXT = auto()
    LATER = auto()


_DONE_AT_REST = {
    Rest.READY: None,
    Rest.FORWARD: SubStep.LOSS,
    Rest.ACCUMULATING: None,
    Rest.BACKWARD: SubStep.BACKWARD,
}
_MAIN_SUBSTEP = {Phase.FORWARD: SubStep.FORWARD, Phase.BACKWARD: SubStep.BACKWARD, Phase.STEP: SubStep.STEP}


def stations(position: Position, substeps: tuple[SubStep, ...] = tuple(SubStep)) -> dict[SubStep, Station]:
    """How every sub-step that a recipe has stands at a position."""
    if position.rest is Rest.EMPTY:
        return dict.fromkeys(substeps, Station.LATER)
    current = _current(position)
    if current is None or current not in substeps:
        last = _DONE_AT_REST.get(position.rest)
        marked, sign = 0 if last is None else substeps.index(last) + 1, Station.NEXT
    else:
        marked, sign = substeps.index(current), Station.RUNNING if position.running else Station.STOPPED
    return {
        substep: Station.DONE if i < marked else sign if i == marked else Station.LATER
        for i, substep in enumerate(substeps)
    }


def _current(position: Position) -> SubStep | None:
    """The sub-step that is under way, None between two phases."""
    inside = next((phase for phase, rest in INSIDE.items() if rest is position.rest), None)
    if position.moment is not None and (inside is not None or position.running):
        return position.moment.substep
    return _MAIN_SUBSTEP[inside] if inside is not None else None


class PhaseSteps(QWidget):
    """Paints the stations. Where there is no room for all texts, only the marked station has one."""

    def __init__(self, themes: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._themes = themes
        self._stations = stations(Position(), PLAIN_STEP)
        self._names = {
            SubStep.BATCH: self.tr("batch"),
            SubStep.ZERO_GRAD: self.tr("zero grad"),
            SubStep.FORWARD: self.tr("forward"),
            SubStep.LOSS: self.tr("loss"),
            SubStep.BACKWARD: self.tr("backward"),
            SubStep.UNSCALE: self.tr("unscale"),
            SubStep.CLIP: self.tr("clip"),
            SubStep.STEP: self.tr("step"),
            SubStep.UPDATE: self.tr("scale"),
            SubStep.VALIDATE: self.tr("validate"),
            SubStep.SCHEDULE: self.tr("schedule"),
        }
        self._words = {
            Station.DONE: self.tr("done"),
            Station.RUNNING: self.tr("running"),
            Station.STOPPED: self.tr("stopped here"),
            Station.NEXT: self.tr("next"),
            Station.LATER: self.tr("later"),
        }
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(self.tr("Phases of the training step"))
        themes.changed.connect(self._on_theme_changed)
        self._describe()

    def show_position(self, position: Position, substeps: tuple[SubStep, ...]) -> None:
        """`substeps`: those that the recipe has."""
        found = stations(position, substeps)
        if found != self._stations:
            if found.keys() != self._stations.keys():
                self.updateGeometry()
            self._stations = found
            self._describe()
            self.update()

    @Slot(object)
    def _on_theme_changed(self, _theme: Theme) -> None:
        self.update()

    def _describe(self) -> None:
        texts = [f"{self._names[substep]}: {self._words[station]}" for substep, station in self._stations.items()]
        self.setAccessibleDescription(", ".join(texts))
        self.setToolTip("\n".join(texts))

    def _bold(self) -> QFontMetrics:
        font = QFont(self.font())
        font.setBold(True)
        return QFontMetrics(font)

    def _size(self, *, with_texts: bool) -> QSize:
        bold = self._bold()
        names = [self._names[substep] for substep in self._stations]
        markers = len(names) * (self._diameter() + _GAP) + (len(names) - 1) * (_LINE + _GAP)
        widths = [bold.horizontalAdvance(name) + _GAP for name in names]
        return QSize(round(markers) + (sum(widths) if with_texts else max(widths)), bold.height() + 2 * _GAP)

    def _diameter(self) -> float:
        return float(self.fontMetrics().ascent() + 2)

    def _is_marked(self, station: Station) -> bool:
        return station in (Station.RUNNING, Station.STOPPED, Station.NEXT)

    def _paint_marker(self, painter: QPainter, circle: QRectF, station: Station, theme: Theme) -> None:
        accent, centre, radius = QColor(theme.accent), circle.center(), circle.width() / 2
        is_filled = station in (Station.RUNNING, Station.STOPPED)
        colour = accent if self._is_marked(station) else QColor(theme.muted)
        if station is Station.LATER:
            colour = QColor(theme.faded)
        painter.setPen(QPen(colour, 1.5))
        painter.setBrush(accent if is_filled else Qt.BrushStyle.NoBrush)
        painter.drawEllipse(circle)
        sign = QColor(theme.accent_text) if is_filled else colour
        painter.setPen(QPen(sign, 1.75, c=Qt.PenCapStyle.RoundCap, j=Qt.PenJoinStyle.RoundJoin))
        painter.setBrush(sign)
        part = radius * 0.45
        match station:
            case Station.DONE:
                points = [QPointF(-part, 0), QPointF(-part * 0.2, part * 0.8), QPointF(part, -part * 0.7)]
                painter.setBrush(Qt.BrushStyle.NoBrush)
                painter.drawPolyline(QPolygonF([centre + point for point in points]))
            case Station.RUNNING:
                points = [QPointF(-part * 0.6, -part), QPointF(part, 0), QPointF(-part * 0.6, part)]
                painter.drawPolygon(QPolygonF([centre + point for point in points]))
            case Station.STOPPED:
                for side in (-part * 0.6, part * 0.6):
                    painter.drawLine(centre + QPointF(side, -part), centre + QPointF(side, part))
            case Station.NEXT:
                painter.drawEllipse(centre, part * 0.5, part * 0.5)
            case Station.LATER:
                pass

    # ------------------------------------------------------------------------------------------ Qt

    def sizeHint(self) -> QSize:
        return self._size(with_texts=True)

    def minimumSizeHint(self) -> QSize:
        return self._size(with_texts=False)

    def paintEvent(self, _event: QPaintEvent) -> None:
        theme, bold = self._themes.theme, self._bold()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        show_all = self.width() >= self.sizeHint().width()
        diameter, x, middle = self._diameter(), 1.0, self.height() / 2
        text_end = x
        for i, (substep, station) in enumerate(self._stations.items()):
            if i:
                painter.setPen(QPen(QColor(theme.border), 1.5))
                x += _LINE + _GAP
                painter.drawLine(QPointF(text_end + _GAP, middle), QPointF(x - _GAP, middle))
            self._paint_marker(painter, QRectF(x, middle - diameter / 2, diameter, diameter), station, theme)
            x += diameter + _GAP
            text_end = x - _GAP
            if not show_all and not self._is_marked(station):
                continue
            name, font = self._names[substep], QFont(self.font())
            font.setBold(self._is_marked(station))
            width = bold.horizontalAdvance(name)
            painter.setFont(font)
            painter.setPen(QColor(theme.muted if station is Station.LATER else theme.text))
            if self._is_marked(station):
                painter.setPen(QColor(theme.accent))
            painter.drawText(QRectF(x, 0, width + _GAP, self.height()), Qt.AlignmentFlag.AlignVCenter, name)
            text_end = x + QFontMetrics(font).horizontalAdvance(name)
            x += width + _GAP
        painter.end()
