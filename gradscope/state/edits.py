"""The edits of a session, as the app knows them: which one can be undone, and where the plots are marked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from gradscope.protocol.messages.edits import EditMade


@dataclass(frozen=True)
class EditMark:
    """Edits that were made (or undone) between the same two steps."""

    step: int
    """The first step that they count for."""
    texts: tuple[str, ...]


class Edits:
    """By number, the newest last."""

    def __init__(self) -> None:
        self.made: list[EditMade] = []
        self._fixed = 0
        """So many of them cannot be undone any more."""

    def note(self, edit: EditMade) -> None:
        """A new edit, or one that is undone now."""
        self.made[edit.number :] = [edit, *self.made[edit.number + 1 :]]

    @property
    def undoable(self) -> EditMade | None:
        """What Undo would undo: the newest edit that still counts."""
        return next((edit for edit in reversed(self.made[self._fixed :]) if edit.undone_at is None), None)

    def cut(self, step: int) -> None:
        """A checkpoint stands before `step`: later edits have not been made, and the earlier ones stay for good."""
        self.made = [
            edit if edit.undone_at is None or edit.undone_at < step else replace(edit, undone_at=None)
            for edit in self.made
            if edit.step < step
        ]
        self._fixed = len(self.made)

    def take(self, made: Iterable[EditMade]) -> None:
        """These have been made where training stands now, and no others; all of them can be undone."""
        self.made, self._fixed = list(made), 0

    def marks(self) -> list[EditMark]:
        """In order of steps. An edit that was undone before any step has used it leaves no mark."""
        found: dict[int, list[str]] = {}
        for edit in self.made:
            if edit.undone_at != edit.step:
                found.setdefault(edit.step, []).append(edit.text)
                if edit.undone_at is not None:
                    found.setdefault(edit.undone_at, []).append(f"Undone: {edit.text}")
        return [EditMark(step, tuple(found[step])) for step in sorted(found)]
