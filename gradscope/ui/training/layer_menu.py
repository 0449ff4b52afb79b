"""The menu of a row in Layers: pin it, freeze it, put it in train or eval mode, change its dropout, capture it."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import QPoint, Qt, Signal, Slot
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QAbstractSpinBox, QInputDialog, QLabel, QMenu, QWidget

from gradscope.protocol.messages.edits import Edit, EditDropout, EditMembership, EditMode, EditRequiresGrad
from gradscope.protocol.visible import visible
from gradscope.state.tree import Node, walk
from gradscope.ui.actions.controller import Controller
from gradscope.ui.training.capture_menu import add_capture
from gradscope.ui.training.pin_menu import add_pins
from gradscope.ui.widgets.access_keys import give_access_keys
from gradscope.ui.widgets.fields import WheelFilter
from gradscope.ui.widgets.plain import caption, plain_tip

_MAX_GROUPS = 12
_DIALOG_DIGITS = 44


class LayerMenu(QMenu):
    """`pin` is the action that pins what is selected, where the menu is that of the selection."""

    filling = Signal(object)
    """Node: who has something else to offer for it adds that now."""

    def __init__(self, controller: Controller, parent: QWidget, *, title: str = "", pin: QAction | None = None) -> None:
        super().__init__(title, parent)
        self._controller = controller
        self._pin = pin
        self.setToolTipsVisible(True)
        self.fill_for_selection()

    def show_for(self, node: Node, place: QPoint) -> None:
        """Offer what can be done with a node, at a place on the screen."""
        self.fill(node)
        self.popup(place)

    @Slot()
    def fill_for_selection(self) -> None:
        """Offer what can be done with the selected layer, parameter or buffer."""
        state = self._controller.state
        selected = state.selection
        nodes = walk(state.tree) if state.tree is not None else []
        node = next((n for n in nodes if (n.name, n.is_parameter) == (selected.name, selected.is_parameter)), None)
        if node is None:
            self.clear()
            self.addAction(self.tr("Select a layer, a parameter or a buffer first")).setEnabled(False)
            self._add_pins(None)
            return
        self.fill(node)
        # Beside the row itself nobody needs its name.
        heading = QAction(caption(node.name) or self.tr("The model"), self)
        heading.setEnabled(False)
        self.insertAction(self.actions()[0], heading)
        self.insertSeparator(self.actions()[1])

    def fill(self, node: Node) -> None:
        self.clear()
        self._add_pins(node)
        self.filling.emit(node)
        self._add_freezing(node)
        if node.module is not None:
            self.addSeparator()
            for training, text in ((True, self.tr("Train mode")), (False, self.tr("Eval mode"))):
                modules = [below.module for below in walk(node) if below.module is not None]
                action = self._add(text, EditMode(layer=node.name, training=training))
                action.setCheckable(True)
                action.setChecked(all(module.training is training for module in modules))
            self._add_dropout(node)
        self.addSeparator()
        add_capture(self, self._controller, node)
        give_access_keys(self)

    # ------------------------------------------------------------------------------------------ private

    def _add_pins(self, node: Node | None) -> None:
        if self._pin is not None:
            # Also where there is nothing to pin: its shortcut is that of an action in a menu.
            self.addAction(self._pin)
        elif node is not None:
            add_pins(self, self._controller, node)
        self.addSeparator()

    def _add_freezing(self, node: Node) -> None:
        parameters = [below.parameter for below in walk(node) if below.parameter is not None]
        if any(parameter.requires_grad for parameter in parameters):
            self._add(self.tr("Freeze"), self._freezing(node, requires_grad=False))
        if any(not parameter.requires_grad for parameter in parameters):
            self._add(self.tr("Unfreeze"), self._freezing(node, requires_grad=True))
        session = self._controller.state.session
        if session is None or all(parameter.group is not None for parameter in parameters):
            return
        for number, group in enumerate(session.groups[:_MAX_GROUPS]):
            text = self.tr("Add to parameter group {number}").format(number=number)
            text += f" ({caption(group.optimizer)})" if group.optimizer else ""
            self._add(text, EditMembership(name=node.name, is_parameter=node.is_parameter, group=number))

    def _freezing(self, node: Node, *, requires_grad: bool) -> Edit:
        return EditRequiresGrad(name=node.name, is_parameter=node.is_parameter, requires_grad=requires_grad)

    def _add_dropout(self, node: Node) -> None:
        known = [below.module.dropout for below in walk(node) if below.module is not None]
        values = [p for p in known if p is not None]
        if not values:
            return
        self.addSeparator()
        action = self.addAction(
            self.tr("Dropout p ({values})...").format(values=", ".join(map(str, dict.fromkeys(values))))
        )
        action.triggered.connect(partial(self._ask_dropout, node.name, values[0]))
        self._explain(action, EditDropout)

    def _ask_dropout(self, layer: str, p: float) -> None:
        dialog = QInputDialog(self.parentWidget())
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.setWindowTitle(self.tr("Dropout"))
        dialog.setLabelText(
            self.tr("Probability p of {layer}, from 0 to 1").format(layer=visible(layer) or self.tr("the model"))
        )
        for label in dialog.findChildren(QLabel):
            label.setTextFormat(Qt.TextFormat.PlainText)
        dialog.setInputMode(QInputDialog.InputMode.DoubleInput)
        # What is no probability is refused by the engine, in a sentence; here it would be changed without one.
        dialog.setDoubleRange(0.0, 1000.0)
        dialog.setDoubleDecimals(4)
        dialog.setDoubleStep(0.05)
        dialog.setDoubleValue(p)
        for field in dialog.findChildren(QAbstractSpinBox):
            WheelFilter(field)
        # Wide enough for its title, with the name of the application.
        dialog.resize(_DIALOG_DIGITS * dialog.fontMetrics().horizontalAdvance("0"), dialog.sizeHint().height())
        dialog.doubleValueSelected.connect(partial(self._set_dropout, layer))
        dialog.open()

    def _set_dropout(self, layer: str, p: float) -> None:
        self._controller.edit(EditDropout(layer=layer, p=p))

    def _add(self, text: str, edit: Edit) -> QAction:
        action = self.addAction(text)
        action.triggered.connect(partial(self._send, edit))
        self._explain(action, type(edit))
        return action

    def _send(self, edit: Edit) -> None:
        self._controller.edit(edit)

    def _explain(self, action: QAction, edit: type[Edit]) -> None:
        """An action that cannot be used now says why."""
        reason = self._controller.state.edit_refusal(edit)
        action.setEnabled(reason is None)
        action.setToolTip(plain_tip(reason or ""))
