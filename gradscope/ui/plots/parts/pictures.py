"""A plot that has no window yet as a picture: PNG for looking at, SVG for print and for editing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyqtgraph as pg
from PySide6.QtCore import QBuffer, QIODevice, QRect, QSize, Qt
from PySide6.QtSvg import QSvgGenerator
from PySide6.QtWidgets import QWidget

from gradscope.ui.plots.parts.chart import Chart

SIZE = QSize(1200, 800)
_DPI = 96


def pictures_of(widget: QWidget, *, title: str) -> dict[str, npt.NDArray[np.uint8]]:
    """The files by suffix: ".png", ".svg". The widget is never seen, and gone afterwards."""
    widget.setAttribute(Qt.WidgetAttribute.WA_DontShowOnScreen)
    for chart in [widget] if isinstance(widget, Chart) else widget.findChildren(Chart):
        chart.hide_buttons()
    widget.resize(SIZE)
    widget.show()
    found = {".png": _png(widget), ".svg": _svg(widget, title)}
    widget.hide()
    widget.deleteLater()
    return found


def _png(widget: QWidget) -> npt.NDArray[np.uint8]:
    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    widget.grab().save(buffer, "PNG")
    return _bytes(bytes(buffer.data().data()))


def _svg(widget: QWidget, title: str) -> npt.NDArray[np.uint8]:
    views = [view for view in [widget, *widget.findChildren(QWidget)] if isinstance(view, pg.GraphicsView)]
    for item in [item for view in views for item in view.scene().items()]:
        if hasattr(item, "setExportMode"):
            # Markers are drawn from a pixmap of all of them otherwise, which has no place in a drawing of lines.
            item.setExportMode(True, {"antialias": True, "background": None, "resolutionScale": 1.0})
    buffer = QBuffer()
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    generator = QSvgGenerator()
    generator.setOutputDevice(buffer)
    generator.setResolution(_DPI)
    generator.setSize(SIZE)
    generator.setViewBox(QRect(0, 0, SIZE.width(), SIZE.height()))
    generator.setTitle(title)
    generator.setDescription("")
    widget.render(generator)
    # What Qt writes where pixels are to stay pixels is smoothed by browsers.
    svg = bytes(buffer.data().data()).replace(b'image-rendering="optimizeSpeed"', b'style="image-rendering:pixelated"')
    return _bytes(svg)


def _bytes(data: bytes) -> npt.NDArray[np.uint8]:
    return np.frombuffer(data, dtype=np.uint8)
