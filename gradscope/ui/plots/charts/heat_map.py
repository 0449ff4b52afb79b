"""One quantity of all subjects over all steps, as one image: rows are layers or parameters, columns are steps."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyqtgraph as pg
from PySide6.QtCore import QRectF, Signal, Slot
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QGraphicsRectItem, QWidget

from gradscope.protocol.extremes import worst
from gradscope.protocol.subjects import SubjectKey, SubjectKind
from gradscope.state.app_state import AppState
from gradscope.state.records.block import Block
from gradscope.state.selection import Selection
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.plots.parts import palette
from gradscope.ui.plots.parts.axes import NameAxis, StepAxis
from gradscope.ui.plots.parts.chart import Chart
from gradscope.ui.plots.parts.color_strip import ColorStrip
from gradscope.ui.plots.parts.non_finite import Trouble, trouble
from gradscope.ui.plots.parts.number_table import TableData
from gradscope.ui.plots.parts.plot_view import PlotView
from gradscope.ui.plots.parts.sampling import RowGrid, StepGrid, step_range
from gradscope.ui.plots.parts.scales import GrowingScale
from gradscope.ui.plots.words.cell_text import cell_lines, others_in_line
from gradscope.ui.plots.words.formats import kept_cell
from gradscope.ui.plots.words.moment_text import in_less_room, newest_moment
from gradscope.ui.plots.words.subjects_in_order import execution_order, rows_of_selection
from gradscope.ui.plots.words.wording import lost_ratios_note, what_to_press
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.words.capture import why_unmeasured
from gradscope.ui.words.quantities import (
    QUANTITIES,
    Floats,
    Quantity,
    Scale,
    bounds_of,
    has_lost_ratios,
    non_finite,
    usual_of,
    values_of,
)
from gradscope.ui.words.spot import Spot

if TYPE_CHECKING:
    from gradscope.ui.actions.controller import Controller

_LEAST_ROWS = 4
_MAX_CROSSES = 300
_NAMES_SHARE = 0.3
_MEDIAN_COLUMNS = 8


@guarded
class HeatMap(Chart):
    names_width_changed = Signal(float)
    """How much the names beside the rows take."""

    def __init__(
        self, controller: Controller, themes: ThemeManager, *, title: str, parent: QWidget | None = None
    ) -> None:
        self._names = NameAxis()
        steps = StepAxis("bottom")
        plot = PlotView(axes={"left": self._names, "bottom": steps}, zoom_x=True, zoom_y=True)
        super().__init__(
            controller,
            themes,
            plot,
            title=title,
            explanation=self.tr(
                "Each row is a layer, a parameter or a buffer, from the input at the top to the output at the bottom; each "
                "column is a training step, and the colour is the number. Look for rows that differ from their neighbours, "
                "and for the step at which a colour changes; click a row to follow it in every panel."
            ),
            parent=parent,
        )
        plot.box.invertY(True)
        if plot.playhead is not None:
            plot.playhead.turn_around()
        # The plot below has the same axis, and says what it is of.
        self._kind = SubjectKind.ACTIVATION
        self._quantity = Quantity.STD
        self._leaf: str | None = None
        self._scales: dict[tuple[SubjectKind, str | None, Quantity], GrowingScale] = {}
        self._history: object = None
        self._keys: list[SubjectKey] = []
        self._named: tuple[list[SubjectKey], str | None] = ([], None)
        self._grids: tuple[StepGrid, RowGrid] | None = None
        self._bounds: tuple[Floats, Floats] = (np.zeros((0, 0), dtype=np.float32),) * 2
        """The least and the greatest of each row, as the rows lie, and each column of the grid."""
        self._bad = np.zeros((0, 0), dtype=bool)
        self._usual = 0.0
        self._image = pg.ImageItem(axisOrder="row-major")
        self._crosses = pg.ScatterPlotItem(symbol="x", size=10, pxMode=True)
        self._outline = QGraphicsRectItem()
        for item in (self._image, self._crosses, self._outline):
            plot.addItem(item, ignoreBounds=True)
        self._strip = ColorStrip()
        self.body_layout.addWidget(self._strip)
        plot.pointed_at.connect(self._on_pointed_at)
        plot.clicked.connect(self._on_clicked)
        plot.scale_changed.connect(self._on_scale_changed)
        plot.row_key_pressed.connect(self._on_row_key_pressed)
        self.restyle(self.theme)

    def show_quantity(self, kind: SubjectKind, quantity: Quantity, *, leaf: str | None = None) -> None:
        """`leaf`: only the subjects of this leaf."""
        self._kind, self._quantity, self._leaf = kind, quantity, leaf
        self.plot.fit()
        self.mark_dirty()

    def bring(self, step: int | None) -> None:
        """See to it that the step, and the first selected row, can be made out."""
        self.plot.bring_step(step)
        selected = rows_of_selection(self._keys, self.controller.state.selection)
        if selected:
            self.plot.bring_row(selected[0])

    def restyle(self, theme: Theme) -> None:
        super().restyle(theme)
        if self.plot.playhead is not None:
            self.plot.playhead.restyle(theme, is_over_colours=True)
        # Legible on every colour of the map.
        self._crosses.setPen(pg.mkPen("k", width=1))
        self._crosses.setBrush(pg.mkBrush("w"))
        outline = pg.mkPen(theme.text, width=2)
        outline.setCosmetic(True)
        self._outline.setPen(outline)

    # ------------------------------------------------------------------------------------------ drawing

    def draw(self, state: AppState) -> str:
        block = state.history.blocks[self._kind]
        self._grids = None
        if not block.keys or not len(block.steps):
            return what_to_press(state, self._kind)
        order = execution_order(state, self._kind, self._leaf)
        unmeasured = why_unmeasured(state, self._kind, self._quantity, order)
        if unmeasured and not non_finite(block)[order].any():
            return unmeasured
        self._keys = [block.keys[i] for i in order]
        self._draw_frame(state, block.steps)
        self._draw_cells(state, order)
        self.write(state)
        return ""

    def write(self, state: AppState) -> None:
        note = lost_ratios_note() if has_lost_ratios(state.history, self._kind, self._quantity) else ""
        moment = newest_moment(state, self._kind)
        said = (self._rows_text(), note, moment)
        told = " · ".join(part for part in said if part)
        self.show_moment(told, in_less_room(state, self._kind, moment))

    def _draw_cells(self, state: AppState, order: list[int]) -> None:
        block, info = state.history.blocks[self._kind], QUANTITIES[self._quantity]
        self._grids = self._wanted_grids(block)
        grid, rows = self._grids
        found = trouble(block, order, grid)
        scale = self._scale_for(state)
        least, most = grid.bounds(*bounds_of(state.history, self._kind, self._quantity))
        if order != list(range(len(most))):
            least, most = least[order], most[order]
        has_beyond = scale.widen_by_kept(most)
        scale.widen(least)
        # Some of the steps will do: it is only the middle.
        some = most[:, :: max(1, grid.columns // _MEDIAN_COLUMNS)]
        self._usual = usual_of(info, scale.place_apart(some), low=scale.low)
        self._bounds, self._bad = (least, most), found.cells
        # Places on a scale are in the order of the values, so only what is left of them is placed.
        drawn = self._worst(scale, *rows.bounds(least, most))
        self._draw_image(scale, drawn, rows.any(found.cells), has_beyond=has_beyond)
        self._draw_crosses(found)
        self._image.setRect(QRectF(grid.first - 0.5, -0.5, grid.columns * grid.stride, rows.lines * rows.stride))

    def _worst(self, scale: GrowingScale, least: Floats, most: Floats) -> Floats:
        """On the drawn scale, of the least and the greatest values of cells."""
        lower = scale.place_apart(least)
        return worst(lower, lower if least is most else scale.place_apart(most), self._usual)

    def _wanted_grids(self, block: Block) -> tuple[StepGrid, RowGrid]:
        """As many columns and lines as have a pixel of their own."""
        steps, count = block.steps, len(self._keys)
        x, y = self.plot.units_per_pixel
        span = int(steps[-1]) - int(steps[0]) + 1
        grid = StepGrid.of(steps, max_columns=math.floor(span / max(x, 1e-9)), is_merged=block.is_merged)
        return grid, RowGrid.of(count, max_lines=math.floor(count / max(y, 1e-9)))

    def _rows_text(self) -> str:
        """How many rows a pixel holds, where it holds several."""
        if self._grids is None or self._grids[1].is_identity:
            return ""
        text = self.tr("Worst of {count} rows a pixel")
        return text.format(count=self._grids[1].stride)

    def _scale_for(self, state: AppState) -> GrowingScale:
        if state.history is not self._history:
            self._history = state.history
            self._scales = {}
        info = QUANTITIES[self._quantity]
        which = (self._kind, self._leaf, self._quantity)
        if which not in self._scales:
            self._scales[which] = GrowingScale(info.scale, band=info.band)
        return self._scales[which]

    def _draw_image(
        self, scale: GrowingScale, shown: npt.NDArray[np.float32], bad: npt.NDArray[np.bool_], *, has_beyond: bool
    ) -> None:
        colours = palette.table(scale.scale, self.theme)
        index = palette.index_of(shown, scale.low, scale.high)
        special = {palette.BEYOND} if has_beyond else set()
        if scale.scale is Scale.LOG:
            zeros = shown < scale.low
            if zeros.any():
                index[zeros] = palette.ZERO
                special.add(palette.ZERO)
        if bad.any():
            index[bad] = palette.NON_FINITE
            special.add(palette.NON_FINITE)
        if (index == palette.UNMEASURED).any():
            special.add(palette.UNMEASURED)
        self._image.setImage(palette.coloured(index, colours), autoLevels=False, levels=None)
        self._strip.show_scale(colours, scale.scale, scale.low, scale.high, special, exponent=scale.exponent)

    def _draw_crosses(self, found: Trouble) -> None:
        """Where a row first goes wrong, each time: the colour alone would not say it to everybody."""
        if len(found.rows) or len(self._crosses.data):
            self._crosses.setData(found.steps[:_MAX_CROSSES].astype(np.float64), found.rows[:_MAX_CROSSES])

    def _draw_frame(self, state: AppState, steps: npt.NDArray[np.int64]) -> None:
        first, newest = int(steps[0]), int(steps[-1])
        width, height = newest - first + 1, len(self._keys)
        self._names.set_room(_NAMES_SHARE * self.width())
        if (self._keys, self._leaf) != self._named:
            self._named = (self._keys, self._leaf)
            self._names.set_names([self._label(key) for key in self._keys])
        rows = max(height, _LEAST_ROWS)
        # Two pixels above and below, for the outline of what is selected.
        pad = 2 * rows / max(50.0, self.plot.box.height())
        self.plot.show_range(step_range(first, newest), (-0.5 - pad, rows - 0.5 + pad))
        self.names_width_changed.emit(self._names.fixedWidth)
        selected = rows_of_selection(self._keys, state.selection)
        self._outline.setVisible(bool(selected))
        if selected:
            self._outline.setRect(QRectF(first - 0.5, selected[0] - 0.5, width, selected[-1] - selected[0] + 1))

    def table(self, state: AppState) -> TableData:
        block, keys = state.history.blocks[self._kind], self._keys
        steps, values = block.steps, values_of(state.history, self._kind, self._quantity, greatest=True)
        rows = [block.index_of(key) for key in keys]
        return TableData(
            headers=(self.tr("Step"), *(self._label(key) for key in keys)),
            rows=len(steps),
            cell=lambda row, column: (
                int(steps[row]) if column == 0 else kept_cell(float(values[rows[column - 1], row]))
            ),
        )

    def spot_at(self, x: float, y: float) -> Spot | None:
        row = self._row_at(x, y)
        if row is None or not 0 <= row < len(self._keys):
            return None
        history, key = self.controller.state.history, self._keys[row]
        values = values_of(history, self._kind, self._quantity, greatest=True)[history.blocks[self._kind].index_of(key)]
        return Spot.of_quantity(key, self._quantity, float(values[-1]) if len(values) else None)

    def _label(self, key: SubjectKey) -> str:
        """Without the leaf where all rows have the same."""
        return key.shown() if self._leaf is None else replace(key, leaf="").shown()

    # ------------------------------------------------------------------------------------------ slots

    @Slot(float, float)
    def _on_pointed_at(self, x: float, y: float) -> None:
        column = self._grids[0].column_at(x) if self._grids is not None else None
        row = self._row_at(x, y)
        if self._grids is None or column is None or row is None:
            self.plot.show_tip("")
            return
        grid, rows = self._grids
        history, key = self.controller.state.history, self._keys[row]
        start, end = int(grid.starts[column]), int(grid.ends[column])
        if end >= len(history.blocks[self._kind].steps):
            return
        lines = [key.shown(), *cell_lines(history, key, self._quantity, start, end)]
        if not rows.is_identity:
            line = rows.line_at(y)
            assert line is not None
            lines.append(others_in_line(self._keys, rows.rows_of(line)))
        self.plot.show_tip("\n".join(lines))

    @Slot(float, float)
    def _on_clicked(self, x: float, y: float) -> None:
        row = self._row_at(x, y)
        if row is not None:
            self._select_row(row)

    @Slot()
    def _on_scale_changed(self) -> None:
        """Other rows and steps share a pixel: a person has zoomed, or there is other room."""
        state = self.controller.state
        block = state.history.blocks[self._kind]
        if self._grids is None or not len(block.steps) or len(block.keys) < len(self._keys):
            return
        grid, rows = self._wanted_grids(block)
        if (grid.stride, rows.stride) != (self._grids[0].stride, self._grids[1].stride):
            self.mark_dirty()

    def _row_at(self, x: float, y: float) -> int | None:
        """The row below the mouse; where several share a pixel, the one that is seen."""
        if self._grids is None:
            return None
        grid, rows = self._grids
        line, column = rows.line_at(y), grid.column_at(x)
        if line is None or rows.is_identity:
            return line
        least, most = (bound[rows.rows_of(line), -1 if column is None else column] for bound in self._bounds)
        scale = self._scale_for(self.controller.state)
        bad = self._bad[rows.rows_of(line), -1 if column is None else column]
        return rows.worst_row(line, self._worst(scale, least, most), bad, self._usual)

    @Slot(int)
    def _on_row_key_pressed(self, move: int) -> None:
        selected = rows_of_selection(self._keys, self.controller.state.selection)
        self._select_row((selected[0] + move) if selected else 0)

    def _select_row(self, row: int) -> None:
        if 0 <= row < len(self._keys):
            self.controller.select(Selection.of_subject(self._keys[row]))

    # ------------------------------------------------------------------------------------------ Qt

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if self._keys:
            self.mark_dirty()
