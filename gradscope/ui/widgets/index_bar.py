"""Which 2-d slice of a tensor is shown: a spin box for each dimension but the last two."""

from __future__ import annotations

from PySide6.QtCore import Signal, Slot
from PySide6.QtWidgets import QHBoxLayout, QWidget

from gradscope.ui.widgets.fields import SpinBox
from gradscope.ui.widgets.plain import PlainLabel, plain_tip


class IndexBar(QWidget):
    """Hidden for tensors of up to two dimensions."""

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._sizes: tuple[int, ...] = ()
        self._spins: list[SpinBox] = []
        self._layout = QHBoxLayout(self)
        self._layout.setContentsMargins(8, 4, 8, 4)
        self._layout.setSpacing(4)
        self.hide()

    @property
    def index(self) -> tuple[int, ...]:
        return tuple(spin.value() for spin in self._spins)

    def show_shape(self, shape: tuple[int, ...]) -> None:
        """Offer the indices of a shape; they stay where they are as long as the sizes do."""
        sizes = shape[:-2]
        if sizes == self._sizes:
            return
        self._sizes = sizes
        while (item := self._layout.takeAt(0)) is not None:
            widget = item.widget()
            if widget is not None:
                widget.deleteLater()
        self._spins = []
        for dimension, size in enumerate(sizes):
            spin = SpinBox()
            spin.setRange(0, max(0, size - 1))
            spin.setWrapping(True)
            spin.setAccessibleName(self.tr("Index in dimension {number}").format(number=dimension))
            spin.setToolTip(
                plain_tip(self.tr("Index in dimension {number}, of {size}").format(number=dimension, size=size))
            )
            spin.valueChanged.connect(self._on_value_changed)
            self._spins.append(spin)
        if sizes:
            self._layout.addWidget(PlainLabel("["))
            for spin in self._spins:
                self._layout.addWidget(spin)
            self._layout.addWidget(PlainLabel(", :, :]"))
            self._layout.addStretch(1)
        self.setVisible(bool(sizes))

    @Slot(int)
    def _on_value_changed(self, _value: int) -> None:
        self.changed.emit()
