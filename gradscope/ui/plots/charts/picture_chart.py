"""One 2-d slice of a tensor as a picture: blue below zero, orange above."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QRectF, Slot
from PySide6.QtWidgets import QWidget

from gradscope.protocol.messages import FetchDifferencePicture, FetchPicture, Picture, Unavailable
from gradscope.state.app_state import AppState
from gradscope.state.records.newest import Latest
from gradscope.state.topics import Topic
from gradscope.ui.actions.fetcher import Fetcher
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.plots.parts import palette
from gradscope.ui.plots.parts.axes import StepAxis
from gradscope.ui.plots.parts.chart import Chart
from gradscope.ui.plots.parts.color_strip import ColorStrip
from gradscope.ui.plots.parts.number_table import TableData
from gradscope.ui.plots.parts.plot_view import PlotView
from gradscope.ui.plots.parts.scales import drawn_exponent, nice_above, shifted
from gradscope.ui.plots.words.formats import exact
from gradscope.ui.widgets.index_bar import IndexBar
from gradscope.ui.words.quantities import Scale
from gradscope.ui.words.shown_step import why_no_values

if TYPE_CHECKING:
    from gradscope.ui.actions.controller import Controller

_MAX = float(np.finfo(np.float64).max)
_SQUARE_UP_TO = 4.0
"""Pixels are square as long as one side is not that much longer than the other."""


class PictureChart(Chart):
    """`look_at` a subject with a token that changes whenever its values may have; None while the session runs."""

    topics = frozenset[Topic]()
    """The inspector says when to redraw."""

    def __init__(
        self,
        controller: Controller,
        themes: ThemeManager,
        *,
        title: str = "",
        explanation: str = "",
        parent: QWidget | None = None,
    ) -> None:
        plot = PlotView(
            axes={"left": StepAxis("left", widest="88888"), "bottom": StepAxis("bottom")},
            zoom_x=True,
            zoom_y=True,
            is_over_steps=False,
        )
        super().__init__(
            controller,
            themes,
            plot,
            title=title or self.tr("Picture"),
            explanation=explanation
            or self.tr(
                "The rows and columns of the tensor's last two dimensions, blue where a value is negative, orange where "
                "it is positive, the background where it is zero. Whole lines of one colour, or of none, are units "
                "that do all the work, or nothing. Where a pixel takes several elements, it shows the one farthest from "
                "zero, or red where one is NaN or Inf."
            ),
            parent=parent,
        )
        plot.box.invertY(True)
        plot.set_axis_label("left", self.tr("Row"))
        plot.set_axis_label("bottom", self.tr("Column"))
        self._fetcher = Fetcher(controller)
        self._latest: Latest | None = None
        self._token: object = None
        self.picture: Picture | None = None
        """What is drawn, if the answer has come."""
        self._problem = ""
        self._image = pg.ImageItem(axisOrder="row-major")
        plot.addItem(self._image, ignoreBounds=True)
        self._index_bar = IndexBar()
        self._index_bar.changed.connect(self._on_index_changed)
        self.body_layout.insertWidget(0, self._index_bar)
        self._strip = ColorStrip()
        self.body_layout.addWidget(self._strip)
        plot.pointed_at.connect(self._on_pointed_at)
        # The tab of the inspector is its title.
        self.replace_title(None)
        self.restyle(self.theme)

    def look_at(self, latest: Latest, token: object | None) -> None:
        if token is not None and token == self._token:
            return
        self._latest, self._token = latest, token
        self._index_bar.show_shape(latest.row.shape)
        not_kept = why_no_values(self.controller.state, latest)
        if not_kept:
            self.picture, self._problem = None, not_kept
            self.mark_dirty()
        elif token is None:
            self.picture = None
            self._problem = self.tr("Running: the picture is fetched when it pauses")
            self.mark_dirty()
        else:
            self._fetch()

    def forget(self) -> None:
        """Another session: nothing that was asked for matters any more."""
        self._fetcher.forget()
        self._token, self.picture, self._latest = None, None, None
        self.plot.fit()

    @property
    def index(self) -> tuple[int, ...]:
        """Where in all dimensions but the last two."""
        return self._index_bar.index

    # ------------------------------------------------------------------------------------------ what is drawn

    def request(self, latest: Latest) -> FetchPicture | FetchDifferencePicture:
        """What is asked for."""
        return FetchPicture(subject=latest.row.key, index=self.index, step=self.controller.state.closer.step_of(latest))

    def pixel_text(self, block: tuple[int, int]) -> str:
        """What a pixel is where it takes several elements."""
        return self.tr("a pixel is the largest magnitude of {rows} × {columns}").format(rows=block[0], columns=block[1])

    def area_text(self) -> str:
        """The same where the mouse points."""
        return self.tr("Rows {top} to {bottom}, columns {left} to {right}: largest magnitude {value}")

    # ------------------------------------------------------------------------------------------ drawing

    def draw(self, state: AppState) -> str:
        if self.picture is None:
            return self._problem or self.tr("Fetching ...")
        values = self._values()
        is_finite = np.isfinite(values)
        largest = float(np.max(np.abs(values), where=is_finite, initial=0.0))
        high = nice_above(largest) if largest > 0 else 1.0
        exponent = drawn_exponent(high)
        drawn_high = float(shifted(high, -exponent))
        colours = palette.table(Scale.SIGNED, self.theme)
        index = palette.index_of(values, -high, high)
        index[~is_finite] = palette.NON_FINITE
        self._image.setImage(palette.coloured(index, colours), autoLevels=False, levels=None)
        height, width = self._extent()
        self._image.setRect(QRectF(-0.5, -0.5, width, height))
        is_square = max(height / width, width / height) <= _SQUARE_UP_TO
        self.plot.box.setAspectLocked(is_square)
        self.plot.show_range((-0.5, width - 0.5), (-0.5, height - 0.5))
        special = set() if is_finite.all() else {palette.NON_FINITE}
        self._strip.show_scale(colours, Scale.SIGNED, -drawn_high, drawn_high, special, exponent=exponent)
        block = self.picture.block
        self.readout.show_text(self.pixel_text(block) if block != (1, 1) else "")
        return ""

    def _values(self) -> np.ndarray:
        """Rows and columns as drawn: a 1-d tensor lies down."""
        assert self.picture is not None
        values = self.picture.values
        if self.picture.unit != 1:
            with np.errstate(all="ignore"):
                wide = np.clip(values.astype(np.float64) * self.picture.unit, -_MAX, _MAX)
            values = np.where(np.isfinite(values), wide, values)
        return values.T if len(self.picture.shape) == 1 else values

    def _extent(self) -> tuple[int, int]:
        """Height and width in elements of the tensor."""
        assert self.picture is not None
        shape = self.picture.shape
        return (1, *shape)[-2:] if shape else (1, 1)  # type: ignore[return-value]

    def _block(self) -> tuple[int, int]:
        assert self.picture is not None
        block = self.picture.block
        return (block[1], block[0]) if len(self.picture.shape) == 1 else block

    def table(self, state: AppState) -> TableData:
        values = self._values()
        return TableData(
            headers=tuple(str(column * self._block()[1]) for column in range(values.shape[1])),
            rows=values.shape[0],
            cell=lambda row, column: float(values[row, column]),
        )

    # ------------------------------------------------------------------------------------------ slots

    @Slot()
    def _on_index_changed(self) -> None:
        self._fetch()

    @Slot(float, float)
    def _on_pointed_at(self, x: float, y: float) -> None:
        if self.picture is None:
            return
        values, block = self._values(), self._block()
        row, column = round(y) // block[0], round(x) // block[1]
        if not (0 <= row < values.shape[0] and 0 <= column < values.shape[1]):
            self.plot.show_tip("")
            return
        value = exact(float(values[row, column]))
        if block == (1, 1):
            text = self.tr("Row {row}, column {column}: {value}").format(row=row, column=column, value=value)
        else:
            height, width = self._extent()
            top, left = row * block[0], column * block[1]
            text = self.area_text().format(
                top=top,
                bottom=min(top + block[0], height) - 1,
                left=left,
                right=min(left + block[1], width) - 1,
                value=value,
            )
        self.plot.show_tip(text)

    def _fetch(self) -> None:
        if self._token is None or self._latest is None:
            return
        token = self._token

        def on_reply(reply: object) -> None:
            if token != self._token:
                return
            if isinstance(reply, Unavailable):
                self.picture, self._problem = None, reply.reason
            elif isinstance(reply, Picture):
                self.picture, self._problem = reply, ""
                if not reply.values.size:
                    self.picture, self._problem = None, self.tr("This tensor is empty")
            self.mark_dirty()

        self._fetcher.request(self.request(self._latest), on_reply)
