"""Edits of a parameter group: one option of it, or its parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from gradscope.engine.book.turns import Turn, groups_of
from gradscope.engine.edits import outlook
from gradscope.engine.edits.arguments import argument_like, arguments_of, as_literal
from gradscope.engine.edits.change import Change, arrow, counted, sentence
from gradscope.engine.edits.layers import parameters_named
from gradscope.engine.edits.trial import problem_with_options
from gradscope.engine.model.closures import needs_closure
from gradscope.engine.stepping.stepper import Stepper
from gradscope.engine.surroundings.error_parts import safe_text
from gradscope.engine.wording import listed, with_article
from gradscope.protocol.failure import BadInput
from gradscope.protocol.literals import parsed
from gradscope.protocol.messages.edits import ArgumentInfo, EditMembership, EditOption

_WORDS = {"lr": "Learning rate", "momentum": "Momentum", "weight_decay": "Weight decay"}
ONLY_WHEN_MADE = {
    "initial_accumulator_value": "it counts only when the optimizer is made",
    "history_size": "LBFGS keeps as many directions as it had when it was made",
}


class Trained(Protocol):
    """Who moves what, by a recipe or in a script."""

    @property
    def turns(self) -> Sequence[Turn]: ...

    @property
    def scheduler_unit(self) -> str: ...


def edit_option(training: Trained, edit: EditOption) -> Change:
    """Assign one option of a group, as `group[option] = value` would."""
    turn, index = _group_at(training, edit.group)
    group = turn.optimizer.param_groups[index]
    what = option_named(training, edit.option, edit.group)
    before, value = group.get(edit.option), _new_value(turn, group, edit, what)
    was_ahead = outlook.curve(turn, index)
    undo_bases = _set_bases(turn, index, value) if edit.option == "initial_lr" else None
    group[edit.option] = value
    problem = problem_with_options(turn.optimizer, group)
    if problem is not None:
        group[edit.option] = before
        if undo_bases is not None:
            undo_bases()
        raise BadInput(f"{what} cannot be {_shown(value)} in {type(turn.optimizer).__name__}: {problem}")
    is_ahead = outlook.curve(turn, index)

    def undo() -> str | None:
        if undo_bases is not None:
            undo_bases()
        now = turn.optimizer.param_groups[index]
        if _same(now[edit.option], value):
            now[edit.option] = before
            return None
        return _undo_moved(turn, index, edit.option, before, value)

    unit = training.scheduler_unit
    text = f"{what}: {arrow(_shown(before), _shown(value))}"
    return Change(text=sentence([text, outlook.clause(turn, unit, edit.option, was_ahead, is_ahead, group)]), undo=undo)


def edit_membership(stepper: Stepper, edit: EditMembership) -> Change:
    """Let an optimizer hold parameters that none holds: `group["params"].append(parameter)`."""
    training = stepper.training
    turn, index = _group_at(training, edit.group)
    optimizer, group = turn.optimizer, turn.optimizer.param_groups[index]
    named = parameters_named(stepper, edit.name, is_parameter=edit.is_parameter)
    held = {id(tensor) for known in groups_of(training.optimizers) for tensor in known["params"]}
    added = {name: tensor for name, tensor in named.items() if id(tensor) not in held}
    if not added:
        raise BadInput(f"Every parameter of {edit.name or 'the model'} is in an optimizer already")
    if needs_closure(optimizer):
        raise BadInput(
            f"{type(optimizer).__name__} remembers all its parameters as one vector, so that none can be added; "
            "expected another optimizer, or the same chosen anew"
        )
    names = group.get("param_names")
    group["params"] += added.values()
    if names is not None:
        names += added

    def undo() -> None:
        gone = {id(tensor) for tensor in added.values()}
        group["params"][:] = [tensor for tensor in group["params"] if id(tensor) not in gone]
        if names is not None:
            names[:] = [name for name in names if name not in added]
        for tensor in added.values():
            optimizer.state.pop(tensor, None)

    problem = problem_with_options(optimizer, group, tried_on=list(added.values()))
    if problem is not None:
        undo()
        raise BadInput(
            f"{listed(added)} cannot be added to {with_article(type(optimizer).__name__)} that is in use: {problem}; "
            "expected another optimizer, or the same chosen anew"
        )
    return Change(text=f"Group {edit.group} also holds {listed(added)} ({counted(len(added), 'parameter')})", undo=undo)


def option_named(training: Trained, option: str, number: int) -> str:
    """ "Learning rate of group 1"; without the group where there is only one."""
    word = _WORDS.get(option, option)
    groups = groups_of(turn.optimizer for turn in training.turns)
    return f"{word} of group {number}" if len(groups) > 1 else word


# ------------------------------------------------------------------------------------------- private


def _group_at(training: Trained, number: int) -> tuple[Turn, int]:
    places = [(turn, i) for turn in training.turns for i in range(len(turn.optimizer.param_groups))]
    if not 0 <= number < len(places):
        raise BadInput(f"There is no parameter group {number}; expected one from 0 to {len(places) - 1}")
    return places[number]


def _new_value(turn: Turn, group: dict[str, Any], edit: EditOption, what: str) -> Any:
    name = edit.option
    if name == "params" or name not in group:
        known = ", ".join(key for key in group if key != "params" and as_literal(group[key]) is not None)
        raise BadInput(f"Group {edit.group} has no option {name!r}; expected one of {known}")
    if name in ONLY_WHEN_MADE:
        raise BadInput(f"{what} cannot be changed: {ONLY_WHEN_MADE[name]}; expected a new optimizer instead")
    before = group[name]
    argument = _argument(turn, name, before)
    if argument is None:
        raise BadInput(
            f"{what} is {with_article(type(before).__name__)}, which cannot be written as a number or a text"
        )
    value = parsed(argument, edit.value, where=what)
    if name in ("lr", "initial_lr", "max_lr") and value < 0:
        raise BadInput(f"{what} is {value}; expected a number from 0")
    if isinstance(before, Tensor):
        value = torch.full_like(before, value)
    if _same(value, before):
        raise BadInput(f"{what} is {_shown(before)} already")
    return value


def _argument(turn: Turn, name: str, value: Any) -> ArgumentInfo | None:
    if isinstance(value, Tensor):
        return argument_like(name, value.item()) if value.numel() == 1 else None
    known = {argument.name: argument for argument in arguments_of(type(turn.optimizer))[0]}
    return known.get(name) or argument_like(name, value)


def _set_bases(turn: Turn, index: int, value: Any) -> Any:
    """The schedulers keep what they begin with in lists of their own. Returns the inverse."""
    lists = [bases for scheduler in turn.schedulers() if index < len(bases := getattr(scheduler, "base_lrs", []))]
    before = [bases[index] for bases in lists]
    for bases in lists:
        bases[index] = value.clone() if isinstance(value, Tensor) else value

    def undo() -> None:
        for bases, base in zip(lists, before, strict=True):
            bases[index] = base

    return undo


def _undo_moved(turn: Turn, index: int, option: str, before: Any, edited: Any) -> str:
    """A scheduler has moved the option since: take the edit's factor out again, where it is still in there."""
    group = turn.optimizer.param_groups[index]
    now, scheduler = group[option], type(turn.scheduler).__name__ if turn.scheduler is not None else "something"
    if option != "lr" or float(edited) == 0:
        return f"{scheduler} has moved it since: it stays {_shown(now)}"
    ahead = outlook.curve(turn, index, steps=1)
    scaled = now * (before / edited)
    group[option] = scaled
    if outlook.is_overridden(ahead, outlook.curve(turn, index, steps=1)):
        group[option] = now
        return f"{scheduler} has set its own since: it stays {_shown(now)}"
    return f"{scheduler} has moved it since: {arrow(_shown(now), _shown(scaled))}, as without the edit"


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        return float(one) == float(other)
    return isinstance(one, bool) is isinstance(other, bool) and bool(one == other)


def _shown(value: Any) -> str:
    return as_literal(value) or safe_text(value, repr)
