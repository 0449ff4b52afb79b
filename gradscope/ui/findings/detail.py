"""One finding in full: why it matters, by what it is known, why it is not something else, what to do; and what one can do."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt, Signal, Slot
from PySide6.QtGui import QGuiApplication, QResizeEvent
from PySide6.QtWidgets import (
    QBoxLayout,
    QHBoxLayout,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from gradscope.assets import finding_page
from gradscope.protocol.findings import Finding, Source
from gradscope.protocol.visible import visible
from gradscope.ui.findings.scrolled_page import ScrolledPage
from gradscope.ui.inspector.sentence import Sentence
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager, icon
from gradscope.ui.plots.charts.run_curves import CurvesChart
from gradscope.ui.widgets.flow_row import FlowRow
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.plain import PlainLabel, WrappedLabel, plain_tip
from gradscope.ui.widgets.steady_label import SteadyLabel
from gradscope.ui.words.findings import SIGNS, as_text, evidence_text, how_known, place_of, seen_from, severity_name

_WIDE_DIGITS = 84
"""From this width on, evidence is beside the reasons."""
_TITLE_DIGITS = 34
"""With so much room beside the buttons, the title is beside them."""
_MOST_NEAR = 12


@guarded
class FindingDetail(QWidget):
    """Shows what `show_finding` is given. Where there is little room, it scrolls."""

    show_wanted = Signal(object)
    """Finding: its place is to be seen."""
    dismiss_wanted = Signal(object)
    recall_wanted = Signal(object)
    again_wanted = Signal(object)
    page_wanted = Signal(str)
    """The id of a finding: what the documentation says of it."""

    def __init__(self, themes: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._themes = themes
        self._finding: Finding | None = None
        self._is_dismissed = False
        self._make_texts()
        self._make_buttons()
        self._arrange()
        themes.changed.connect(self._on_theme_changed)

    def show_finding(self, finding: Finding, *, is_dismissed: bool, again_refusal: str | None) -> None:
        """`again_refusal`: why it cannot be checked again now, or None."""
        is_other = self._finding is None or self._finding.key != finding.key
        self._finding, self._is_dismissed = finding, is_dismissed
        self._paint_sign()
        self._title.setText(finding.title)
        near = ", ".join(map(visible, finding.near[:_MOST_NEAR]))
        near += ", …" if len(finding.near) > _MOST_NEAR else ""
        where = (
            self.tr("{place}; also {others}").format(place=place_of(finding), others=near)
            if near
            else place_of(finding)
        )
        if is_other:
            self.meta.start_anew()
        self.meta.show_steadily(
            "  ·  ".join((severity_name(finding.severity), where, seen_from(finding), how_known(finding)))
        )
        self.why.say(finding.why)
        self.do.say(finding.do)
        self.instead.say(finding.instead)
        self.evidence.say("\n".join(f"•  {evidence_text(evidence)}" for evidence in finding.evidence))
        self.root.say(self.tr("It follows from {root}").format(root=visible(finding.root)) if finding.root else "")
        for text, head in self._heads.items():
            head.setVisible(not text.isHidden())
        self.curves.show_curves(finding.curves)
        self._refresh_buttons(finding, again_refusal)
        self._lay_out()
        if is_other:
            self._scroll.verticalScrollBar().setValue(0)

    # ------------------------------------------------------------------------------------------ slots

    @Slot(object)
    def _on_theme_changed(self, _theme: Theme) -> None:
        self._paint_sign()

    @Slot()
    def _on_show_clicked(self) -> None:
        self.show_wanted.emit(self._finding)

    @Slot()
    def _on_again_clicked(self) -> None:
        self.again_wanted.emit(self._finding)

    @Slot()
    def _on_copy_clicked(self) -> None:
        if self._finding is not None:
            QGuiApplication.clipboard().setText(as_text(self._finding))

    @Slot()
    def _on_dismiss_clicked(self) -> None:
        (self.recall_wanted if self._is_dismissed else self.dismiss_wanted).emit(self._finding)

    @Slot()
    def _on_page_clicked(self) -> None:
        if self._finding is not None:
            self.page_wanted.emit(self._finding.id)

    # ------------------------------------------------------------------------------------------ private

    def _make_texts(self) -> None:
        self._sign = PlainLabel(parent=self)
        self._title = WrappedLabel(parent=self)
        font = self._title.font()
        font.setBold(True)
        self._title.setFont(font)
        self._title.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._title.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.meta = SteadyLabel(self, counts=True)
        self.meta.setContentsMargins(0, 0, 0, 0)
        self.meta.setProperty("role", "muted")
        self.why, self.do, self.instead, self.evidence = (Sentence(parent=self) for _ in range(4))
        self.root = Sentence(role="muted", parent=self)
        self.curves = CurvesChart(self._themes, self)
        self._heads: dict[QWidget, PlainLabel] = {}
        for text, title in (
            (self.why, self.tr("Why")),
            (self.do, self.tr("Do")),
            (self.root, self.tr("Cause")),
            (self.evidence, self.tr("Evidence")),
            (self.instead, self.tr("Ruled out")),
        ):
            head = self._heads[text] = PlainLabel(title, self)
            head.setProperty("role", "muted")
        # What is below each other begins at the same place.
        width = max(head.sizeHint().width() for head in self._heads.values())
        for head in self._heads.values():
            head.setFixedWidth(width)

    def _make_buttons(self) -> None:
        self.buttons = FlowRow(self, spacing=6)
        self.show_button, self.again, self.copy, self.dismiss, self.page = (QToolButton(self) for _ in range(5))
        self.show_button.setText(self.tr("Show"))
        self.show_button.setProperty("emphasised", True)
        self.show_button.setToolTip(self.tr("Select the place, and bring forward the plot that shows it"))
        self.again.setText(self.tr("Check again..."))
        self.copy.setText(self.tr("Copy"))
        self.copy.setToolTip(self.tr("Copy everything that is said of this finding"))
        self.page.setText(self.tr("About..."))
        self.page.setToolTip(self.tr("What the documentation says of it, with an example"))
        for button, slot in (
            (self.show_button, self._on_show_clicked),
            (self.again, self._on_again_clicked),
            (self.copy, self._on_copy_clicked),
            (self.dismiss, self._on_dismiss_clicked),
            (self.page, self._on_page_clicked),
        ):
            button.setProperty("compact", True)
            button.clicked.connect(slot)
            self.buttons.add(button)

    def _arrange(self) -> None:
        head = QHBoxLayout()
        head.setSpacing(6)
        head.addWidget(self._sign, 0, Qt.AlignmentFlag.AlignTop)
        head.addWidget(self._title, 1)
        self._head = QBoxLayout(QBoxLayout.Direction.LeftToRight)
        self._head.setSpacing(4)
        self._head.addLayout(head, 1)
        self._head.addWidget(self.buttons, 0, Qt.AlignmentFlag.AlignTop)
        self._columns = QBoxLayout(QBoxLayout.Direction.LeftToRight)
        self._columns.setContentsMargins(0, 4, 0, 0)
        left = self._column((self.why, self.do, self.root))
        right = self._column((self.evidence, self.instead))
        for column in (left, right):
            column.addStretch(1)
            self._columns.addLayout(column, 1)
        self._columns.addWidget(self.curves, 1)
        page = QVBoxLayout()
        page.setContentsMargins(8, 6, 8, 6)
        page.setSpacing(2)
        page.addLayout(self._head)
        page.addWidget(self.meta)
        page.addLayout(self._columns, 1)
        self._scroll = ScrolledPage(page, self)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._scroll)

    def _column(self, texts: tuple[QWidget, ...]) -> QVBoxLayout:
        column = QVBoxLayout()
        column.setSpacing(4)
        for text in texts:
            line = QHBoxLayout()
            line.setSpacing(8)
            line.addWidget(self._heads[text], 0, Qt.AlignmentFlag.AlignTop)
            line.addWidget(text, 1)
            column.addLayout(line)
        return column

    def _refresh_buttons(self, finding: Finding, again_refusal: str | None) -> None:
        self.show_button.setVisible(bool(finding.where) or finding.subject is not None or finding.phase is not None)
        can_be_tried = finding.source in (Source.EXPERIMENT, Source.DATA)
        self.again.setVisible(can_be_tried)
        self.again.setEnabled(again_refusal is None)
        self.again.setToolTip(plain_tip(again_refusal or self.tr("Run only the experiment that has found this")))
        if self._is_dismissed:
            self.dismiss.setText(self.tr("Show again in the list"))
            self.dismiss.setToolTip(self.tr("It was put away for this file and this place"))
        else:
            self.dismiss.setText(self.tr("Dismiss"))
            self.dismiss.setToolTip(
                self.tr("Put it away for this file and this place; it comes back only where it becomes graver")
            )
        self.page.setVisible(finding_page(finding.id) is not None)

    def _paint_sign(self) -> None:
        if self._finding is not None:
            name, colour = SIGNS[self._finding.severity]
            theme, side = self._themes.theme, self.fontMetrics().height()
            self._sign.setPixmap(icon(name, theme, colour=getattr(theme, colour)).pixmap(QSize(side, side)))

    def _lay_out(self) -> None:
        is_wide = self.width() > _WIDE_DIGITS * self.fontMetrics().horizontalAdvance("0")
        direction = QBoxLayout.Direction.LeftToRight if is_wide else QBoxLayout.Direction.TopToBottom
        if self._columns.direction() is not direction:
            self._columns.setDirection(direction)
        self._columns.setSpacing(16 if is_wide else 4)
        title = _TITLE_DIGITS * self.fontMetrics().horizontalAdvance("0")
        has_room = self.width() > self.buttons.sizeHint().width() + title
        self._head.setDirection(QBoxLayout.Direction.LeftToRight if has_room else QBoxLayout.Direction.TopToBottom)

    # ------------------------------------------------------------------------------------------ Qt

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._lay_out()
