"""One pyqtgraph plot with gradscope's manners: ranges are set, never guessed; it reports what the mouse points at."""

from __future__ import annotations

import pyqtgraph as pg
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt, Signal, Slot
from PySide6.QtGui import QColor, QKeyEvent, QResizeEvent, QWheelEvent
from PySide6.QtWidgets import QHBoxLayout, QToolButton, QToolTip, QWidget

from gradscope.ui.look.colours import Theme
from gradscope.ui.plots.parts.axes import StepAxis
from gradscope.ui.plots.parts.edit_marks import EditMarks
from gradscope.ui.plots.parts.finding_marks import FindingMarks
from gradscope.ui.plots.parts.playhead import Playhead
from gradscope.ui.plots.parts.reach import LEAST_WIDTH, REACH, Range, within_reach
from gradscope.ui.widgets.elided_label import elided
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import plain_tip

_STEPS_AROUND = 60
"""So many steps are shown around one that somebody wants to see."""
_ROW_PIXELS = 12
"""And so many pixels of each row."""


@guarded
class PlotView(pg.PlotWidget):
    """Drag to pan, Ctrl and wheel to zoom; after that the plot stays where it was put until `fit` is called."""

    pointed_at = Signal(float, float)
    """The mouse moved over the plot, in the plot's coordinates; answer with `show_tip`."""
    clicked = Signal(float, float)
    menu_wanted = Signal(float, float, QPoint)
    """A right click in the plot's coordinates, and where that is on the screen."""
    step_chosen = Signal(float)
    """In a plot over training steps: the playhead was dragged there, or the plot clicked there."""
    step_taken_back = Signal()
    """The click was the first of a double click, which is about something else."""
    playhead_shown = Signal(float, bool)
    """`show_playhead` was called so."""
    row_key_pressed = Signal(int)
    """Up (-1) or Down (+1)."""
    following_changed = Signal(bool)
    scale_changed = Signal()
    """`units_per_pixel` may be others."""

    def __init__(
        self,
        *,
        axes: dict[str, pg.AxisItem],
        zoom_x: bool,
        zoom_y: bool,
        is_over_steps: bool = True,
        parent: QWidget | None = None,
    ) -> None:
        """`is_over_steps`: where the lower axis has whole numbers, they are those of training steps."""
        # A menu that nobody sees would take a third of the time that a plot takes to build.
        super().__init__(parent, useOpenGL=False, axisItems=axes, viewBox=pg.ViewBox(enableMenu=False))
        self.is_following = True
        self._labels: dict[str, str] = {}
        self._wanted: tuple[Range, Range] = ((0.0, 1.0), (0.0, 1.0))
        self._applied: tuple[Range, Range] | None = None
        self.held_steps: Range | None = None
        """Of the x axis, while another plot says what it shows."""
        self._zooms = (zoom_x, zoom_y)
        self.is_zoomable = zoom_x or zoom_y
        self.box = self.plotItem.vb
        self.plotItem.hideButtons()
        self.plotItem.setMenuEnabled(False)
        self.plotItem.setContentsMargins(0, 4, 16, 0)
        self.box.disableAutoRange()
        self.box.setDefaultPadding(0)
        self.box.setMouseEnabled(x=zoom_x, y=zoom_y)
        self.box.setLimits(
            xMin=-REACH, xMax=REACH, yMin=-REACH, yMax=REACH, minXRange=LEAST_WIDTH, minYRange=LEAST_WIDTH
        )
        self.box.sigRangeChangedManually.connect(self._on_range_changed_manually)
        self.box.sigRangeChanged.connect(self._on_range_changed)
        self.box.sigResized.connect(self._on_range_changed)
        self.scene().sigMouseMoved.connect(self._on_mouse_moved)
        self.scene().sigMouseClicked.connect(self._on_mouse_clicked)
        self.setMinimumSize(80, 60)
        is_over_steps = is_over_steps and isinstance(axes["bottom"], StepAxis)
        self.marks = EditMarks(self.plotItem) if is_over_steps else None
        """Where settings were edited, in a plot over steps."""
        self.found = FindingMarks(self.plotItem) if is_over_steps else None
        """Where something that is wrong was first seen, in the same."""
        self.playhead = Playhead(self.plotItem) if is_over_steps else None
        """The step that the window shows, in the same."""
        if self.playhead is not None:
            self.playhead.dragged.connect(self.step_chosen)
        self._pointed_x = 0.0
        self._corner = QWidget(self)

    def restyle(self, theme: Theme) -> None:
        self.setBackground(QColor(theme.surface))
        self.box.setBorder(pg.mkPen(theme.border))
        if self.marks is not None and self.found is not None and self.playhead is not None:
            self.marks.restyle(theme)
            self.found.restyle(theme)
            self.playhead.restyle(theme)
        label_style = {"color": theme.muted, "font-size": f"{max(1, round(self.font().pointSizeF()))}pt"}
        for name in ("left", "bottom"):
            axis = self.getAxis(name)
            axis.setPen(pg.mkPen(theme.border))
            axis.setTextPen(pg.mkPen(theme.muted))
            axis.setTickPen(pg.mkPen(theme.border))
            if axis.labelText:
                axis.setLabel(axis.labelText, **label_style)
            axis.set_font(self.font())

    def set_corner(self, buttons: list[QToolButton]) -> None:
        """Small buttons below the numbers of the left axis, where no plot draws anything."""
        row = QHBoxLayout(self._corner)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        for button in buttons:
            button.setProperty("tiny", True)
            row.addWidget(button)
        self._corner.setVisible(self.is_zoomable)

    def show_corner(self, is_shown: bool) -> None:
        """Off for pictures, where nothing can be pressed, and where another plot has the same buttons."""
        self._corner.setVisible(is_shown and self.is_zoomable)

    def set_axis_label(self, name: str, text: str) -> None:
        self._labels[name] = text
        self._fit_label(name)

    def show_bottom_axis(self, is_shown: bool) -> None:
        """Off where a plot below has the same axis."""
        self.getAxis("bottom").show_values(is_shown)

    def show_range(self, x: Range, y: Range) -> None:
        """What the plot shows as long as a person has not moved it; see `within_reach`."""
        self._wanted = (x, y)
        shown = (self.held_steps or x, y)
        if self.is_following and self._applied != shown:
            self.box.setRange(
                xRange=within_reach(shown[0]), yRange=within_reach(shown[1]), padding=0, disableAutoRange=True
            )
            self._applied = shown

    def hold_steps(self, x: Range) -> None:
        """Show these steps until `fit`; the values are followed as before, unless a person has moved them."""
        self.held_steps = x
        if self.is_following:
            self.show_range(*self._wanted)
        else:
            self.box.setXRange(*within_reach(x), padding=0)
        self.following_changed.emit(False)

    def bring_step(self, step: float | None) -> None:
        """See to it that a step can be made out: the steps around it, or all of them where those are few. None: all."""
        first, last = self._wanted[0]
        if step is None or last - first <= _STEPS_AROUND:
            self.fit()
            return
        start = min(max(first, step - _STEPS_AROUND / 2), last - _STEPS_AROUND)
        self.hold_steps((start, start + _STEPS_AROUND))

    def bring_row(self, row: float) -> None:
        """The same of a row: as many around it as have some pixels each."""
        low, high = self._wanted[1]
        rows = self.box.height() / _ROW_PIXELS
        if high - low > rows:
            start = min(max(low, row - rows / 2), high - rows)
            self.is_following = False
            self.box.setYRange(start, start + rows, padding=0)
            self.following_changed.emit(False)

    def show_playhead(self, step: float, is_earlier: bool) -> None:
        """`is_earlier`: the window shows that step, and not the newest of everything. A negative one is none."""
        if self.playhead is not None:
            self.playhead.show(step, is_earlier=is_earlier)
            self.playhead_shown.emit(step, is_earlier)

    @property
    def units_per_pixel(self) -> tuple[float, float]:
        """How much of each axis a pixel takes now."""
        x, y = self.box.viewRange()
        return (x[1] - x[0]) / max(1.0, self.box.width()), (y[1] - y[0]) / max(1.0, self.box.height())

    @Slot()
    def fit(self) -> None:
        """Follow the data again."""
        is_news = not self.is_following or self.held_steps is not None
        self.is_following, self.held_steps, self._applied = True, None, None
        self.show_range(*self._wanted)
        if is_news:
            self.following_changed.emit(True)

    def zoom(self, factor: float) -> None:
        """Show so many times as much around the middle, of the axes that can be zoomed."""
        x, y = self._zooms
        self.box.scaleBy((factor if x else 1.0, factor if y else 1.0))
        self._on_range_changed_manually()

    def show_tip(self, text: str) -> None:
        """Say what is under the mouse, with the edits near it."""
        edits = self.marks.text_at(self._pointed_x) if self.marks is not None else ""
        found = self.found.text_at(self._pointed_x) if self.found is not None else ""
        text = "\n\n".join(part for part in (text, found, edits) if part)
        QToolTip.showText(self.cursor().pos(), plain_tip(text), self)

    @Slot()
    def _on_range_changed(self) -> None:
        self.scale_changed.emit()

    @Slot()
    def _on_range_changed_manually(self) -> None:
        self.is_following, self.held_steps = False, None
        self.following_changed.emit(False)

    @Slot(object)
    def _on_mouse_moved(self, position: QPointF) -> None:
        if not self.box.sceneBoundingRect().contains(position):
            QToolTip.hideText()
            return
        point = self.box.mapSceneToView(position)
        self._pointed_x = point.x()
        self.pointed_at.emit(point.x(), point.y())

    @Slot(object)
    def _on_mouse_clicked(self, event: object) -> None:
        position = event.scenePos()  # type: ignore[attr-defined]
        if event.button() == Qt.MouseButton.RightButton:  # type: ignore[attr-defined]
            if self.plotItem.sceneBoundingRect().contains(position):
                point = self.box.mapSceneToView(position)
                self.menu_wanted.emit(point.x(), point.y(), event.screenPos().toPoint())  # type: ignore[attr-defined]
            return
        if event.button() != Qt.MouseButton.LeftButton:  # type: ignore[attr-defined]
            return
        if event.double():  # type: ignore[attr-defined]
            self.fit()
            if self.playhead is not None:
                self.step_taken_back.emit()
        # The names beside the plot belong to its rows.
        elif self.plotItem.sceneBoundingRect().contains(position):
            point = self.box.mapSceneToView(position)
            self.clicked.emit(point.x(), point.y())
            if self.playhead is not None and self.box.sceneBoundingRect().contains(position):
                self.step_chosen.emit(point.x())

    def _fit_label(self, name: str) -> None:
        """The whole label, or as much of it as the axis is long."""
        axis, length = self.getAxis(name), self.height() - 60 if name == "left" else self.width() - 60
        text = elided(self._labels[name], self.fontMetrics(), max(40, length))
        if axis.labelText != text:
            axis.setLabel(text, **axis.labelStyle)
            axis.set_font(self.font())

    # ------------------------------------------------------------------------------------------ Qt

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        super().resizeEvent(event)
        # pyqtgraph calls this with None while its own constructor runs.
        for name in getattr(self, "_labels", {}):
            self._fit_label(name)
        if hasattr(self, "_corner"):
            self._corner.adjustSize()
            self._corner.move(2, self.height() - self._corner.height() - 1)

    def wheelEvent(self, event: QWheelEvent) -> None:
        if self.is_zoomable and event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            super().wheelEvent(event)
        else:
            event.ignore()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        match event.key():
            case Qt.Key.Key_Up:
                self.row_key_pressed.emit(-1)
            case Qt.Key.Key_Down:
                self.row_key_pressed.emit(1)
            case _:
                event.ignore()

    def viewportEvent(self, event: QEvent) -> bool:
        # The scene would answer with an empty tip, and hide ours.
        return True if event.type() == QEvent.Type.ToolTip else super().viewportEvent(event)

    def leaveEvent(self, event: QEvent) -> None:
        QToolTip.hideText()
        super().leaveEvent(event)
