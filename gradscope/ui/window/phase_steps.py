"""The stations of a training step in a row: which are done, which is under way, which comes next."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from PySide6.QtCore import QPointF, QRectF, QSize, Qt, Slot
from PySide6.QtGui import QColor, QFont, QFontMetrics, QPainter, QPaintEvent, QPen, QPolygonF
from PySide6.QtWidgets import QSizePolicy, QWidget

from gradscope.protocol.phases import INSIDE, OF_A_RECIPE, Phase, Position, Rest, SubStep
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import plain_tip

_MAX_PIPS = 8
"""The micro-batches of a larger window are told as numbers."""
_PIP_WIDTH, _PIP_GAP = 4, 3

PLAIN_STEP = tuple(s for s in OF_A_RECIPE if s not in (SubStep.UNSCALE, SubStep.CLIP, SubStep.UPDATE, SubStep.VALIDATE))
"""The stations of a recipe without anything special."""
UNKNOWN_STEP = (SubStep.FORWARD, SubStep.BACKWARD, SubStep.STEP)
"""Of a script, before it has made a step; each has these at least."""


class _Room(Enum):
    """How much is shown: (gap, length of the line between two stations, whether all of them have a text)."""

    AMPLE = (8, 16, True)
    TIGHT = (5, 6, True)
    NARROW = (5, 6, False)

    @property
    def gap(self) -> int:
        return self.value[0]

    @property
    def line(self) -> int:
        return self.value[1]

    @property
    def has_all_texts(self) -> bool:
        return self.value[2]


class Station(Enum):
    """How one sub-step stands. Each has its own sign, not only its own colour."""

    DONE = auto()
    RUNNING = auto()
    STOPPED = auto()
    NEXT = auto()
    LATER = auto()


_AS_THE_SCRIPT_WILL = (SubStep.ZERO_GRAD, SubStep.VALIDATE)
"""What is said of them is of recipes only."""
_DONE_AT_REST = {
    Rest.FORWARD: (SubStep.FORWARD, SubStep.LOSS),
    Rest.BACKWARD: (SubStep.BACKWARD,),
}
"""Up to the last of these."""
_MAIN_SUBSTEP = {Phase.FORWARD: SubStep.FORWARD, Phase.BACKWARD: SubStep.BACKWARD, Phase.STEP: SubStep.STEP}


def stations(position: Position, substeps: tuple[SubStep, ...] = OF_A_RECIPE) -> dict[SubStep, Station]:
    """How every sub-step that a recipe has, or that a script has gone through, in its order, stands at a position."""
    substeps = tuple(dict.fromkeys(substeps)) or UNKNOWN_STEP
    current = _current(position)
    if position.rest is Rest.EMPTY or (position.rest is Rest.ENDED and current is None):
        return dict.fromkeys(substeps, Station.LATER)
    if current is None or current not in substeps:
        done = [substeps.index(last) for last in _DONE_AT_REST.get(position.rest, ()) if last in substeps]
        marked, sign = max(done, default=-1) + 1, Station.NEXT
    else:
        marked, sign = substeps.index(current), Station.RUNNING if position.running else Station.STOPPED
    found = {
        substep: Station.DONE if i < marked else sign if i == marked else Station.LATER
        for i, substep in enumerate(substeps)
    }
    if position.micro and found.get(SubStep.ZERO_GRAD) is Station.LATER:
        # Only at the start of the window: what is there is added to.
        found[SubStep.ZERO_GRAD] = Station.DONE
    return found


@dataclass(frozen=True)
class WindowState:
    """How far a window of micro-batches has come."""

    size: int = 1
    added: int = 0
    """So many micro-batches have their gradients in the sum."""
    current: int | None = None
    """Index of the micro-batch that is under way."""


def window_state(position: Position) -> WindowState:
    match position.rest:
        case Rest.EMPTY | Rest.ENDED:
            return WindowState()
        case Rest.BACKWARD | Rest.IN_STEP:
            # Where the loader has no length, a window may end before it is full.
            return WindowState(position.window, position.micro + 1)
        case Rest.READY | Rest.ACCUMULATING:
            return WindowState(position.window, position.micro)
        case _:
            return WindowState(position.window, position.micro, position.micro)


def _current(position: Position) -> SubStep | None:
    """The sub-step that is under way, None between two phases."""
    inside = next((phase for phase, rest in INSIDE.items() if rest is position.rest), None)
    is_inside = inside is not None or position.running or position.rest is Rest.ENDED
    if position.moment is not None and is_inside:
        return position.moment.substep
    return _MAIN_SUBSTEP[inside] if inside is not None else None


@guarded
class PhaseSteps(QWidget):
    """Paints the stations. Where there is no room for all texts, only the marked station has one."""

    def __init__(self, themes: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._themes = themes
        self._stations = stations(Position(), PLAIN_STEP)
        self._window = WindowState()
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
            SubStep.EVALUATE: self.tr("evaluate"),
        }
        self._notes = {
            SubStep.ZERO_GRAD: self.tr("at the start of a window"),
            SubStep.UPDATE: self.tr("the scaler sets the next loss scale"),
            SubStep.VALIDATE: self.tr("after the last step of an epoch"),
            SubStep.EVALUATE: self.tr("the script calls a model without gradients"),
        }
        self._is_script = False
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

    def show_position(self, position: Position, substeps: tuple[SubStep, ...], *, in_script: bool = False) -> None:
        """`substeps`: those that the recipe has, or that the script has gone through, in its own order."""
        found, window = stations(position, substeps), window_state(position)
        is_other = list(found) != list(self._stations) or in_script != self._is_script
        if is_other or (found, window) != (self._stations, self._window):
            is_wider = found.keys() != self._stations.keys() or window.size != self._window.size
            self._stations, self._window, self._is_script = found, window, in_script
            if is_wider:
                self.updateGeometry()
            self._describe()
            self.update()

    @Slot(object)
    def _on_theme_changed(self, _theme: Theme) -> None:
        self.update()

    def _describe(self) -> None:
        texts = [f"{self._described(substep)}: {self._words[station]}" for substep, station in self._stations.items()]
        if self._is_script:
            texts.insert(0, self.tr("The stations of the script's newest step, in its own order"))
        if self._window.size > 1:
            text = self.tr("gradients added up: {added} of {size} micro-batches")
            texts.append(text.format(added=self._window.added, size=self._window.size))
        self.setAccessibleDescription(", ".join(texts))
        self.setToolTip(plain_tip("\n".join(texts)))

    def _described(self, substep: SubStep) -> str:
        note = None if self._is_script and substep in _AS_THE_SCRIPT_WILL else self._notes.get(substep)
        return self._names[substep] + (f" ({note})" if note else "")

    def _bold(self) -> QFontMetrics:
        font = QFont(self.font())
        font.setBold(True)
        return QFontMetrics(font)

    def _size(self, room: _Room) -> QSize:
        bold = self._bold()
        names = [self._names[substep] for substep in self._stations]
        markers = len(names) * (self._diameter() + room.gap) + (len(names) - 1) * (room.line + room.gap)
        widths = [bold.horizontalAdvance(name) + room.gap for name in names]
        texts = sum(widths) if room.has_all_texts else max(widths)
        return QSize(round(markers + self._window_width()) + texts, bold.height() + 16)

    def _window_width(self) -> float:
        size = self._window.size
        if size == 1:
            return 0.0
        if size > _MAX_PIPS:
            return self._bold().horizontalAdvance(f"{size}/{size}") + 6.0
        return size * (_PIP_WIDTH + _PIP_GAP) + 6.0

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

    def _paint_window(self, painter: QPainter, x: float, theme: Theme) -> None:
        """The micro-batches of the window as bars: added up, under way, still to come."""
        window, height = self._window, self._diameter()
        if window.size > _MAX_PIPS:
            painter.setFont(self.font())
            painter.setPen(QColor(theme.text))
            place = QRectF(x, 0, self._window_width(), self.height())
            painter.drawText(place, Qt.AlignmentFlag.AlignVCenter, f"{window.added}/{window.size}")
            return
        for i in range(window.size):
            is_added, is_current = i < window.added, i == window.current
            colour = QColor(theme.accent if is_current else theme.muted if is_added else theme.faded)
            painter.setPen(QPen(colour, 1))
            painter.setBrush(colour if is_added else Qt.BrushStyle.NoBrush)
            bar = QRectF(x + i * (_PIP_WIDTH + _PIP_GAP), (self.height() - height) / 2, _PIP_WIDTH, height)
            painter.drawRoundedRect(bar, 1.5, 1.5)
            if is_current:
                bar.setTop(bar.center().y())
                painter.setBrush(colour)
                painter.drawRoundedRect(bar, 1.5, 1.5)

    # ------------------------------------------------------------------------------------------ Qt

    def sizeHint(self) -> QSize:
        return self._size(_Room.AMPLE)

    def minimumSizeHint(self) -> QSize:
        return self._size(_Room.NARROW)

    def paintEvent(self, _event: QPaintEvent) -> None:
        theme, bold = self._themes.theme, self._bold()
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        room = next((room for room in _Room if self._size(room).width() <= self.width()), _Room.NARROW)
        diameter, x, middle = self._diameter(), 1.0, self.height() / 2
        text_end = x
        for i, (substep, station) in enumerate(self._stations.items()):
            if i:
                painter.setPen(QPen(QColor(theme.border), 1.5))
                x += room.line + room.gap
                painter.drawLine(QPointF(text_end + room.gap, middle), QPointF(x - room.gap, middle))
            self._paint_marker(painter, QRectF(x, middle - diameter / 2, diameter, diameter), station, theme)
            x += diameter + room.gap
            text_end = x - room.gap
            if room.has_all_texts or self._is_marked(station):
                name, font = self._names[substep], QFont(self.font())
                font.setBold(self._is_marked(station))
                width = bold.horizontalAdvance(name)
                painter.setFont(font)
                painter.setPen(QColor(theme.muted if station is Station.LATER else theme.text))
                if self._is_marked(station):
                    painter.setPen(QColor(theme.accent))
                painter.drawText(QRectF(x, 0, width + 8, self.height()), Qt.AlignmentFlag.AlignVCenter, name)
                text_end = x + QFontMetrics(font).horizontalAdvance(name)
                x += width + room.gap
            if substep is SubStep.BACKWARD and self._window.size > 1:
                self._paint_window(painter, text_end + 6, theme)
                x += self._window_width()
                text_end += self._window_width()
        painter.end()
