"""A window of two runs beside each other, which were read from files. Several may be open; none needs the engine."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import QDialog, QVBoxLayout, QWidget

from gradscope.comparing import Beside
from gradscope.ui.actions.controller import Controller
from gradscope.ui.compare.run_page import RunPage
from gradscope.ui.compare.run_words import short_name
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import window_title

_SIZE = QSize(1080, 760)


@guarded
class RunWindow(QDialog):
    """Beside the main window, not before it."""

    def __init__(
        self, controller: Controller, themes: ThemeManager, beside: Beside, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowFlag(Qt.WindowType.WindowMinMaxButtonsHint)
        comparison = beside.comparison
        title = self.tr("{first} and {second} – two runs")
        names = {"first": short_name(comparison.ours), "second": short_name(comparison.theirs)}
        self.setWindowTitle(window_title(title.format(**names)))
        self.page = RunPage(controller, themes, is_of_session=False, parent=self)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.page)
        self.resize(_SIZE.boundedTo(self.screen().availableSize() - QSize(0, 3 * self.fontMetrics().lineSpacing())))
        self.page.show_beside(beside)
