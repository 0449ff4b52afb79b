"""The line below the tool bar: the stations of the training step, and where the session stands in numbers."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from PySide6.QtCore import Qt, Slot
from PySide6.QtGui import QFont, QFontMetrics, QResizeEvent
from PySide6.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QToolBar, QWidget

from gradscope.protocol.numbers import number as text_of_number
from gradscope.protocol.phases import Phase
from gradscope.protocol.visible import visible
from gradscope.state.topics import Topic
from gradscope.ui.actions.controller import Controller
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.redraw import owing
from gradscope.ui.window.phase_steps import PLAIN_STEP, PhaseSteps

_MARGIN = 24
_MAX_NAME_LETTERS = 18


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A name and a number in the readout."""

    name: str
    value: str
    rank: int
    """Where there is little room, those of the highest rank go first."""
    is_warning: bool = False


@guarded
class PhaseStrip(QToolBar):
    """A tool bar only by its place in the window: it has nothing to press."""

    def __init__(self, controller: Controller, themes: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._themes = themes
        self.setObjectName("phaseStrip")
        self.setWindowTitle(self.tr("Phase strip"))
        self.setMovable(False)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.PreventContextMenu)
        self.steps = PhaseSteps(themes, self)
        self.readout = QLabel(self)
        self.readout.setTextFormat(Qt.TextFormat.RichText)
        self.readout.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.readout.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.readout.setToolTip(
            self.tr(
                "Steps, epochs and batches are counted from 0, micro-batches of a window from 1; the loss is that of the "
                "newest forward, or the mean of the window after its step; an optimizer with a closure evaluates the loss "
                "more than once in its step"
            )
        )
        line = QWidget(self)
        layout = QHBoxLayout(line)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.steps)
        layout.addWidget(self.readout, 1)
        self.addWidget(line)
        self._refresh()
        controller.refreshed.connect(self._on_refreshed)
        themes.changed.connect(self._on_theme_changed)

    @Slot(object)
    @owing
    def _on_refreshed(self, topics: set[Topic]) -> None:
        if topics & {Topic.SESSION, Topic.SETTINGS, Topic.POSITION, Topic.HISTORY}:
            self._refresh()

    @Slot(object)
    def _on_theme_changed(self, _theme: Theme) -> None:
        self._refresh()

    def _refresh(self) -> None:
        state = self._controller.state
        substeps = state.session.substeps if state.session is not None else PLAIN_STEP
        self.steps.show_position(state.position, substeps)
        self.readout.setVisible(state.session is not None)
        cells = self._cells() if state.session is not None else []
        self.readout.setAccessibleName(", ".join(f"{cell.name} {cell.value}" for cell in cells))
        room = self.width() - _MARGIN
        # Texts of stations give way before numbers do.
        self.steps.setMaximumWidth(max(self.steps.minimumSizeHint().width(), room - self._width_of(cells)))
        room -= min(self.steps.sizeHint().width(), self.steps.maximumWidth())
        while len(cells) > 1 and self._width_of(cells) > room:
            cells.remove(max(cells, key=lambda cell: cell.rank))
        self.readout.setText("&nbsp;&nbsp; ".join(self._html(cell) for cell in cells))

    def _cells(self) -> list[Cell]:
        state = self._controller.state
        position, loss = state.position, state.history.loss
        backward, step = state.reports.get(Phase.BACKWARD), state.reports.get(Phase.STEP)
        batches = position.batches_per_epoch
        cells = [
            Cell(name=self.tr("step"), value=str(position.step), rank=0),
            Cell(name=self.tr("epoch"), value=str(position.epoch), rank=6),
            Cell(
                name=self.tr("batch"), value=f"{position.batch}/{batches}" if batches else str(position.batch), rank=5
            ),
        ]
        if position.window > 1:
            number = f"{position.micro + 1}/{position.window}"
            cells.append(Cell(name=self.tr("micro-batch"), value=number, rank=2))
        if position.optimizer:
            cells.append(Cell(name=self.tr("turn"), value=_shortened(position.optimizer), rank=3))
        if step is not None and step.evaluations:
            cells.append(Cell(name=self.tr("evaluations"), value=str(step.evaluations), rank=7))
        if backward is not None and backward.scale is not None:
            cells.append(Cell(name=self.tr("scale"), value=text_of_number(backward.scale, digits=9), rank=8))
        if step is not None and step.skipped and step.step + 1 == position.step:
            name = self.tr("step {number}").format(number=step.step)
            cells.append(Cell(name=name, value=self.tr("skipped"), rank=4, is_warning=True))
        newest = text_of_number(float(loss.values[-1, 0])) if len(loss) else "–"
        cells.append(Cell(name=self.tr("loss"), value=newest, rank=1))
        return cells

    def _html(self, cell: Cell) -> str:
        theme = self._themes.theme
        colour = f"color:{theme.warning}" if cell.is_warning else ""
        name, value = (escape(visible(part)).replace(" ", "&nbsp;") for part in (cell.name, cell.value))
        return f'<span style="color:{theme.muted}">{name}</span>&nbsp;<b style="{colour}">{value}</b>'

    def _width_of(self, cells: list[Cell]) -> int:
        font = QFont(self.readout.font())
        plain = QFontMetrics(font)
        font.setBold(True)
        bold, space = QFontMetrics(font), plain.horizontalAdvance(" ")
        return sum(
            plain.horizontalAdvance(cell.name) + bold.horizontalAdvance(cell.value) + 4 * space for cell in cells
        )

    # ------------------------------------------------------------------------------------------ Qt

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._refresh()


def _shortened(name: str) -> str:
    name = visible(name)
    return name if len(name) <= _MAX_NAME_LETTERS else name[: _MAX_NAME_LETTERS - 1] + "…"
