"""The one selection that every view follows."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gradscope.protocol.subjects import LAYER_KINDS, PARAMETER_KINDS, SubjectKey, SubjectKind
from gradscope.state.history import History
from gradscope.state.tree import Node


@dataclass(frozen=True, kw_only=True)
class Selection:
    """A node of the layer tree, and which of its subjects is looked at. `name` None: nothing is selected."""

    name: str | None = None
    is_parameter: bool = False
    kind: SubjectKind = SubjectKind.ACTIVATION
    call: int = 0
    leaf: str = ""

    @property
    def subject(self) -> SubjectKey | None:
        if self.name is None:
            return None
        return SubjectKey(self.kind, self.name, self.call, self.leaf)

    @staticmethod
    def of_node(name: str, *, is_parameter: bool, kind: SubjectKind | None = None) -> Selection:
        """Select a layer or a parameter; `kind` is used where it can have it."""
        default = SubjectKind.PARAMETER if is_parameter else SubjectKind.ACTIVATION
        possible = PARAMETER_KINDS if is_parameter else LAYER_KINDS
        return Selection(name=name, is_parameter=is_parameter, kind=kind if kind in possible else default)

    @staticmethod
    def of(node: Node, kind: SubjectKind | None = None) -> Selection:
        """The same of any node of the tree."""
        if node.is_buffer:
            return Selection(name=node.name, kind=SubjectKind.BUFFER)
        return Selection.of_node(node.name, is_parameter=node.is_parameter, kind=kind)

    @staticmethod
    def of_subject(key: SubjectKey) -> Selection:
        return Selection(
            name=key.name, is_parameter=key.kind in PARAMETER_KINDS, kind=key.kind, call=key.call, leaf=key.leaf
        )

    def with_kind(self, kind: SubjectKind) -> Selection:
        is_other_form = SubjectKind.OPTIMIZER_STATE in (kind, self.kind)
        return replace(self, kind=kind, leaf="" if is_other_form else self.leaf)


class FirstSubjects:
    """The first subject of each name in a history; it is read on as subjects arrive, however many there are."""

    def __init__(self, history: History) -> None:
        self.history = history
        self._first: dict[tuple[SubjectKind, str], SubjectKey] = {}
        self._known = dict.fromkeys(SubjectKind, 0)

    def of(self, kind: SubjectKind, name: str) -> SubjectKey | None:
        keys = self.history.subjects(kind)
        for key in keys[self._known[kind] :]:
            self._first.setdefault((kind, key.name), key)
        self._known[kind] = len(keys)
        return self._first.get((kind, name))

    def selected(self, selection: Selection) -> SubjectKey | None:
        """The subject that is selected. Where the exact one is unknown (a structured output): the first of that name."""
        wanted = selection.subject
        if wanted is None or self.history.latest(wanted) is not None:
            return wanted
        return self.of(wanted.kind, wanted.name) or wanted


def selected_subject(history: History, selection: Selection) -> SubjectKey | None:
    """The same, asked once."""
    return FirstSubjects(history).selected(selection)
