"""Which kinds of subjects a tab offers, by what the session has: clipped gradients, each part of the optimizer's state,
buffers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PySide6.QtCore import QCoreApplication, QSignalBlocker
from PySide6.QtWidgets import QComboBox

from gradscope.protocol.subjects import SubjectKind
from gradscope.protocol.visible import visible
from gradscope.state.app_state import AppState
from gradscope.ui.plots.words.subjects_in_order import leaf_of
from gradscope.ui.words.optimizer_states import name_of

_CONTEXT = "KindChoices"


@dataclass(frozen=True)
class KindChoice:
    """All subjects of a kind; with a leaf, only those of that leaf (see `subjects_in_order.leaf_of`)."""

    kind: SubjectKind
    leaf: str | None = None
    title: str = ""
    """Of a plot, where it is not the tab's."""


Choices = list[tuple[str, KindChoice]]


def gradient_choices(state: AppState) -> Choices:
    translate = QCoreApplication.translate
    choices = [
        (translate(_CONTEXT, "of the parameters (.grad)"), KindChoice(SubjectKind.GRAD)),
        (translate(_CONTEXT, "of the activations"), KindChoice(SubjectKind.ACTIVATION_GRAD)),
    ]
    if has_clipping(state):
        choices.append((translate(_CONTEXT, "of the parameters, after clipping"), KindChoice(SubjectKind.CLIPPED_GRAD)))
    return choices


def update_choices(state: AppState) -> Choices:
    translate = QCoreApplication.translate
    choices = [(translate(_CONTEXT, "of the parameters"), KindChoice(SubjectKind.UPDATE))]
    text = translate(_CONTEXT, "Optimizer state: {name}")
    leaves = dict.fromkeys(key.leaf for key in state.history.subjects(SubjectKind.OPTIMIZER_STATE))
    for leaf in leaves:
        choices.append((text.format(name=visible(name_of(leaf))), KindChoice(SubjectKind.OPTIMIZER_STATE, leaf)))
    return choices


def activation_choices(state: AppState) -> Choices:
    """Buffers are what a forward changes beside the activations; their scales differ, so they can be looked at one by one."""
    translate = QCoreApplication.translate
    choices = [(translate(_CONTEXT, "Activations"), KindChoice(SubjectKind.ACTIVATION))]
    leaves = dict.fromkeys(leaf_of(key) for key in state.history.subjects(SubjectKind.BUFFER))
    title = translate(_CONTEXT, "Buffers")
    if leaves:
        choices.append((title, KindChoice(SubjectKind.BUFFER, title=title)))
    if len(leaves) > 1:
        text = translate(_CONTEXT, "Buffers: {name}")
        choices += [
            (text.format(name=visible(leaf)), KindChoice(SubjectKind.BUFFER, leaf, title=title)) for leaf in leaves
        ]
    return choices


def has_clipping(state: AppState) -> bool:
    """Whether gradients are clipped, or have been in this session."""
    session = state.session
    clips = session is not None and (session.clip_norm is not None or session.clip_value is not None)
    return clips or len(state.history.clipping) > 0


def refill(box: QComboBox, choices: Sequence[tuple[str, object]]) -> None:
    """Offer these choices; what is chosen stays chosen where it can, otherwise the first one is."""
    choices = [(visible(text), data) for text, data in choices]
    if [(box.itemText(i), box.itemData(i)) for i in range(box.count())] == list(choices):
        return
    chosen = box.currentData()
    with QSignalBlocker(box):
        box.clear()
        for text, data in choices:
            box.addItem(text, data)
        index = next((i for i, (_, data) in enumerate(choices) if data == chosen), 0)
        box.setCurrentIndex(index)
    if box.currentData() != chosen:
        box.currentIndexChanged.emit(index)
