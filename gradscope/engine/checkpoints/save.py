"""Saving a checkpoint: what a training script would save, and what else it takes to go on bit for bit.

The file is a dict that plain `torch.load(path, weights_only=True)` reads:

    "state_dict"   of the model (of a dict of tensors: the tensors)
    "optimizer"    state_dict of the optimizer; with several optimizers, name -> state_dict
    "scheduler"    likewise, or None
    "scaler"       state_dict of the gradient scaler, or None
    "epoch"        of the next batch
    "step"         optimizer steps made
    "gradscope"    what only gradscope reads, see `_own_part`

State that the user's code keeps for itself (a counter, a generator inside a dataset) is not in it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from gradscope.engine.book.turns import Turn
from gradscope.engine.checkpoints.file import write
from gradscope.engine.checkpoints.plain_values import plain
from gradscope.engine.model.dropout import dropout_of
from gradscope.engine.model.modules import named_buffers, named_modules, state_dict_of
from gradscope.engine.model.parameters import is_uninitialised, named_tensors
from gradscope.engine.stepping.stepper import Stepper
from gradscope.engine.surroundings.blame import users_code
from gradscope.engine.surroundings.randomness import RandomStates
from gradscope.engine.surroundings.unwinding import is_interruption
from gradscope.engine.surroundings.usercode import cut_traceback, describe_error
from gradscope.protocol.failure import BadInput
from gradscope.protocol.messages.checkpoints import CheckpointSaved

FORMAT_VERSION = 1
SETTINGS = ("accumulate", "zero_grad", "clip_norm", "clip_value", "scheduler_unit", "scheduler_metric")
"""Of `Training`: they may have been changed by hand."""


def save_checkpoint(stepper: Stepper, path: str | os.PathLike[str]) -> CheckpointSaved:
    """Write the file. Raises BadInput inside a step, or if it cannot be written."""
    need_rest(stepper, "saved")
    left_out: list[str] = []
    file, size = write(path, contents(stepper, left_out))
    return CheckpointSaved(path=str(file), size_bytes=size, left_out=tuple(left_out))


def save_best(stepper: Stepper, path: str | os.PathLike[str]) -> CheckpointSaved:
    """Write the best weights: a bare state_dict. Raises BadInput if there are none, or if they cannot be written."""
    if stepper.best is None:
        metric = stepper.recipe.best_metric
        wanted = "Recipe(best_metric=...)" if metric is None else f"a validation that gives {metric!r}"
        raise BadInput(f"There are no best weights; expected {wanted}")
    left_out: list[str] = []
    file, size = write(path, plain(stepper.best.state_dict, left_out))
    return CheckpointSaved(path=str(file), size_bytes=size, left_out=tuple(left_out))


def need_rest(stepper: Stepper, done: str) -> None:
    """Raises BadInput if the session is not between two steps."""
    if stepper.is_broken:
        raise BadInput(f"No checkpoint can be {done}: a phase could not be undone; restart the engine")
    if not stepper.is_between_batches:
        raise BadInput(f"A checkpoint can be {done} between two steps: press Next batch to complete this one")


def contents(stepper: Stepper, left_out: list[str]) -> dict[str, Any]:
    """What goes into the file. `left_out` takes the places of what has no plain form."""
    own = _own_part(stepper)
    turns, scaler = stepper.training.turns, stepper.training.scaler
    position = stepper.position
    return {
        "state_dict": plain(state_of(stepper.recipe.model), left_out),
        "optimizer": plain(by_turn(turns, _optimizers(turns)), left_out, "optimizer"),
        "scheduler": plain(by_turn(turns, _schedules(turns)), left_out, "scheduler"),
        "scaler": None if scaler is None else plain(scaler.state_dict(), left_out, "scaler"),
        "epoch": position.epoch,
        "step": position.step,
        "gradscope": plain(own, left_out, "gradscope"),
    }


def by_turn(turns: Sequence[Turn], states: Mapping[str, Any]) -> Any:
    """A single optimizer's state itself, or name -> state; None for none."""
    if len(turns) == 1 and turns[0].name == "":
        return states.get("")
    return dict(states) or None


def _schedules(turns: Sequence[Turn]) -> dict[str, Any]:
    with users_code("scheduler.state_dict()"):
        return {turn.name: turn.scheduler.state_dict() for turn in turns if turn.scheduler is not None}


def _optimizers(turns: Sequence[Turn]) -> dict[str, Any]:
    with users_code("optimizer.state_dict()"):
        return {turn.name: turn.optimizer.state_dict() for turn in turns}


