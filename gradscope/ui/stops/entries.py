"""What menus offer of stops: run to here, stop here each time, stop if a number crosses a limit."""

from __future__ import annotations

import math
from collections.abc import Callable

from PySide6.QtCore import QCoreApplication
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QMenu

from gradscope.protocol.messages import Place
from gradscope.protocol.numbers import number
from gradscope.protocol.subjects import LAYER_KINDS, SubjectKind
from gradscope.state.stops import Wanted
from gradscope.state.tree import Node
from gradscope.ui.actions.stops import Stops
from gradscope.ui.stops.choices import Where, at_layer, at_line, exactly
from gradscope.ui.widgets.plain import caption, plain_tip
from gradscope.ui.words.spot import Spot


def _tr(text: str) -> str:
    return QCoreApplication.translate("StopEntries", text)


class Entries:
    """Adds entries to one menu."""

    def __init__(self, menu: QMenu, stops: Stops) -> None:
        self._menu, self._stops = menu, stops
        self._menu.setToolTipsVisible(True)

    # ------------------------------------------------------------------------------------------ of what

    def of_node(self, node: Node, kind: SubjectKind) -> None:
        """`kind`: of the subject that is looked at, which is proposed for a condition."""
        name = node.name
        if node.module is not None:
            self.run_to(at_layer(Where.ENTER, name))
            self._at_layer(name)
            own = kind if kind in LAYER_KINDS else SubjectKind.ACTIVATION
        elif node.is_parameter:
            self.run_to(at_layer(Where.GRADIENT, name), _tr("Run to where its gradient arrives"))
            self.stop_at(at_layer(Where.GRADIENT, name), _tr("Stop when its gradient arrives"))
            own = SubjectKind.GRAD if kind in LAYER_KINDS or kind is SubjectKind.BUFFER else kind
        elif node.is_buffer:
            own = SubjectKind.BUFFER
        else:
            # A part of a name, and nothing that runs.
            own = SubjectKind.ACTIVATION
        self.stop_if(f"{own.value}.l2", name, None)
        self._menu.addSeparator()

    def of_spot(self, spot: Spot) -> None:
        subject = spot.subject
        if subject is not None:
            if subject.kind in LAYER_KINDS:
                self.run_to(at_layer(Where.ENTER, subject.name, subject.call or None))
                self._at_layer(subject.name)
            elif subject.kind is not SubjectKind.BUFFER:
                self.run_to(at_layer(Where.GRADIENT, subject.name), _tr("Run to where its gradient arrives"))
                self.stop_at(at_layer(Where.GRADIENT, subject.name), _tr("Stop when its gradient arrives"))
        self.stop_if(spot.quantity, None if subject is None else subject.name, spot.value)

    def of_moment(self, place: Place) -> None:
        """A row of what ran."""
        text = text_of_moment(place)
        self.run_to(text)
        self.stop_at(text, _tr("Stop here each time"))
        if place.event == "call":
            self.stop_at(at_layer(Where.LEAVE, place.layer, place.call or None), _tr("Stop when left"))
            self.stop_at(at_layer(Where.GRADIENT, place.layer), _tr("Stop when its gradient arrives"))

    def of_line(self, file: str, line: int) -> None:
        text = at_line(file, line)
        about = _tr("Stops where this line calls a layer of the model")
        self.run_to(text, _tr("Run to this line"), about=about)
        self.stop_at(text, _tr("Stop at this line"), about=about)
        self._stop_if(Wanted(text=f"{text} if loss > 1"))

    # ------------------------------------------------------------------------------------------ each

    def run_to(self, place: str, text: str = "", *, about: str = "") -> None:
        refusal = self._stops.run_refusal()
        self._add(text or _tr("Run to here"), lambda: self._stops.run_to(place), refusal, about)

    def stop_at(self, text: str, caption_: str, *, about: str = "") -> None:
        """Checked where there is one already: it is removed then."""
        action = self._add(caption_, lambda: self._stops.toggle(text), self._stops.refusal(), about)
        action.setCheckable(True)
        action.setChecked(self._stops.known.of_text(text) is not None)

    def stop_if(self, quantity: str, name: str | None, value: float | None) -> None:
        """Proposed with the number as it is now, which the dialog lets one change."""
        limit = number(value, digits=3) if value is not None and math.isfinite(value) else "1"
        where = "" if name is None else f" in {exactly(name)}"
        self._stop_if(Wanted(text=f"{quantity} > {limit}{where}"))

    # ------------------------------------------------------------------------------------------ private

    def _at_layer(self, name: str) -> None:
        self.stop_at(at_layer(Where.ENTER, name), _tr("Stop when entered"))
        self.stop_at(at_layer(Where.LEAVE, name), _tr("Stop when left"))
        self.stop_at(at_layer(Where.GRADIENT, name), _tr("Stop when its gradient arrives"))

    def _stop_if(self, wanted: Wanted) -> None:
        self._add(_tr("Stop if..."), lambda: self._stops.ask(wanted), self._stops.refusal(), wanted.text)

    def _add(self, text: str, slot: Callable[[], None], refusal: str | None, about: str) -> QAction:
        action = self._menu.addAction(caption(text))
        action.triggered.connect(lambda _checked=False: slot())
        action.setEnabled(refusal is None)
        action.setToolTip(plain_tip(refusal or about))
        return action


def text_of_moment(place: Place) -> str:
    """Where the row of a moment is, in the language of stops."""
    match place.event:
        case "call":
            return at_layer(Where.ENTER, place.layer, place.call or None)
        case "gradient":
            return at_layer(Where.GRADIENT, place.layer)
    return place.substep.value
