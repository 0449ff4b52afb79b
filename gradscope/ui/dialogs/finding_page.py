"""What the documentation says of a finding: a page that travels with gradscope, to be read offline."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QSize, Qt, QUrl, Slot
from PySide6.QtWidgets import QDialogButtonBox, QVBoxLayout, QWidget

from gradscope.ui.dialogs.sized_dialog import SizedDialog
from gradscope.ui.findings.page_view import PageView
from gradscope.ui.widgets.guarded import guarded

_MARGIN = 16


@guarded
class FindingPageDialog(SizedDialog):
    """Links lead to the pages beside it, and nowhere else."""

    def __init__(self, page: Path, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(self.tr("About a finding"))
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.text = PageView(self)
        self.text.setAccessibleName(self.tr("About a finding"))
        self.text.anchorClicked.connect(self._on_link_clicked)
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close, self)
        self.buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.setContentsMargins(_MARGIN, _MARGIN, _MARGIN, _MARGIN)
        column.setSpacing(12)
        column.addWidget(self.text, 1)
        column.addWidget(self.buttons)
        self.text.show_page(page)

    @Slot(QUrl)
    def _on_link_clicked(self, link: QUrl) -> None:
        page = self.text.page.with_name(link.fileName() or self.text.page.name)
        if page.suffix == ".md" and page.is_file():
            self.text.show_page(page)

    # ------------------------------------------------------------------------------------------ Qt

    def sizeHint(self) -> QSize:
        letters, lines = self.fontMetrics().averageCharWidth(), self.fontMetrics().lineSpacing()
        return QSize(max(96 * letters, self.text.width_of_pictures() + 2 * _MARGIN), 42 * lines)

    def least_height(self) -> int:
        return self.sizeHint().height()
