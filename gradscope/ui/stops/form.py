"""The choices that make a stop: where, at which layer or step, if what, in which layers. What is not asked for is hidden."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PySide6.QtCore import QStringListModel, Qt, Signal, Slot
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QCompleter,
    QGridLayout,
    QLineEdit,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from gradscope.protocol.limits import MAX_COUNT
from gradscope.protocol.phases import SubStep
from gradscope.protocol.stops.quantities import Figure, Statistic
from gradscope.protocol.subjects import SubjectKind
from gradscope.ui.stops import choices as of
from gradscope.ui.stops.choices import Choices, When, Where
from gradscope.ui.widgets.fields import ComboBox, SpinBox
from gradscope.ui.widgets.flow_row import FlowRow
from gradscope.ui.widgets.plain import PlainLabel
from gradscope.ui.widgets.redraw import Held

_MOST_LISTED = 1000
"""Names of layers in a list; what is typed is completed from all of them."""
_MOST = min(MAX_COUNT, 2**31 - 1)
_TALL_LIST = 14
_FIELD_DIGITS = 12


class StopForm(QWidget):
    """`changed`: a person has chosen something else."""

    changed = Signal()

    _call: int | None = None
    """Which call of the layer; said in the text only."""

    def __init__(self, layers: Sequence[str], substeps: Sequence[SubStep], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._layers, self._substeps = layers, tuple(substeps)
        self._is_filling = Held()
        self._values: dict[QComboBox, list[Any]] = {}
        """Of the items of a box. Qt itself would give back enumerations as texts."""
        self.where = self._combo(self.tr("Where"), self._wheres())
        self.layer = self._layer_field(self.tr("Layer"))
        self.substep = self._combo(self.tr("Sub-step"), [(substep.value, substep) for substep in self._substeps])
        self.number = SpinBox(self)
        self.number.setRange(0, _MOST)
        self.number.setAccessibleName(self.tr("Number"))
        self.number.valueChanged.connect(self._on_changed)
        self.line = self._text_field(self.tr("File and line"), "train.py:42")
        self.when = self._combo(self.tr("Condition"), self._whens())
        self.kind = self._combo(self.tr("Quantity"), self._kinds())
        self.statistic = self._combo(self.tr("Statistic"), self._statistics())
        self.figure = self._combo(self.tr("Number of the step"), self._figures())
        self.sign = self._combo(self.tr("Comparison"), [(sign, sign) for sign in of.SIGNS])
        self.limit = self._text_field(self.tr("Limit"), "10")
        self.limit.setFixedWidth(_FIELD_DIGITS * self.fontMetrics().horizontalAdvance("0"))
        self.previous = QCheckBox(self.tr("times the step before"), self)
        self.previous.setMinimumHeight(self.limit.sizeHint().height())
        self.previous.toggled.connect(self._on_changed)
        self.within = self._layer_field(self.tr("In layers"), all_of_them=True)
        self.finding = self._text_field(self.tr("Finding"), self.tr("any, or its name: dead-units"))
        self._arrange()
        self._show_needed()

    # ------------------------------------------------------------------------------------------ public

    def choices(self) -> Choices:
        return Choices(
            where=self._chosen(self.where),
            layer=self.layer.currentText(),
            call=self._call,
            substep=self._chosen(self.substep) or SubStep.BACKWARD,
            number=self.number.value(),
            line=self.line.text(),
            when=self._chosen(self.when),
            kind=self._chosen(self.kind),
            statistic=self._chosen(self.statistic),
            figure=self._chosen(self.figure),
            sign=self._chosen(self.sign),
            limit=self.limit.text(),
            is_of_previous=self.previous.isChecked(),
            within=self.within.currentText(),
            finding=self.finding.text(),
        )

    def show_choices(self, choices: Choices) -> None:
        """Without telling that anything has changed."""
        with self._is_filling:
            self._call = choices.call
            for box, value in (
                (self.where, choices.where),
                (self.substep, choices.substep),
                (self.when, choices.when),
                (self.kind, choices.kind),
                (self.statistic, choices.statistic),
                (self.figure, choices.figure),
                (self.sign, choices.sign),
            ):
                values = self._values[box]
                box.setCurrentIndex(values.index(value) if value in values else 0)
            self.layer.setEditText(choices.layer)
            self.number.setValue(min(choices.number, _MOST))
            self.line.setText(choices.line)
            self.limit.setText(choices.limit)
            self.previous.setChecked(choices.is_of_previous)
            self.within.setEditText(choices.within)
            self.finding.setText(choices.finding)
        self._show_needed()

    # ------------------------------------------------------------------------------------------ slots

    @Slot()
    def _on_changed(self) -> None:
        if not self._is_filling:
            self._show_needed()
            self.changed.emit()

    @Slot()
    def _on_layer_changed(self) -> None:
        if not self._is_filling:
            # That of another layer.
            self._call = None
            self._on_changed()

    # ------------------------------------------------------------------------------------------ private

    def _show_needed(self) -> None:
        where, when = self._chosen(self.where), self._chosen(self.when)
        is_of_number, is_of_figure = when is When.NUMBER, when is When.FIGURE
        needed = {
            self.layer: where in of.OF_LAYERS,
            self.substep: where in of.OF_SUBSTEPS,
            self.number: where in of.OF_NUMBERS,
            self.line: where is Where.LINE,
            self.kind: is_of_number,
            self.statistic: is_of_number and self._chosen(self.kind) is not None,
            self.figure: is_of_figure,
            self.sign: is_of_number or is_of_figure,
            self.limit: is_of_number or is_of_figure,
            self.previous: is_of_number or is_of_figure,
            self.within: when in of.IN_LAYERS,
            self._within_label: when in of.IN_LAYERS,
            self.finding: when is When.FINDING,
        }
        for widget, is_needed in needed.items():
            widget.setVisible(is_needed)
        with self._is_filling:
            self.number.setMinimum(1 if where in (Where.STEPS, Where.EPOCHS) else 0)

    def _chosen(self, box: QComboBox) -> Any:
        values = self._values[box]
        return values[box.currentIndex()] if values else None

    def _fill(self, box: QComboBox, items: Sequence[tuple[str, object]]) -> None:
        self._values[box] = [value for _, value in items]
        box.clear()
        box.addItems([text for text, _ in items])

    def _combo(self, name: str, items: Sequence[tuple[str, object]]) -> QComboBox:
        box = ComboBox(self)
        box.setAccessibleName(name)
        box.setMaxVisibleItems(_TALL_LIST)
        self._fill(box, items)
        box.currentIndexChanged.connect(self._on_changed)
        return box

    def _layer_field(self, name: str, *, all_of_them: bool = False) -> QComboBox:
        """Names to choose from; a pattern may be typed."""
        box = ComboBox(self)
        box.setAccessibleName(name)
        box.setEditable(True)
        box.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        box.setMaxVisibleItems(_TALL_LIST)
        box.addItems([""] if all_of_them else [])
        box.addItems(list(self._layers[:_MOST_LISTED]))
        box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        box.setMinimumContentsLength(2 * _FIELD_DIGITS)
        completer = QCompleter(QStringListModel(list(self._layers), box), box)
        completer.setFilterMode(Qt.MatchFlag.MatchContains)
        completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        box.setCompleter(completer)
        box.setEditText("")
        field = box.lineEdit()
        assert field is not None
        field.setPlaceholderText(self.tr("all, or a name or pattern: encoder.*") if all_of_them else "encoder.*")
        box.editTextChanged.connect(self._on_changed if all_of_them else self._on_layer_changed)
        return box

    def _text_field(self, name: str, example: str) -> QLineEdit:
        field = QLineEdit(self)
        field.setAccessibleName(name)
        field.setPlaceholderText(example)
        field.textChanged.connect(self._on_changed)
        return field

    def _arrange(self) -> None:
        """Two lines of fields, each of which goes on in the next line where there is no room."""
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(8)
        grid.setColumnStretch(1, 1)
        self._within_label = PlainLabel(self.tr("in"), self)
        lines = (
            (self.tr("&Where"), self.where, (self.where, self.layer, self.substep, self.number, self.line)),
            (
                self.tr("I&f"),
                self.when,
                (self.when, self.kind, self.statistic, self.figure, self.sign, self.limit, self.previous, self.finding),
            ),
        )
        grid.setRowStretch(len(lines) + 1, 1)
        for row, (text, buddy, fields) in enumerate(lines):
            label = PlainLabel(text, self)
            label.setBuddy(buddy)
            label.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Preferred)
            label.setMinimumHeight(buddy.sizeHint().height())
            flow = FlowRow(self, spacing=6)
            for field in fields:
                flow.add(field)
            column = QVBoxLayout()
            column.setContentsMargins(0, 0, 0, 0)
            column.addWidget(flow)
            grid.addWidget(label, row, 0, Qt.AlignmentFlag.AlignTop)
            grid.addLayout(column, row, 1)
        self._within_label.setBuddy(self.within)
        grid.addWidget(self._within_label, len(lines), 0)
        grid.addWidget(self.within, len(lines), 1)

    def _wheres(self) -> list[tuple[str, object]]:
        return [
            (self.tr("as soon as this holds:"), Where.ANYWHERE),
            (self.tr("when a layer is entered"), Where.ENTER),
            (self.tr("when a layer is left"), Where.LEAVE),
            (self.tr("when a gradient arrives"), Where.GRADIENT),
            (self.tr("when a sub-step is done"), Where.DONE),
            (self.tr("before a sub-step"), Where.BEFORE),
            (self.tr("before step"), Where.STEP),
            (self.tr("before epoch"), Where.EPOCH),
            (self.tr("every so many steps"), Where.STEPS),
            (self.tr("every so many epochs"), Where.EPOCHS),
            (self.tr("at a line of my code"), Where.LINE),
        ]

    def _whens(self) -> list[tuple[str, object]]:
        return [
            (self.tr("no condition"), When.ALWAYS),
            (self.tr("a number of a tensor"), When.NUMBER),
            (self.tr("a number of the step"), When.FIGURE),
            (self.tr("any NaN"), When.NAN),
            (self.tr("any Inf"), When.INF),
            (self.tr("the loss scale drops"), When.SCALE_DROP),
            (self.tr("a step is skipped"), When.SKIPPED_STEP),
            (self.tr("there is a finding"), When.FINDING),
        ]

    def _kinds(self) -> list[tuple[str, object]]:
        names = {
            SubjectKind.GRAD: self.tr("gradient of a parameter"),
            SubjectKind.ACTIVATION: self.tr("activation"),
            SubjectKind.ACTIVATION_GRAD: self.tr("gradient of an activation"),
            SubjectKind.PARAMETER: self.tr("parameter"),
            SubjectKind.UPDATE: self.tr("update"),
            None: self.tr("update ratio"),
            SubjectKind.CLIPPED_GRAD: self.tr("gradient after clipping"),
            SubjectKind.OPTIMIZER_STATE: self.tr("optimizer state"),
            SubjectKind.BUFFER: self.tr("buffer"),
        }
        return [(names[kind], kind) for kind in of.KINDS]

    def _statistics(self) -> list[tuple[str, object]]:
        names = {
            Statistic.L2: self.tr("L2 norm"),
            Statistic.MEAN: self.tr("mean"),
            Statistic.STD: self.tr("standard deviation"),
            Statistic.MIN: self.tr("minimum"),
            Statistic.MAX: self.tr("maximum"),
            Statistic.MAX_ABS: self.tr("largest absolute value"),
            Statistic.RMS: self.tr("root mean square"),
            Statistic.ZERO_SHARE: self.tr("share of zeros"),
            Statistic.NAN: self.tr("number of NaN"),
            Statistic.INF: self.tr("number of Inf"),
        }
        return [(names[statistic], statistic) for statistic in of.STATISTICS]

    def _figures(self) -> list[tuple[str, object]]:
        return [
            (self.tr("loss"), Figure.LOSS),
            (self.tr("gradient norm, all together"), Figure.GRAD_NORM),
            (self.tr("learning rate"), Figure.LR),
            (self.tr("loss scale"), Figure.SCALE),
            (self.tr("number of the step"), Figure.STEP),
            (self.tr("number of the epoch"), Figure.EPOCH),
            (self.tr("number of the batch"), Figure.BATCH),
        ]
