"""The edits of a session, as the app knows them: which one can be undone, and where the plots are marked."""

from __future__ import annotations

from dataclasses import dataclass

from gradscope.protocol.edits import EditMade


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
        self._settled = 0

    def settle(self) -> None:
        """Training goes on from elsewhere (a checkpoint): the edits so far cannot be undone any more."""
        self._settled = len(self.made)

    def note(self, edit: EditMade) -> None:
        """A new edit, or one that is undone now."""
        self.made[edit.number :] = [edit, *self.made[edit.number + 1 :]]

    @property
    def undoable(self) -> EditMade | None:
        """What Undo would undo: the newest edit that still counts."""
        return next((edit for edit in reversed(self.made[self._settled :]) if edit.undone_at is None), None)

    def marks(self) -> list[EditMark]:
        """In order of steps. An edit that was undone before any step has used it leaves no mark."""
        found: dict[int, list[str]] = {}
        for edit in self.made:
            if edit.undone_at != edit.step:
                found.setdefault(edit.step, []).append(edit.text)
                if edit.undone_at is not None:
                    found.setdefault(edit.undone_at, []).append(f"Undone: {edit.text}")
        return [EditMark(step, tuple(found[step])) for step in sorted(found)]