def state_of(model: Any) -> Mapping[str, Any]:
    """The state_dict of a model, or of a dict of tensors."""
    with users_code("model.state_dict()"):
        return state_dict_of(model) if isinstance(model, nn.Module) else dict(model)


def _own_part(stepper: Stepper) -> dict[str, Any]:
    """`recipe_sha256`; `random`: the states of Python's, numpy's and torch's generators; `loader`: the place in the data;
    and what of the training is in no state_dict."""
    training, loop, source = stepper.training, stepper.loop, stepper.training.source
    try:
        # The end of an epoch may draw random numbers: before their states are asked for.
        position = loop.batches.position()
    except BaseException as error:
        if is_interruption(error):
            raise
        raise BadInput(f"The data failed: {describe_error(error)}", traceback=cut_traceback(error)) from error
    best = stepper.best
    return {
        "format": FORMAT_VERSION,
        "recipe_sha256": None if source is None else source.sha256,
        "recipe_seed": None if source is None else source.seed,
        "classes": classes_of(stepper),
        "random": RandomStates.capture().packed(),
        "loader": position.packed(),
        "epoch_losses": {name: list(sums) for name, sums in loop.epoch_end.losses.items()},
        "settings": {name: getattr(training, name) for name in SETTINGS},
        "best": None if best is None else dict(vars(best)),
        "buffers": dict(hidden_buffers(stepper.recipe.model)),
        "gradients": {name: tensor.grad for name, tensor in _with_gradients_to_keep(stepper)},
        "others": dict(tensors_beside_the_model(stepper)),
        "loss": state_of(training.loss) if isinstance(training.loss, nn.Module) else {},
        **flags_of(stepper.recipe.model),
    }


def classes_of(stepper: Stepper) -> dict[str, Any]:
    """The names of what is trained with."""
    turns, loss = stepper.training.turns, stepper.training.loss
    return {
        "optimizer": {turn.name: type(turn.optimizer).__name__ for turn in turns},
        "scheduler": {turn.name: type(turn.scheduler).__name__ for turn in turns if turn.scheduler is not None},
        "loss": type(loss).__name__ if isinstance(loss, nn.Module) else getattr(loss, "__name__", ""),
        "precision": stepper.training.precision,
    }


def hidden_buffers(model: Any) -> Iterator[tuple[str, Tensor]]:
    """Buffers that a state_dict leaves out (persistent=False)."""
    if isinstance(model, nn.Module):
        shown = state_of(model).keys()
        with users_code("model.named_buffers()"):
            buffers = list(named_buffers(model))
        for name, buffer in buffers:
            if name not in shown and not is_uninitialised(buffer):
                yield name, buffer


def tensors_beside_the_model(stepper: Stepper) -> Iterator[tuple[str, Tensor]]:
    """What the optimizers hold that is none of the model's (the weights of a loss), by group and place."""
    known = {id(tensor) for tensor, _ in named_tensors(stepper.recipe.model).values()}
    for name, tensor in stepper.loop.gradients.movable().items():
        if id(tensor) not in known:
            yield name, tensor


def cleared_before_use(stepper: Stepper) -> set[int]:
    """Ids of tensors whose `.grad`, between two steps, is cleared before anything is added to it: a step clears only what its
    optimizer holds, and that only in "auto". Such gradients are in no file."""
    if stepper.training.zero_grad != "auto":
        return set()
    groups = [group for optimizer in stepper.training.optimizers for group in optimizer.param_groups]
    return {id(tensor) for group in groups for tensor in group["params"]}


def _with_gradients_to_keep(stepper: Stepper) -> Iterator[tuple[str, Tensor]]:
    """Whose `.grad` the next step adds to."""
    cleared = cleared_before_use(stepper)
    for name, tensor in trained_tensors(stepper):
        if tensor.grad is not None and id(tensor) not in cleared:
            yield name, tensor


def trained_tensors(stepper: Stepper) -> Iterator[tuple[str, Tensor]]:
    """The model's parameters and what else the optimizers hold."""
    for name, (tensor, _) in named_tensors(stepper.recipe.model).items():
        yield name, tensor
    yield from tensors_beside_the_model(stepper)


def flags_of(model: Any) -> dict[str, Any]:
    """`eval_layers`, `frozen` (parameters that require no gradient), `dropout` (layer -> p)."""
    modules = dict(named_modules(model)) if isinstance(model, nn.Module) else {}
    return {
        "eval_layers": [name for name, module in modules.items() if not module.training],
        "frozen": [name for name, (tensor, _) in named_tensors(model).items() if not tensor.requires_grad],
        "dropout": {name: p for name, module in modules.items() if (p := dropout_of(module)) is not None},
    }
