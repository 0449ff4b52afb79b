"""What a script has to know of a training: its settings from the first step on, and the edits that changed them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from gradscope.engine.edits.journal import Deed, DeedKind, Journal, Place
from gradscope.engine.recipe.recipe import Recipe
from gradscope.engine.stepping.stepper import Stepper
from gradscope.protocol.messages import edits

STEP_SETTINGS = ("accumulate", "zero_grad", "clip_norm", "clip_value", "scheduler_unit", "scheduler_metric")
_OF_EDITS: dict[type[Any], dict[str, str]] = {
    edits.EditAccumulation: {"accumulate": "micro_batches"},
    edits.EditZeroGrad: {"zero_grad": "mode"},
    edits.EditClipping: {"clip_norm": "norm", "clip_value": "value"},
    edits.EditSchedulerMetric: {"scheduler_metric": "metric"},
    edits.EditScheduler: {"scheduler_unit": "unit", "scheduler_metric": "metric"},
}
"""Setting -> field of the edit, by the class of the edit."""


@dataclass
class Setting:
    """One setting of a step."""

    name: str
    first: Any
    values: list[Any] = field(default_factory=list)
    """Every value that it ever had, `first` first."""

    @property
    def is_fixed(self) -> bool:
        return all(value == self.first for value in self.values)

    @property
    def code(self) -> str:
        """Its value where it never changes; otherwise the name of the variable that has it."""
        return repr(self.first) if self.is_fixed else self.name

    def ever(self, value: Any) -> bool:
        return value in self.values


@dataclass
class Settings:
    """All of them, with the deeds that count: an edit that was undone at its own place never was."""

    steps: dict[str, Setting]
    deeds: list[Deed]
    schedulers: dict[str, list[str | None]]
    """By turn: the class of every scheduler that it had, in their order; None: it had none."""

    def __getitem__(self, name: str) -> Setting:
        return self.steps[name]

    def at(self, place: Place) -> list[Deed]:
        return [deed for deed in self.deeds if deed.place == place]

    @property
    def places(self) -> list[Place]:
        return list(dict.fromkeys(deed.place for deed in self.deeds))


def settings_of(stepper: Stepper, journal: Journal) -> Settings:
    recipe = stepper.recipe
    steps = {name: Setting(name, getattr(recipe, name), [getattr(recipe, name)]) for name in STEP_SETTINGS}
    deeds = _effective(journal)
    for _, changed in _changes(deeds):
        for name, value in changed.items():
            steps[name].values.append(value)
    return Settings(steps=steps, deeds=deeds, schedulers=_schedulers(recipe, deeds))


def changed_settings(deeds: list[Deed], recipe: Recipe) -> dict[int, dict[str, Any]]:
    """By the position of a deed among `deeds`: the settings that it assigns (undoing assigns what was there before)."""
    now = {name: getattr(recipe, name) for name in STEP_SETTINGS}
    before: dict[int, dict[str, Any]] = {}
    found = {}
    for position, deed in enumerate(deeds):
        changed = _assigned(deed.edit) if deed.kind is DeedKind.EDIT else before.get(deed.number, {})
        if deed.kind is DeedKind.EDIT:
            before[deed.number] = {name: now[name] for name in changed}
        now |= changed
        if changed:
            found[position] = changed
    return found


def _changes(deeds: list[Deed]) -> Iterator[tuple[Deed, dict[str, Any]]]:
    for deed in deeds:
        if deed.kind is DeedKind.EDIT:
            yield deed, _assigned(deed.edit)


def _assigned(edit: Any) -> dict[str, Any]:
    if isinstance(edit, edits.EditScheduler) and not edit.scheduler:
        return {}
    fields = _OF_EDITS.get(type(edit), {})
    found = {name: getattr(edit, field) for name, field in fields.items()}
    # An empty metric leaves it as it was.
    return {name: value for name, value in found.items() if name != "scheduler_metric" or value}


def _effective(journal: Journal) -> list[Deed]:
    made: dict[int, Deed] = {}
    gone: set[int] = set()
    for deed in journal.deeds:
        if deed.kind is DeedKind.EDIT:
            made[deed.number] = deed
        elif deed.kind is DeedKind.UNDO and deed.number in made and made[deed.number].place == deed.place:
            gone.add(deed.number)
    return [deed for deed in journal.deeds if deed.kind is DeedKind.CLEAR or deed.number not in gone]


def _schedulers(recipe: Recipe, deeds: list[Deed]) -> dict[str, list[str | None]]:
    found: dict[str, list[str | None]] = {}
    for name in recipe.optimizers:
        own = recipe.schedulers.get(name)
        found[name] = [None if own is None else type(own).__name__]
    for deed in deeds:
        match deed.edit:
            case edits.EditScheduler(scheduler=scheduler, turn=turn):
                found[turn].append(scheduler or None)
            case edits.EditOptimizer(turn=turn):
                found[turn].append(None if deed.scheduler is None else deed.scheduler[0])
    return found
