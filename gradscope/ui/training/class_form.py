"""A form for an object of torch: which class, and the arguments that its signature has."""

from __future__ import annotations

from PySide6.QtCore import QSignalBlocker, Qt, Signal, Slot
from PySide6.QtGui import QStandardItem, QStandardItemModel
from PySide6.QtWidgets import (
    QFormLayout,
    QHBoxLayout,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from gradscope.protocol.messages.edits import Chosen, ClassInfo
from gradscope.protocol.visible import visible
from gradscope.ui.training.argument_field import ArgumentField
from gradscope.ui.widgets.fields import ComboBox
from gradscope.ui.widgets.plain import PlainLabel, plain_tip
from gradscope.ui.widgets.tab_order import follow

NONE = ""
"""The name of no class at all, for what can be left out."""


class ClassForm(QWidget):
    """Emits `applied` with the name of the class and what differs from its defaults. Classes that cannot be made are
    there to be seen, with the reason."""

    applied = Signal(str, object)
    class_changed = Signal(str)

    def __init__(self, *, has_none: bool = False, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._has_none = has_none
        self._classes: dict[str, ClassInfo] = {}
        self._chosen: Chosen | None = None
        self._refusal: str | None = None
        self.fields: dict[str, ArgumentField] = {}
        self.chooser = ComboBox(self)
        self.chooser.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.chooser.currentIndexChanged.connect(self._on_class_chosen)
        self._doc = PlainLabel(parent=self)
        self._doc.setWordWrap(True)
        self._doc.setProperty("role", "muted")
        self._rows = QWidget(self)
        self.extra = QFormLayout()
        self.extra.setContentsMargins(0, 0, 0, 0)
        self._hint = PlainLabel(parent=self)
        self._hint.setWordWrap(True)
        self._hint.setProperty("role", "bad")
        self.apply = QPushButton(self.tr("Apply"), self)
        self.apply.clicked.connect(self._on_apply_clicked)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(6)
        buttons = QHBoxLayout()
        buttons.addWidget(self._hint, 1)
        buttons.addWidget(self.apply, 0, Qt.AlignmentFlag.AlignTop)
        self._column.addWidget(self.chooser)
        self._column.addWidget(self._doc)
        self._column.addWidget(self._rows)
        self._column.addLayout(self.extra)
        self._column.addLayout(buttons)

    def show_classes(self, classes: tuple[ClassInfo, ...], chosen: Chosen | None) -> None:
        """Offer classes. What a person has begun to fill in stays, unless something else is in use now."""
        if self._chosen == chosen and self._classes:
            return
        self._chosen = chosen
        self._classes = {cls.name: cls for cls in classes}
        with QSignalBlocker(self.chooser):
            model = QStandardItemModel(self.chooser)
            if self._has_none:
                model.appendRow(_item(self.tr("(none)"), NONE))
            for cls in classes:
                item = _item(cls.name, cls.name)
                item.setEnabled(not cls.reason)
                item.setToolTip(plain_tip(self._sentence(cls.reason) if cls.reason else cls.doc))
                model.appendRow(item)
            self.chooser.setModel(model)
            in_use = chosen.name if chosen is not None else NONE
            self.chooser.setCurrentIndex(self.chooser.findData(in_use))
        self._build()

    def set_refusal(self, reason: str | None) -> None:
        """Why nothing can be applied now; None if it can."""
        self._refusal = reason
        self._judge()

    @property
    def name(self) -> str | None:
        """Of the class that is chosen; NONE for none, None where nothing is chosen yet."""
        return self.chooser.currentData()

    def arguments(self) -> dict[str, str]:
        """What differs from the defaults."""
        return {name: field.text for name, field in self.fields.items() if not field.is_default}

    # ------------------------------------------------------------------------------------------ slots

    @Slot(int)
    def _on_class_chosen(self, _index: int) -> None:
        self._build()
        if self.name is not None:
            self.class_changed.emit(self.name)

    @Slot()
    def _on_field_changed(self) -> None:
        self._judge()

    @Slot()
    def _on_apply_clicked(self) -> None:
        if self.name is not None:
            self.applied.emit(self.name, self.arguments())

    # ------------------------------------------------------------------------------------------ private

    def _build(self) -> None:
        """The fields of the chosen class, with the values in use where it is the class in use."""
        cls = self._classes.get(self.name or NONE)
        rows = QWidget(self)
        form = QFormLayout(rows)
        form.setContentsMargins(0, 0, 0, 0)
        form.setHorizontalSpacing(8)
        form.setVerticalSpacing(4)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        self.fields = {}
        is_in_use = cls is not None and self._chosen is not None and cls.name == self._chosen.name
        for argument in cls.arguments if cls is not None and not cls.reason else ():
            field = ArgumentField(argument, rows)
            if is_in_use and self._chosen is not None and argument.name in self._chosen.arguments:
                field.set_text(self._chosen.arguments[argument.name])
            field.changed.connect(self._on_field_changed)
            label = PlainLabel(argument.name, rows)
            label.setBuddy(field)
            label.setToolTip(plain_tip(argument.doc))
            form.addRow(label, field)
            self.fields[argument.name] = field
        self._column.replaceWidget(self._rows, rows)
        self._rows.hide()
        self._rows.deleteLater()
        self._rows = rows
        others = (self.extra.itemAt(row) for row in range(self.extra.count()))
        extra = (item.widget() for item in others if item is not None)
        follow(self.chooser, [*self.fields.values(), *(widget for widget in extra if widget is not None), self.apply])
        doc = "" if cls is None else self._sentence(cls.reason) if cls.reason else cls.doc
        self._doc.setText(doc)
        self._doc.setVisible(bool(doc))
        self._judge()

    def _judge(self) -> None:
        problem = next((field.problem for field in self.fields.values() if field.text and field.problem), None)
        missing = [name for name, field in self.fields.items() if not field.text and field.problem]
        if problem is None and missing:
            problem = self.tr("To be given: {names}").format(names=", ".join(missing))
        self._hint.setText(problem or "")
        cls = self._classes.get(self.name or NONE)
        can_be_made = self.name is not None and (cls is None or not cls.reason)
        self.apply.setEnabled(problem is None and can_be_made and self._refusal is None)
        self.apply.setToolTip(plain_tip(self._refusal or ""))

    def _sentence(self, reason: str) -> str:
        return self.tr("It cannot be made here: {reason}").format(reason=reason)


def _item(text: str, name: str) -> QStandardItem:
    item = QStandardItem(visible(text))
    item.setData(name, Qt.ItemDataRole.UserRole)
    return item
