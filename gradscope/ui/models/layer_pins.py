"""Which layers and parameters have a pinned subject, for the Layers panel."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication

from gradscope.protocol.subjects import PARAMETER_KINDS, SubjectKind
from gradscope.state.app_state import AppState
from gradscope.state.tree import Node
from gradscope.ui.words.pins import kind_text


class LayerPins:
    """The pins as they were read the last time."""

    def __init__(self, state: AppState) -> None:
        self._state = state
        self._kinds: dict[tuple[str, bool], list[SubjectKind]] = {}
        self.read()

    def read(self) -> None:
        """Something was pinned or unpinned."""
        self._kinds = {}
        for key in self._state.pins:
            self._kinds.setdefault((key.name, key.kind in PARAMETER_KINDS), []).append(key.kind)

    def of(self, node: Node) -> str:
        """What of a node is pinned, in words; "" for nothing."""
        kinds = self._kinds.get((node.name, node.is_parameter))
        if not kinds:
            return ""
        words = ", ".join(kind_text(kind) for kind in dict.fromkeys(kinds))
        return QCoreApplication.translate("Pins", "Pinned: {kinds}").format(kinds=words)
