"""What the documentation says of a finding: a page that travels with gradscope, to be read offline."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QSize, Qt, QUrl, Slot
from PySide6.QtGui import QTextCursor, QTextDocument
from PySide6.QtWidgets import QDialogButtonBox, QTextBrowser, QVBoxLayout, QWidget

from gradscope.ui.dialogs.sized_dialog import SizedDialog
from gradscope.ui.widgets.guarded import guarded

_MARGIN = 12


@guarded
class FindingPageDialog(SizedDialog):
    """Links lead to the pages beside it, and nowhere else."""

    def __init__(self, page: Path, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(self.tr("About a finding"))
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.text = QTextBrowser(self)
        self.text.setOpenLinks(False)
        self.text.setAccessibleName(self.tr("About a finding"))
        self.text.document().setDocumentMargin(_MARGIN)
        self.text.anchorClicked.connect(self._on_link_clicked)
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close, self)
        self.buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 16, 16, 16)
        column.setSpacing(12)
        column.addWidget(self.text, 1)
        column.addWidget(self.buttons)
        self._show(page)

    @Slot(QUrl)
    def _on_link_clicked(self, link: QUrl) -> None:
        page = self._page.with_name(link.fileName() or self._page.name)
        if page.suffix == ".md" and page.is_file():
            self._show(page)

    def _show(self, page: Path) -> None:
        self._page = page
        self.text.setSearchPaths([str(page.parent)])
        self.text.document().setBaseUrl(QUrl.fromLocalFile(str(page)))
        features = QTextDocument.MarkdownFeature.MarkdownDialectGitHub | QTextDocument.MarkdownFeature.MarkdownNoHTML
        self.text.document().setMarkdown(page.read_text(encoding="utf-8", errors="replace"), features)
        # The cursor has come to the end.
        self.text.moveCursor(QTextCursor.MoveOperation.Start)

    # ------------------------------------------------------------------------------------------ Qt

    def sizeHint(self) -> QSize:
        return QSize(96 * self.fontMetrics().averageCharWidth(), 34 * self.fontMetrics().lineSpacing())

    def least_height(self) -> int:
        return self.sizeHint().height()
