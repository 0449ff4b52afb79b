"""The numerical check of the selected parameter's gradient: a button, and its result, worst element first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt, Slot
from PySide6.QtWidgets import (
    QFrame,
    QHeaderView,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from gradscope.protocol.messages.why import CheckGradient, GradientChecked, SampledElement
from gradscope.protocol.phases import Rest
from gradscope.protocol.scripts import Ability
from gradscope.protocol.visible import visible
from gradscope.state.engine import EngineStatus
from gradscope.state.records.newest import Latest
from gradscope.ui.inspector.sentence import Sentence
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.models.cell_table import Cell, CellTableModel
from gradscope.ui.plots.words.formats import exact, short, two_digits
from gradscope.ui.widgets.copy_table import CopyTable
from gradscope.ui.widgets.fields import SpinBox
from gradscope.ui.widgets.flow_row import FlowRow
from gradscope.ui.widgets.plain import plain_tip
from gradscope.ui.words.shown_step import why_not_explained

if TYPE_CHECKING:
    from gradscope.ui.actions.controller import Controller

_SAMPLES = 16
_MOST_SAMPLES = 1000
_MOST_ROWS = 20
"""Of the table, before it scrolls by itself."""


class CheckView(QWidget):
    """Keeps the newest result of each parameter of the session."""

    def __init__(self, controller: Controller, themes: ThemeManager, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._theme = themes.theme
        self._name = ""
        self._elsewhere = ""
        """Why nothing is offered while an earlier step is shown."""
        self._under_way = ""
        self._generation = 0
        self._results: dict[str, GradientChecked | str] = {}
        self.button = QPushButton(self.tr("Check gradient"))
        self.button.setEnabled(False)
        self.button.clicked.connect(self._on_clicked)
        self._samples = SpinBox()
        self._samples.setRange(1, _MOST_SAMPLES)
        self._samples.setValue(_SAMPLES)
        self._samples.setSuffix(self.tr(" elements"))
        self._samples.setAccessibleName(self.tr("Elements to check"))
        self._verdict = Sentence()
        self._explanation = Sentence(role="muted")
        headers = (self.tr("Element"), self.tr("Backward"), self.tr("Numeric"), self.tr("Error"))
        self.model = CellTableModel(headers, self)
        self.table = self._make_table()
        row = FlowRow(spacing=6)
        row.add(self.button)
        row.add(self._samples)
        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(8, 8, 8, 8)
        column.setSpacing(8)
        column.addWidget(row)
        column.addWidget(self._verdict)
        column.addWidget(self._explanation)
        column.addWidget(self.table)
        column.addStretch(1)
        scroll = QScrollArea()
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(page)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(scroll)
        themes.changed.connect(self._on_theme_changed)

    @property
    def message(self) -> str:
        """What is said above the table."""
        return "\n".join(label.text() for label in (self._verdict, self._explanation) if label.text())

    def look_at(self, latest: Latest, token: object | None) -> None:
        """Offer the check of a parameter, and show what the last one came to."""
        del token
        self._name = latest.row.key.name
        self._elsewhere = why_not_explained(self._controller.state, latest)
        self._refresh()

    def forget(self) -> None:
        """Another session: results and requests are void."""
        self._generation += 1
        self._results.clear()
        self._under_way = ""

    # ------------------------------------------------------------------------------------------ slots

    @Slot()
    def _on_clicked(self) -> None:
        if self._under_way:
            self._controller.interrupt()
            return
        name, generation = self._name, self._generation
        self._under_way = name

        def on_reply(reply: Any) -> None:
            if generation != self._generation:
                return
            self._under_way = ""
            self._results[name] = reply if isinstance(reply, GradientChecked) else reply.failure.sentence
            self._refresh()

        self._controller.ask(CheckGradient(parameter=name, samples=self._samples.value()), on_reply)
        self._refresh()

    @Slot(object)
    def _on_theme_changed(self, theme: Theme) -> None:
        self._theme = theme
        self._refresh()

    # ------------------------------------------------------------------------------------------ private

    def _refresh(self) -> None:
        if self._controller.state.engine.status is not EngineStatus.READY:
            # Nobody will answer.
            self._generation += 1
            self._under_way = ""
        position = self._controller.state.position
        never = self._controller.state.never(Ability.CHECK_GRADIENT)
        has_batch = never is None and (position.step > 0 or position.rest is not Rest.READY)
        is_elsewhere = bool(self._elsewhere) and not self._under_way
        self.button.setText(self.tr("Stop") if self._under_way else self.tr("Check gradient"))
        self.button.setEnabled(bool(self._under_way) or (has_batch and not position.running and not is_elsewhere))
        self.button.setToolTip(plain_tip(never or ""))
        self._samples.setEnabled(not self._under_way and never is None)
        result = self._results.get(self._name)
        is_table = isinstance(result, GradientChecked) and not self._under_way and not is_elsewhere
        self.table.setVisible(is_table)
        if self._under_way:
            self._verdict.say(self.tr("Checking {name}").format(name=visible(self._under_way)), role="")
            self._explanation.say("")
        elif is_elsewhere:
            self._verdict.say(self._elsewhere, role="")
            self._explanation.say("")
        elif isinstance(result, GradientChecked):
            self._show(result)
        elif result is not None:
            self._verdict.say(result, role="bad")
            self._explanation.say("")
        elif never is not None:
            self._verdict.say(never, role="")
            self._explanation.say("")
        elif not has_batch:
            self._verdict.say(self.tr("Press Forward (F5) first: the check needs a batch"), role="")
            self._explanation.say(self._about())
        else:
            self._verdict.say("")
            self._explanation.say(self._about())

    def _about(self) -> str:
        return self.tr(
            "Is this gradient right? Moves single elements a little, on a copy of the model in float64 and with the newest "
            "batch, and compares how the loss changes with what backward says. Training is not touched."
        )

    def _show(self, result: GradientChecked) -> None:
        worst = result.samples[0]
        differing = sum(sample.verdict == "differs" for sample in result.samples)
        kinks = sum(sample.verdict == "kink" for sample in result.samples)
        count = len(result.samples)
        if differing:
            text = self.tr("✗ {differing} of {count} elements differ, by up to {error}, worst at {index}")
        else:
            text = self.tr(
                "✓ {count} of {size} elements checked, none differs; largest relative error {error}, at {index}"
            )
        self._verdict.say(
            text.format(
                differing=differing,
                count=count,
                size=f"{result.size:,}",
                error=short(worst.relative_error),
                index=_index_text(worst.index),
            ),
            role="bad" if differing else "good",
        )
        lines = []
        if differing:
            lines.append(
                self.tr(
                    "Backward does not give the slope of the loss: a custom backward is wrong, or detach(), no_grad() or a "
                    "rounding hides a part of the way from it"
                )
            )
        if kinks:
            lines.append(
                self.tr("{kinks} may lie on a kink (ReLU at 0), where left and right have different slopes").format(
                    kinks=kinks
                )
            )
        if result.actual_error is not None:
            lines.append(
                self.tr(".grad itself differs from the float64 gradient by {error} of its norm").format(
                    error=short(result.actual_error)
                )
            )
        lines.append(self.tr("With the parameters as they are before step {step}").format(step=result.step))
        self._explanation.say("\n".join([*lines, *result.notes]))
        self.model.show_rows(tuple(self._row(sample) for sample in result.samples))
        rows = min(count, _MOST_ROWS) * self.table.verticalHeader().defaultSectionSize()
        self.table.setFixedHeight(rows + self.table.horizontalHeader().sizeHint().height())

    def _row(self, sample: SampledElement) -> tuple[Cell, ...]:
        sign, colour = {
            "agrees": ("✓", self._theme.good),
            "kink": ("∧", self._theme.warning),
            "differs": ("✗", self._theme.bad),
        }.get(sample.verdict, ("", ""))
        tip = self.tr("{verdict}: slope to the left {left}, to the right {right}").format(
            verdict=sample.verdict, left=exact(sample.left), right=exact(sample.right)
        )
        if sample.actual is not None:
            tip += self.tr("; .grad is {actual}").format(actual=exact(sample.actual))
        return (
            Cell(text=f"{sign} {_index_text(sample.index)}", exact=_index_text(sample.index), tip=tip, colour=colour),
            Cell(text=short(sample.analytic), exact=repr(sample.analytic), is_number=True),
            Cell(text=short(sample.numeric), exact=repr(sample.numeric), is_number=True),
            Cell(text=two_digits(sample.relative_error), exact=repr(sample.relative_error), tip=tip, is_number=True),
        )

    def _make_table(self) -> CopyTable:
        table = CopyTable()
        table.setModel(self.model)
        table.setAccessibleName(self.tr("Checked elements, worst first"))
        table.setFrameShape(QFrame.Shape.NoFrame)
        table.setShowGrid(False)
        table.verticalHeader().hide()
        # No number is cut; in a narrow panel the table is scrolled.
        table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        table.horizontalHeader().setStretchLastSection(True)
        table.horizontalHeader().setHighlightSections(False)
        return table


def _index_text(index: tuple[int, ...]) -> str:
    return f"[{', '.join(str(i) for i in index)}]"
