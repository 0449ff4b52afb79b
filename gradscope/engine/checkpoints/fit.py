"""What a checkpoint file holds, and what of it does not fit a session: found before anything is changed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from gradscope.engine.checkpoints import misfits as forms
from gradscope.engine.checkpoints.form import check_groups, check_own, check_scaler, check_schedule, check_state
from gradscope.engine.checkpoints.misfits import Misfit
from gradscope.engine.checkpoints.plain_values import plain
from gradscope.engine.checkpoints.save import state_of
from gradscope.engine.model.parameters import is_uninitialised
from gradscope.engine.stepping.stepper import Stepper
from gradscope.engine.wording import listed, with_article
from gradscope.protocol.failure import BadInput
from gradscope.protocol.messages.checkpoints import CheckpointMismatch

_WEIGHTS = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.")
"""That DataParallel (and DistributedDataParallel) and torch.compile put before every name."""
_EXTRA_STATE = "_extra_state"


@dataclass(kw_only=True)
class Found:
    """The parts of a file. None: the file does not have it."""

    weights: dict[str, Any]
    optimizers: dict[str, Any] | None
    """By the session's names."""
    schedulers: dict[str, Any] | None
    scaler: Mapping[str, Any] | None
    epoch: int | None
    step: int | None
    own: Mapping[str, Any] | None
    """What gradscope has added."""
    notes: list[str]
    problems: list[str]
    """Sentences of what does not fit."""


def parts_of(content: Mapping[str, Any], file: Path, stepper: Stepper) -> Found:
    """Raises BadInput if there are no weights in it, and Misfit where a part cannot be what it is to be."""
    notes: list[str] = []
    problems: list[str] = []
    name = next((key for key in _WEIGHTS if isinstance(content.get(key), Mapping)), None)
    weights: Mapping[str, Any] = content if name is None else content[name]
    rest: Mapping[str, Any] = {} if name is None else content
    bad = [key for key, value in weights.items() if not _is_weight(key, value)]
    if not weights or bad:
        keys = listed([str(key) for key in content], most=6) or "nothing"
        raise BadInput(f"{file} is no checkpoint: it holds {keys}; expected state_dict (or model_state_dict, or model)")
    own = rest.get("gradscope")
    if own is not None:
        check_own(own)
    return Found(
        weights=_with_our_names(weights, state_of(stepper.recipe.model), notes),
        optimizers=_by_turn(rest, ("optimizer", "optimizer_state_dict"), stepper, problems),
        schedulers=_by_turn(rest, ("scheduler", "scheduler_state_dict", "lr_scheduler"), stepper, problems),
        scaler=_scaler(rest, stepper, problems),
        epoch=_count(rest, ("epoch",)),
        step=_count(rest, ("step", "global_step")),
        own=own,
        notes=notes,
        problems=problems,
    )


def _is_weight(key: object, value: object) -> bool:
    return isinstance(key, str) and (isinstance(value, Tensor) or key.endswith(_EXTRA_STATE))


