"""Loading a checkpoint into a session: all of it, or nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from gradscope.engine.checkpoints.file import read
from gradscope.engine.checkpoints.fit import Found, compare, parts_of
from gradscope.engine.checkpoints.form import check_tensors
from gradscope.engine.checkpoints.misfits import Misfit
from gradscope.engine.checkpoints.plain_values import like
from gradscope.engine.checkpoints.save import (
    FORMAT_VERSION,
    SETTINGS,
    classes_of,
    hidden_buffers,
    need_rest,
    tensors_beside_the_model,
    trained_tensors,
)
from gradscope.engine.checkpoints.undo import SessionUndo
from gradscope.engine.data.batches import BatchSource
from gradscope.engine.data.loader_position import LoaderPosition
from gradscope.engine.model.dropout import set_dropout
from gradscope.engine.model.modules import named_modules, unhidden
from gradscope.engine.model.parameters import is_uninitialised, named_tensors
from gradscope.engine.stepping.best import Best
from gradscope.engine.stepping.stepper import Stepper
from gradscope.engine.surroundings.blame import own_failure
from gradscope.engine.surroundings.randomness import RandomStates
from gradscope.engine.surroundings.unwinding import is_interruption
from gradscope.engine.surroundings.usercode import cut_traceback, describe_error
from gradscope.protocol.failure import BadInput
from gradscope.protocol.messages.checkpoints import CheckpointLoaded, CheckpointMismatch

_DAMAGED = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError)


class DoesNotFit(BadInput):
    """A checkpoint and a session do not go together; nothing was changed."""

    def __init__(self, sentence: str, mismatch: CheckpointMismatch) -> None:
        super().__init__(sentence, traceback=listing(mismatch))
        self.mismatch = mismatch


def listing(mismatch: CheckpointMismatch) -> str:
    """The mismatches as lines of text."""
    parts = (
        ("Missing in the file", mismatch.missing),
        ("Unexpected in the file", mismatch.unexpected),
        ("Wrong shape", mismatch.wrong_shape),
        ("Optimizer and scheduler", mismatch.other),
    )
    return "\n".join(f"{title}:\n" + "\n".join(f"  {line}" for line in lines) for title, lines in parts if lines)


def load_checkpoint(stepper: Stepper, path: str | os.PathLike[str], *, strict: bool = True) -> CheckpointLoaded:
    """See `Session.load_checkpoint`."""
    need_rest(stepper, "loaded")
    return load_content(stepper, *read(path), strict=strict)


def load_content(stepper: Stepper, file: Path, content: Mapping[str, Any], *, strict: bool = True) -> CheckpointLoaded:
    """What was read from a file. Raises as `load_checkpoint` does."""
    need_rest(stepper, "loaded")
    try:
        found = parts_of(content, file, stepper)
        mismatch = compare(found, file, stepper)
        resumed = None if mismatch and strict else _resumed(found, stepper, is_whole=not mismatch)
    except Misfit as misfit:
        raise BadInput(f"{file} is damaged: {misfit}") from None
    except _DAMAGED as error:
        raise BadInput(f"{file} is damaged: its parts are not what they should be ({describe_error(error)})") from error
    if mismatch and (strict or not found.weights):
        raise DoesNotFit(f"{file} does not fit: {_summary(mismatch)}", mismatch)
    loaded: list[str] = []
    before = SessionUndo(stepper)
    try:
        _load_weights(found, stepper, loaded)
        _load_training(found, stepper, loaded)
        if resumed is not None:
            _load_rest(resumed, stepper)
        batches = _batches(found, resumed, stepper, strict=strict)
        if resumed is not None:
            # Going through the data has drawn from them.
            resumed.random.restore()
    except BaseException as error:
        before.restore()
        if is_interruption(error) or own_failure(error) is not None:
            raise
        raise BadInput(
            f"{file} could not be loaded: {describe_error(error)}; nothing was changed", traceback=cut_traceback(error)
        ) from error
    if resumed is not None:
        loaded += ["random states", "place in the data"]
    step = stepper.position.step if found.step is None else found.step
    stepper.continue_at(step, batches, {} if resumed is None else resumed.epoch_losses)
    return CheckpointLoaded(
        path=str(file),
        loaded=tuple(loaded),
        position=stepper.position,
        is_continued=resumed is not None and not resumed.exceptions,
        has_best=stepper.best is not None,
        notes=(*found.notes, *(resumed.exceptions if resumed is not None else ())),
        left=mismatch or None,
    )


def _summary(mismatch: CheckpointMismatch) -> str:
    parts = (
        (len(mismatch.missing), "missing"),
        (len(mismatch.unexpected), "unexpected"),
        (len(mismatch.wrong_shape), "of another shape"),
    )
    names = ", ".join(f"{count} {'name is' if count == 1 else 'names are'} {what}" for count, what in parts if count)
    return "; ".join(filter(None, [names, *mismatch.other]))


# ---------------------------------------------------------------------------------------------------- gradscope's own part


@dataclass(kw_only=True)
class _Resumed:
    """What it takes to go on where the file was saved."""

    packed: Mapping[str, Any]
    random: RandomStates
    position: LoaderPosition
    epoch_losses: dict[str, tuple[float, int]]
    best: Best | None
    exceptions: list[str]
    """Why it will not be the same bit for bit."""


def _resumed(found: Found, stepper: Stepper, *, is_whole: bool) -> _Resumed | None:
    """None where the session cannot go on as if nothing had been: a note says why."""
    own, source = found.own, stepper.training.source
    if own is None:
        return None
    if own["format"] != FORMAT_VERSION:
        found.notes.append(f"Its place in the data is told in format {own['format']}; expected {FORMAT_VERSION}")
        return None
    if own["recipe_sha256"] != (None if source is None else source.sha256):
        found.notes.append("The recipe is another one, or was changed since: random states and place in the data stay")
        return None
    if not is_whole:
        found.notes.append("Not everything fits: random states and place in the data stay as they are")
        return None
    saved, ours = own["classes"], classes_of(stepper)
    exceptions = [
        f"The {name} was {saved[name]} when it was saved, and is {ours[name]} now"
        for name in ("loss", "precision")
        if saved[name] != ours[name]
    ]
    seed = None if source is None else source.seed
    if own["recipe_seed"] != seed:
        exceptions.append(
            f"It was saved with the seed {own['recipe_seed']}, and the seed is {seed} now: what recipe() makes of random "
            "numbers (data, say) is not the same"
        )
    check_tensors(own, stepper)
    position = LoaderPosition.unpacked(own["loader"])
    if position.epoch and stepper.loop.batches.has_persistent_workers:
        exceptions.append("The loader's workers are persistent: random numbers that they draw begin anew")
    if position.begun is not None and not position.begun.is_complete:
        exceptions.append("The data draws random numbers as it goes: the batches before this place had others")
    return _Resumed(
        packed=own,
        random=RandomStates.unpacked(own["random"]),
        position=position,
        epoch_losses={name: (total, count) for name, (total, count) in own["epoch_losses"].items()},
        best=None if own["best"] is None else Best(**own["best"]),
        exceptions=exceptions,
    )


def _batches(found: Found, resumed: _Resumed | None, stepper: Stepper, *, strict: bool) -> BatchSource:
    batches = stepper.loop.batches
    if resumed is not None:
        try:
            with stepper.loop.user_code():
                return batches.elsewhere(resumed.position)
        except BadInput as error:
            if strict:
                raise
            resumed.exceptions.append(f"{error}: the pass over the data begins anew")
    if found.epoch is None:
        return batches
    return batches.at_start_of(found.epoch)


def _load_rest(resumed: _Resumed, stepper: Stepper) -> None:
    """What is in no state_dict, but for the place in the data and the random states."""
    packed, model, training = resumed.packed, stepper.recipe.model, stepper.training
    _copy_all(packed["buffers"], dict(hidden_buffers(model)))
    _copy_all(packed["others"], dict(tensors_beside_the_model(stepper)))
    if isinstance(training.loss, nn.Module):
        training.loss.load_state_dict(packed["loss"])
    for name, tensor in trained_tensors(stepper):
        gradient = packed["gradients"].get(name)
        tensor.grad = None if gradient is None else gradient.to(tensor.device)
    for name in SETTINGS:
        setattr(training, name, packed["settings"][name])
    _set_flags(model, packed)
    stepper.best = resumed.best


def _copy_all(saved: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, tensor in ours.items():
            if name in saved and not is_uninitialised(tensor):
                tensor.detach().copy_(saved[name])


def _set_flags(model: Any, packed: Mapping[str, Any]) -> None:
    if not isinstance(model, nn.Module):
        return
    for name, module in named_modules(model):
        module.training = name not in packed["eval_layers"]
        if name in packed["dropout"]:
            set_dropout(module, packed["dropout"][name])
    for name, (parameter, _) in named_tensors(model).items():
        if parameter.requires_grad != (name not in packed["frozen"]):
            parameter.requires_grad_(name not in packed["frozen"])


# ---------------------------------------------------------------------------------------------------- state_dicts


def _load_weights(found: Found, stepper: Stepper, loaded: list[str]) -> None:
    model = stepper.recipe.model
    if isinstance(model, nn.Module):
        with unhidden(model):
            model.load_state_dict(found.weights, strict=False)
    else:
        _copy_all(found.weights, model)
    for _, tensor in trained_tensors(stepper):
        # Those that are there belong to the weights before.
        tensor.grad = None
    loaded.append("weights")


def _load_training(found: Found, stepper: Stepper, loaded: list[str]) -> None:
    training, is_ours = stepper.training, found.own is not None
    for what, states, owners in (
        ("scheduler", found.schedulers, {turn.name: turn.scheduler for turn in training.turns if turn.scheduler}),
        ("optimizer", found.optimizers, {turn.name: turn.optimizer for turn in training.turns}),
    ):
        if states is None and owners:
            found.notes.append(f"The file has no {what}: the {what}'s state stays as it is")
        for name, state in (states or {}).items():
            owner = owners.get(name)
            if owner is None:
                found.notes.append(f"The file's {what} {name}".rstrip() + " is not used: the recipe has none")
                continue
            if isinstance(owner, Optimizer):
                _load_optimizer(owner, state, keeps_dtypes=is_ours)
            elif isinstance(owner, LRScheduler):
                owner.load_state_dict(like(owner.state_dict(), state))
            if what not in loaded:
                loaded.append(what)
    if found.scaler and training.scaler is not None:
        training.scaler.load_state_dict(dict(found.scaler))
        loaded.append("loss scale")
    elif found.scaler:
        found.notes.append('The file\'s loss scale is not used: the recipe has not precision="fp16"')


def _load_optimizer(optimizer: Optimizer, saved: Mapping[str, Any], *, keeps_dtypes: bool) -> None:
    groups = []
    for theirs, ours in zip(saved["param_groups"], optimizer.param_groups, strict=True):
        # An option that an older version did not have, or that has no plain form, stays as it is.
        stays = {key: value for key, value in ours.items() if key not in theirs and key != "params"}
        groups.append({**like({**ours, "params": None}, theirs), **stays})
    optimizer.load_state_dict({"state": dict(saved["state"]), "param_groups": groups})
    if not keeps_dtypes:
        return
    # torch gives floating-point state the dtype of its parameter; an optimizer may have it in another one.
    indices = [index for group in groups for index in group["params"]]
    tensors = [tensor for group in optimizer.param_groups for tensor in group["params"]]
    for index, tensor in zip(indices, tensors, strict=True):
        for key, value in saved["state"].get(index, {}).items():
            now = optimizer.state[tensor].get(key)
            if isinstance(value, Tensor) and isinstance(now, Tensor) and now.dtype != value.dtype:
                optimizer.state[tensor][key] = value.to(now.device)
