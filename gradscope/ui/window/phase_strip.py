"""The line below the tool bar: the stations of the training step, and where the session stands in numbers."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from PySide6.QtCore import Qt, Slot
from PySide6.QtGui import QFont, QFontMetrics, QResizeEvent
from PySide6.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QToolBar, QWidget

from gradscope.protocol.numbers import number as text_of_number
from gradscope.protocol.phases import Phase, SubStep
from gradscope.protocol.visible import visible
from gradscope.state.topics import Topic
from gradscope.ui.actions.controller import Controller
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.widgets.guarded import guarded
from gradscope.ui.widgets.redraw import owing
from gradscope.ui.window.phase_steps import PLAIN_STEP, UNKNOWN_STEP, PhaseSteps
from gradscope.ui.window.shown_step_band import ShownStepBand

_MARGIN = 24
_MAX_NAME_LETTERS = 18
_BAND_STRETCH = 100
_LEAST_READOUT_SHARE = 0.25
"""Of the line, beside the band of an earlier step."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A name and a number in the readout."""

    name: str
    value: str
    rank: int
    """Where there is little room, those of the highest rank go first."""
    is_warning: bool = False
    is_earlier: bool = False
    """It is of another step than the newest."""


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
                "Steps, epochs and batches are numbered from 0: at batch 30/57, 30 of the 57 batches of the epoch are done. "
                "Micro-batches of a window are counted from 1. The loss is that of the "
                "newest forward, or the mean of the window after its step; an optimizer with a closure evaluates the loss "
                "more than once in its step"
            )
        )
        line = QWidget(self)
        # What it shows for a moment makes no window wider.
        line.setMinimumWidth(1)
        layout = QHBoxLayout(line)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.steps)
        self._band: ShownStepBand | None = None
        self._whole, self._line = line, layout
        layout.addWidget(self.readout, 1)
        self.addWidget(line)
        self._refresh()
        controller.refreshed.connect(self._on_refreshed)
        themes.changed.connect(self._on_theme_changed)

    def take_band(self, band: ShownStepBand) -> None:
        """In the place of the stations while an earlier step is shown, so that nothing else moves."""
        self._band = band
        # The sentence and its buttons have the room, and the numbers what they need.
        self._line.insertWidget(0, band, _BAND_STRETCH)
        self._whole.setMinimumHeight(max(self.steps.sizeHint().height(), band.sizeHint().height()))
        self._refresh()

    @Slot(object)
    @owing
    def _on_refreshed(self, topics: set[Topic]) -> None:
        if topics & {Topic.SESSION, Topic.SETTINGS, Topic.POSITION, Topic.HISTORY, Topic.SHOWN}:
            self._refresh()

    @Slot(object)
    def _on_theme_changed(self, _theme: Theme) -> None:
        self._refresh()

    def _refresh(self) -> None:
        state = self._controller.state
        substeps: tuple[SubStep, ...] = PLAIN_STEP if state.awaited is None else UNKNOWN_STEP
        if state.session is not None:
            substeps = state.session.substeps
        self.steps.show_position(state.position, substeps, in_script=state.is_of_script)
        self.readout.setVisible(state.session is not None)
        cells = [] if state.session is None else self._cells() if state.shown.step is None else self._cells_of_step()
        self.readout.setAccessibleName(", ".join(f"{cell.name} {cell.value}" for cell in cells))
        room = self.width() - _MARGIN
        is_earlier = self._band is not None and state.shown.step is not None
        self._show_band(is_earlier)
        if self._band is not None and is_earlier:
            # Numbers that stand elsewhere, too, go before the words on the buttons do.
            most = max(_LEAST_READOUT_SHARE * room, room - self._band.whole_width())
            while len(cells) > 1 and self._width_of(cells) > most:
                cells.remove(max(cells, key=lambda cell: cell.rank))
            self.readout.setText("&nbsp;&nbsp; ".join(self._html(cell) for cell in cells))
            self.readout.setMinimumWidth(self._width_of(cells))
            self._band.refresh(room - self._width_of(cells))
            return
        self.readout.setMinimumWidth(0)
        # Texts of stations give way before numbers do.
        self.steps.setMaximumWidth(max(self.steps.minimumSizeHint().width(), room - self._width_of(cells)))
        room -= min(self.steps.sizeHint().width(), self.steps.maximumWidth())
        while len(cells) > 1 and self._width_of(cells) > room:
            cells.remove(max(cells, key=lambda cell: cell.rank))
        self.readout.setText("&nbsp;&nbsp; ".join(self._html(cell) for cell in cells))

    def _show_band(self, is_earlier: bool) -> None:
        if self._band is None or self._band.isHidden() is not is_earlier:
            return
        self.steps.setVisible(not is_earlier)
        self._band.setVisible(is_earlier)
        self.setProperty("earlier", is_earlier)
        self.style().unpolish(self)
        self.style().polish(self)

    def _cells(self) -> list[Cell]:
        state = self._controller.state
        position, loss = state.position, state.history.loss
        backward, step = state.reports.get(Phase.BACKWARD), state.reports.get(Phase.STEP)
        batches = position.batches_per_epoch
        cells = [Cell(name=self.tr("step"), value=str(position.step), rank=0)]
        if batches is not None or not state.in_script:
            # What an epoch is in a script is known where its loader is.
            cells.append(Cell(name=self.tr("epoch"), value=str(position.epoch), rank=6))
        batch = f"{position.batch}/{batches}" if batches else str(position.batch)
        cells.append(Cell(name=self.tr("batch"), value=batch, rank=5))
        if position.window > 1:
            # How many there will be, a script tells nobody.
            number = str(position.micro + 1) if state.in_script else f"{position.micro + 1}/{position.window}"
            cells.append(Cell(name=self.tr("micro-batch"), value=number, rank=2))
        if position.optimizer and state.session is not None and len(state.session.optimizers) > 1:
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

    def _cells_of_step(self) -> list[Cell]:
        """What is known of the earlier step that is shown; the stations go on to say where training stands."""
        state = self._controller.state
        shown, session = state.shown, state.session
        reports = list(shown.reports.values())
        newest = reports[-1] if reports else None
        cells = [Cell(name=self.tr("shown step"), value=str(shown.step), rank=0, is_earlier=True)]
        if newest is not None:
            if state.position.batches_per_epoch is not None or not state.in_script:
                cells.append(Cell(name=self.tr("epoch"), value=str(newest.epoch), rank=6))
            cells.append(Cell(name=self.tr("batch"), value=str(newest.batch), rank=5))
            if newest.optimizer and session is not None and len(session.optimizers) > 1:
                cells.append(Cell(name=self.tr("turn"), value=_shortened(newest.optimizer), rank=3))
            if newest.evaluations:
                cells.append(Cell(name=self.tr("evaluations"), value=str(newest.evaluations), rank=7))
            if newest.skipped:
                name = self.tr("step {number}").format(number=newest.step)
                cells.append(Cell(name=name, value=self.tr("skipped"), rank=4, is_warning=True))
        scale = shown.number_of(state.history.scale)
        if scale is not None:
            cells.append(Cell(name=self.tr("scale"), value=text_of_number(scale, digits=9), rank=8))
        loss = shown.number_of(state.history.every_loss)
        cells.append(Cell(name=self.tr("loss"), value="–" if loss is None else text_of_number(loss), rank=1))
        return cells

    def _html(self, cell: Cell) -> str:
        theme = self._themes.theme
        colour = f"color:{theme.warning}" if cell.is_warning else ""
        if cell.is_earlier:
            colour = f"color:{theme.accent}"
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