def _with_our_names(weights: Mapping[str, Any], own: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    """The prefixes of wrappers taken off, or put on, where that makes the names those of the model."""
    found = dict(weights)
    for prefix in _PREFIXES:
        if all(key.startswith(prefix) for key in found) and not any(key.startswith(prefix) for key in own):
            found = {key.removeprefix(prefix): value for key, value in found.items()}
            notes.append(f'The names in the file begin with "{prefix}" (of a wrapped model): it was taken off')
        elif own and all(key.startswith(prefix) for key in own) and not any(key.startswith(prefix) for key in found):
            found = {prefix + key: value for key, value in found.items()}
            notes.append(
                f'The names in the model begin with "{prefix}" (a wrapped model): it was put before those of the file'
            )
    return found


def _first(rest: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((rest[name] for name in names if rest.get(name) is not None), None)


def _scaler(rest: Mapping[str, Any], stepper: Stepper, problems: list[str]) -> Mapping[str, Any] | None:
    found, scaler = _first(rest, ("scaler", "scaler_state_dict")), stepper.training.scaler
    if found is None or found == {}:
        return None
    try:
        forms.dict_of(forms.anything)(found, "scaler")
        if scaler is not None:
            check_scaler(scaler.state_dict(), found)
    except Misfit as misfit:
        problems.append(str(misfit))
        return None
    return dict(found)


def _count(rest: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    """A script may have counted in floats, or in a tensor."""
    name = next((name for name in names if rest.get(name) is not None), None)
    if name is None:
        return None
    found = rest[name]
    count = float(found) if forms.is_number(found) else math.nan
    if not count.is_integer() or not 0 <= count < forms.MAX_WHOLE:
        raise Misfit(name, found, "a whole number from 0")
    return int(count)


def _by_turn(
    rest: Mapping[str, Any], names: tuple[str, ...], stepper: Stepper, problems: list[str]
) -> dict[str, Any] | None:
    found = _first(rest, names)
    if found is None:
        return None
    ours, what = [turn.name for turn in stepper.training.turns], names[0]
    if not isinstance(found, Mapping):
        problems.append(f"{what}: the file has {with_article(type(found).__name__)}; expected a state_dict")
        return None
    if ours == [""]:
        return {"": found}
    if not all(isinstance(name, str) and isinstance(state, Mapping) for name, state in found.items()):
        problems.append(f"{what}: the file has one; expected a dict with {', '.join(ours)}")
        return None
    unknown = [name for name in found if name not in ours]
    if unknown:
        problems.append(f"{what}: the file has {listed(unknown)}; expected {', '.join(ours)}")
        return None
    return dict(found)


# ---------------------------------------------------------------------------------------------------- comparing


def compare(found: Found, file: Path, stepper: Stepper) -> CheckpointMismatch:
    """What does not fit. What is left in `found` then fits."""
    own = state_of(stepper.recipe.model)
    wrong = dict(_shapes(found.weights, own))
    theirs = found.weights
    found.weights = {name: value for name, value in theirs.items() if name in own and name not in wrong}
    mismatch = CheckpointMismatch(
        path=str(file),
        missing=tuple(name for name in own if name not in theirs),
        unexpected=tuple(name for name in theirs if name not in own),
        wrong_shape=tuple(wrong.values()),
        other=(*found.problems, *_state_problems(found, stepper)),
        fitting=len(found.weights),
        total=len(own),
    )
    converted = [
        name
        for name, value in found.weights.items()
        if isinstance(own[name], Tensor) and isinstance(value, Tensor) and value.dtype != own[name].dtype
    ]
    if converted:
        before, after = found.weights[converted[0]].dtype, own[converted[0]].dtype
        found.notes.append(f"Converted from {_short(before)} to {_short(after)}: {listed(converted)}")
    return mismatch


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _shapes(weights: Mapping[str, Any], own: Mapping[str, Any]) -> list[tuple[str, str]]:
    wrong = []
    for name, value in weights.items():
        mine = own.get(name)
        if not isinstance(mine, Tensor) or is_uninitialised(mine):
            continue
        if not isinstance(value, Tensor):
            wrong.append((name, f"{name}: {with_article(type(value).__name__)} in the file, a tensor in the model"))
        elif value.shape != mine.shape and not (mine.dim() == 0 and value.shape == (1,)):
            wrong.append((name, f"{name}: {tuple(value.shape)} in the file, {tuple(mine.shape)} in the model"))
        elif value.is_complex() != mine.is_complex() or value.is_meta:
            kinds = "without values" if value.is_meta else str(value.dtype).removeprefix("torch.")
            wrong.append((name, f"{name}: {kinds} in the file, {str(mine.dtype).removeprefix('torch.')} in the model"))
    return wrong


def _state_problems(found: Found, stepper: Stepper) -> list[str]:
    """Of optimizers and schedulers, which are taken out of `found` then."""
    problems: list[str] = []
    classes = found.own.get("classes", {}) if found.own is not None else {}
    for turn in stepper.training.turns:
        where = f" {turn.name}" if turn.name else ""
        state = (found.optimizers or {}).get(turn.name)
        if state is not None:
            problem = _other_class(classes, "optimizer", turn.name, turn.optimizer) or _optimizer_problem(
                turn.optimizer, state
            )
            if problem:
                problems.append(f"optimizer{where}: {problem}")
                assert found.optimizers is not None
                del found.optimizers[turn.name]
        state = (found.schedulers or {}).get(turn.name)
        if state is not None and turn.scheduler is not None:
            problem = _other_class(classes, "scheduler", turn.name, turn.scheduler) or _scheduler_problem(
                turn.scheduler, state
            )
            if problem:
                problems.append(f"scheduler{where}: {problem}")
                assert found.schedulers is not None
                del found.schedulers[turn.name]
    return problems


def _other_class(classes: Any, kind: str, name: str, ours: object) -> str:
    saved = classes.get(kind, {}).get(name) if isinstance(classes, Mapping) else None
    mine = type(ours).__name__
    return f"the file has a {saved}, and the session has a {mine}" if saved is not None and saved != mine else ""


def _optimizer_problem(optimizer: Optimizer, saved: Mapping[str, Any]) -> str:
    groups, state = saved.get("param_groups"), saved.get("state")
    if not isinstance(groups, list) or not isinstance(state, Mapping):
        return "the file has no state_dict of an optimizer; expected state and param_groups"
    if not all(isinstance(group, Mapping) and isinstance(group.get("params"), list) for group in groups):
        return "its parameter groups are damaged"
    if len(groups) != len(optimizer.param_groups):
        return f"{len(groups)} parameter groups in the file, {len(optimizer.param_groups)} in the session"
    for number, (theirs, ours) in enumerate(zip(groups, optimizer.param_groups, strict=True)):
        if len(theirs["params"]) != len(ours["params"]):
            return f"group {number} has {len(theirs['params'])} parameters in the file, {len(ours['params'])} in the session"
        missing, unexpected = _options(ours) - theirs.keys(), theirs.keys() - ours.keys()
        if missing and unexpected:
            return (
                f"the file's is of another class: group {number} has the options {', '.join(sorted(map(str, unexpected)))}; "
                f"expected {', '.join(sorted(missing))}"
            )
    try:
        check_groups(optimizer, groups)
        numbers = [number for group in groups for number in group["params"]]
        tensors = [tensor for group in optimizer.param_groups for tensor in group["params"]]
        check_state(optimizer, state, dict(zip(numbers, tensors, strict=True)))
    except Misfit as misfit:
        return str(misfit)
    return ""


def _options(group: Mapping[str, Any]) -> set[str]:
    """Those that a file can have."""
    return set(plain(group, []).keys())


def _scheduler_problem(scheduler: LRScheduler, saved: Mapping[str, Any]) -> str:
    return _key_problem(plain(scheduler.state_dict(), []), saved)


def _public(state: Mapping[Any, Any]) -> set[str]:
    """The names by which classes differ, and not versions of torch."""
    return {str(key) for key in state if not str(key).startswith("_")} - {"verbose", "default_min_lr"}


def _key_problem(ours: Mapping[str, Any], theirs: Any) -> str:
    if not isinstance(theirs, Mapping):
        return f"the file has {with_article(type(theirs).__name__)}; expected a state_dict"
    missing, unexpected = _public(ours) - _public(theirs), _public(theirs) - _public(ours)
    if missing or unexpected:
        return (
            f"the file's is of another class: it has {listed(sorted(unexpected)) or 'nothing more'}; "
            f"expected {listed(sorted(missing)) or 'nothing more'}"
        )
    try:
        check_schedule(ours, theirs)
    except Misfit as misfit:
        return str(misfit)
    nested, saved = ours.get("_schedulers", []), theirs.get("_schedulers", [])
    if not isinstance(saved, list):
        return str(Misfit("_schedulers", saved, "a list"))
    if len(nested) != len(saved):
        return f"{len(saved)} nested schedulers in the file, {len(nested)} in the session"
    return next(filter(None, map(_key_problem, nested, saved)), "")
