"""About gradscope: what it is, versions, licence."""

from __future__ import annotations

import platform

import PySide6
from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QDialogButtonBox, QFormLayout, QHBoxLayout, QVBoxLayout, QWidget

from gradscope.assets import resources_dir
from gradscope.state.engine import EngineState
from gradscope.ui.dialogs.sized_dialog import SizedDialog
from gradscope.ui.widgets.plain import PlainLabel
from gradscope.version import __version__


class AboutDialog(SizedDialog):
    def __init__(self, engine: EngineState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(self.tr("About gradscope"))
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        side = 4 * self.fontMetrics().height()
        logo = PlainLabel(parent=self)
        logo.setPixmap(QIcon(str(resources_dir() / "icons" / "gradscope.svg")).pixmap(QSize(side, side)))
        title = PlainLabel("gradscope", self)
        font = title.font()
        font.setPointSizeF(font.pointSizeF() * 1.6)
        font.setBold(True)
        title.setFont(font)
        sentence = PlainLabel(self.tr("A debugger for the PyTorch training step"), self)
        sentence.setProperty("role", "muted")
        texts = QVBoxLayout()
        texts.addStretch(1)
        texts.addWidget(title)
        texts.addWidget(sentence)
        texts.addStretch(1)
        top = QHBoxLayout()
        top.setSpacing(16)
        top.addWidget(logo)
        top.addLayout(texts, 1)
        form = QFormLayout()
        form.setHorizontalSpacing(16)
        for name, value in self._facts(engine):
            label = PlainLabel(value, self)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            form.addRow(name, label)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close, self)
        buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.setContentsMargins(24, 24, 24, 16)
        column.setSpacing(16)
        column.addLayout(top)
        column.addLayout(form)
        column.addWidget(buttons)

    def _facts(self, engine: EngineState) -> list[tuple[str, str]]:
        return [
            ("gradscope", __version__),
            ("Python", platform.python_version()),
            ("PySide6", PySide6.__version__),
            ("torch", engine.torch_version or self.tr("not loaded yet")),
            (self.tr("Engine"), engine.executable or "–"),
            (self.tr("System"), platform.platform()),
            (self.tr("Licence"), "MIT"),
        ]
