"""A page of the documentation: a Markdown file that is read offline, with the pictures that lie beside it."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QSize, Qt, QUrl
from PySide6.QtGui import QImageReader, QResizeEvent, QTextCursor, QTextDocument, QTextImageFormat
from PySide6.QtWidgets import QTextBrowser, QWidget

from gradscope.ui.widgets.guarded import guarded

_MARGIN = 12
_PICTURE_WIDTH, _LEAST_PICTURE_WIDTH = 640, 200
"""In pixels: of the pictures of our pages, and below which none is made smaller."""


@guarded
class PageView(QTextBrowser):
    """Qt itself would draw a picture in its own size, with a pixel of its own for each, and let one scroll to its end."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setOpenLinks(False)
        self.document().setDocumentMargin(_MARGIN)
        self._page = Path()
        self._is_fitting = False

    @property
    def page(self) -> Path:
        """The newest that was shown."""
        return self._page

    def show_page(self, page: Path) -> None:
        """From its beginning; HTML in it is shown as it is written."""
        self._page = page
        self.setSearchPaths([str(page.parent)])
        self.document().setBaseUrl(QUrl.fromLocalFile(str(page)))
        features = QTextDocument.MarkdownFeature.MarkdownDialectGitHub | QTextDocument.MarkdownFeature.MarkdownNoHTML
        self.document().setMarkdown(page.read_text(encoding="utf-8", errors="replace"), features)
        self._fit_pictures()
        # The cursor has come to the end.
        self.moveCursor(QTextCursor.MoveOperation.Start)

    def width_of_pictures(self) -> int:
        """Of the widget, in pixels: one in which our pages' pictures have their own size."""
        bar = self.verticalScrollBar().sizeHint().width()
        return _PICTURE_WIDTH + 2 * _MARGIN + bar + 2 * self.frameWidth()

    # ------------------------------------------------------------------------------------------ private

    def _fit_pictures(self) -> None:
        """No wider than there is room for, and drawn for the pixels that the screen has."""
        room = max(self.viewport().width() - 2 * _MARGIN, _LEAST_PICTURE_WIDTH)
        for place, form in self._pictures():
            reader = QImageReader(str(self._page.parent / form.name()))
            size = reader.size()
            if size.width() > room:
                size = size.scaled(room, size.height(), Qt.AspectRatioMode.KeepAspectRatio)
            if size.isValid() and size.width() != form.width():
                self._draw(place, form, reader, size)

    def _draw(self, place: int, form: QTextImageFormat, reader: QImageReader, size: QSize) -> None:
        scale, document = self.devicePixelRatioF(), self.document()
        reader.setScaledSize(size * scale)
        image = reader.read()
        if image.isNull():
            return
        image.setDevicePixelRatio(scale)
        url = document.baseUrl().resolved(QUrl(form.name()))
        document.addResource(QTextDocument.ResourceType.ImageResource, url, image)
        form.setWidth(size.width())
        form.setHeight(size.height())
        cursor = QTextCursor(document)
        cursor.setPosition(place)
        cursor.movePosition(QTextCursor.MoveOperation.NextCharacter, QTextCursor.MoveMode.KeepAnchor)
        cursor.setCharFormat(form)

    def _pictures(self) -> list[tuple[int, QTextImageFormat]]:
        """Where each is in the text, and its format."""
        found = []
        block = self.document().begin()
        while block.isValid():
            pieces = block.begin()
            while not pieces.atEnd():
                piece = pieces.fragment()
                if piece.charFormat().isImageFormat():
                    found.append((piece.position(), piece.charFormat().toImageFormat()))
                pieces += 1
            block = block.next()
        return found

    # ------------------------------------------------------------------------------------------ Qt

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        # A picture that is made smaller may take the scroll bar away, which is a resize again.
        if not self._is_fitting:
            self._is_fitting = True
            try:
                self._fit_pictures()
            finally:
                self._is_fitting = False
