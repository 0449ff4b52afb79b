"""What a session itself knows of where it stands, taken at one time and given back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from gradscope.engine.book.window import Window
from gradscope.engine.data.batches import SourceSpot
from gradscope.engine.edits.change import EditRecord
from gradscope.engine.edits.editor import Editor
from gradscope.engine.edits.journal import Deed
from gradscope.engine.stepping.stepper import Stepper
from gradscope.engine.surroundings.randomness import RandomStates
from gradscope.protocol.messages import Validated
from gradscope.protocol.nonfinite import FirstNonFinite
from gradscope.protocol.phases import Rest

_OF_LOOP = ("_turn", "_done", "line", "loss", "clip", "substep", "is_skipped", "notes")
_OF_GRADIENTS = ("scale", "are_clipped_changed", "held", "_touched", "_scaled_names", "_unscaled", "_are_lost")
_OF_EPOCH_END = ("validation", "broken_off", "_losses", "_epoch")
_OF_FOREIGN_LEAVES = ("_first", "_done")


@dataclass(frozen=True)
class OwnState:
    """Between two steps, or two micro-batches: where no graph waits."""

    step: int
    rest: Rest
    window: Window
    loop: dict[str, Any]
    gradients: dict[str, Any]
    epoch_end: dict[str, Any]
    foreign_leaves: dict[str, Any]
    training: dict[str, Any]
    turns: list[tuple[Any, dict[str, Any]]]
    best: Any
    validations: tuple[Validated, ...]
    first: FirstNonFinite | None
    edits: list[tuple[EditRecord, int | None]]
    stack: list[Any]
    deeds: list[Deed]
    """What was done by hand up to there."""
    spot: SourceSpot
    random: RandomStates

    @staticmethod
    def take(stepper: Stepper, editor: Editor, newest: RandomStates | None = None) -> OwnState:
        loop, training = stepper.loop, stepper.training
        return OwnState(
            step=stepper.book.step,
            rest=stepper.book.rest,
            window=_copy_of(loop.window),
            loop=_some(loop, _OF_LOOP),
            gradients=_some(loop.gradients, _OF_GRADIENTS),
            epoch_end=_some(loop.epoch_end, _OF_EPOCH_END),
            foreign_leaves=_some(vars(loop)["_foreign_leaves"], _OF_FOREIGN_LEAVES),
            training={**vars(training), "turns": list(training.turns)},
            turns=[(turn, dict(vars(turn))) for turn in training.turns],
            best=stepper.best,
            validations=tuple(stepper.book.validations),
            first=stepper.book.watch.first,
            edits=[(record, record.undone_at) for record in editor.records],
            stack=editor.undoable(),
            deeds=list(editor.journal.deeds),
            spot=loop.batches.spot(),
            random=RandomStates.capture(newest),
        )

    def give(self, stepper: Stepper, editor: Editor) -> None:
        """But for the random states, which come last of all."""
        loop, training, book = stepper.loop, stepper.training, stepper.book
        vars(training).update({**self.training, "turns": list(self.training["turns"])})
        training.put_code()
        for turn, attributes in self.turns:
            vars(turn).update(attributes)
        loop.forget()
        loop.batches.go_to(self.spot)
        _put(loop, self.loop)
        loop.window = _copy_of(self.window)
        _put(loop.gradients, self.gradients)
        _put(loop.epoch_end, self.epoch_end)
        _put(vars(loop)["_foreign_leaves"], self.foreign_leaves)
        stepper.observer.previous.forget()
        stepper.observer.gradient_scale = loop.gradients.scale
        stepper.best, stepper.undone = self.best, ""
        book.stand_at(self.step, self.rest, self.validations, self.first)
        for record, undone_at in self.edits:
            record.undone_at = undone_at
        editor.records = [record for record, _ in self.edits]
        editor.put_undoable(self.stack)
        editor.journal.deeds = list(self.deeds)


def _some(owner: object, names: tuple[str, ...]) -> dict[str, Any]:
    attributes = vars(owner)
    return {name: _shallow(attributes[name]) for name in names}


def _put(owner: object, values: dict[str, Any]) -> None:
    vars(owner).update({name: _shallow(value) for name, value in values.items()})


def _shallow(value: Any) -> Any:
    return value.copy() if isinstance(value, (list, dict, set)) else value


def _copy_of(window: Window) -> Window:
    return replace(window, losses=list(window.losses), batches=list(window.batches))
