"""Edits of layers: requires_grad, train and eval mode, dropout."""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch import Tensor, nn

from gradscope.engine.book.turns import groups_of
from gradscope.engine.edits.change import Change, arrow, counted, sentence
from gradscope.engine.model.dropout import dropout_of, set_dropout
from gradscope.engine.model.modules import modules_in, named_modules, parameters_of, set_training
from gradscope.engine.model.parameters import named_tensors
from gradscope.engine.stepping.stepper import Stepper
from gradscope.engine.surroundings.unwinding import is_interruption
from gradscope.engine.surroundings.usercode import describe_error
from gradscope.engine.wording import listed
from gradscope.protocol.failure import BadInput
from gradscope.protocol.messages.edits import EditDropout, EditMode, EditRequiresGrad


def edit_requires_grad(stepper: Stepper, edit: EditRequiresGrad) -> Change:
    """`parameter.requires_grad_(...)` of a parameter, or of every parameter of a layer."""
    named = parameters_named(stepper, edit.name, is_parameter=edit.is_parameter)
    changed = {name: tensor for name, tensor in named.items() if tensor.requires_grad is not edit.requires_grad}
    state = "trainable" if edit.requires_grad else "frozen"
    if not changed:
        raise BadInput(f"{_label(edit.name)} is {state} already")
    try:
        for tensor in changed.values():
            tensor.requires_grad_(edit.requires_grad)
    except RuntimeError as error:
        _set_requires_grad(changed.values(), not edit.requires_grad)
        raise BadInput(f"{_label(edit.name)} cannot be made {state}: {error}") from error
    verb = "unfrozen" if edit.requires_grad else "frozen"
    text = f"{_label(edit.name)} {verb}" + ("" if edit.is_parameter else f" ({counted(len(changed), 'parameter')})")
    return Change(
        text=sentence([text, *_consequences(stepper, changed, requires_grad=edit.requires_grad)]),
        undo=lambda: _set_requires_grad(changed.values(), not edit.requires_grad),
    )


def edit_mode(stepper: Stepper, edit: EditMode) -> Change:
    """`layer.train()` or `layer.eval()`."""
    layer = _layer_named(stepper, edit.layer)
    before = [(module, module.training) for module in modules_in(layer)]
    mode = "train" if edit.training else "eval"

    def undo() -> None:
        for module, flag in before:
            module.training = flag

    try:
        set_training(layer, edit.training)
    except BaseException as error:
        undo()
        if is_interruption(error):
            raise
        raise BadInput(f"{_label(edit.layer)} cannot be put in {mode} mode: {describe_error(error)}") from error
    if all(module.training is flag for module, flag in before):
        raise BadInput(f"{_label(edit.layer)} is in {mode} mode already")
    below = f", with {counted(len(before) - 1, 'layer')} below it" if len(before) > 1 else ""
    return Change(text=f"{_label(edit.layer)} in {mode} mode{below}", undo=undo)


def edit_dropout(stepper: Stepper, edit: EditDropout) -> Change:
    """`layer.p = p`, of every dropout in a layer."""
    if math.isnan(edit.p) or not 0 <= edit.p <= 1:
        raise BadInput(f"The dropout of {_label(edit.layer)} is {edit.p}; expected a probability from 0 to 1")
    layer = _layer_named(stepper, edit.layer)
    before = [(module, p) for module in modules_in(layer) if (p := dropout_of(module)) is not None]
    if not before:
        raise BadInput(f"There is no dropout in {_label(edit.layer)}")
    if all(p == edit.p for _, p in before):
        raise BadInput(f"The dropout of {_label(edit.layer)} is {edit.p} already")
    for module, _ in before:
        set_dropout(module, edit.p)

    def undo() -> None:
        for module, p in before:
            set_dropout(module, p)

    many = f" ({counted(len(before), 'dropout')})" if len(before) > 1 else ""
    values = ", ".join(str(p) for p in dict.fromkeys(p for _, p in before))
    return Change(text=f"Dropout p of {_label(edit.layer)}{many}: {arrow(values, edit.p)}", undo=undo)


def parameters_named(stepper: Stepper, name: str, *, is_parameter: bool) -> dict[str, Tensor]:
    """A parameter (under any of its names), or all parameters of a layer. Raises BadInput if there are none."""
    known = named_tensors(stepper.recipe.model)
    if is_parameter:
        for first, (tensor, aliases) in known.items():
            if name == first or name in aliases:
                return {first: tensor}
        raise BadInput(f"The model has no parameter {name!r:.200}")
    if isinstance(stepper.recipe.model, nn.Module):
        own = {id(tensor) for tensor in parameters_of(_layer_named(stepper, name))}
    elif name:
        raise BadInput(f"The model has no layer {name!r:.200}: it is a dict of tensors")
    else:
        own = {id(tensor) for tensor, _ in known.values()}
    found = {first: tensor for first, (tensor, _) in known.items() if id(tensor) in own}
    if not found:
        raise BadInput(f"{_label(name)} has no parameters")
    return found


# ------------------------------------------------------------------------------------------- private


def _layer_named(stepper: Stepper, name: str) -> nn.Module:
    model = stepper.recipe.model
    layers: dict[str, nn.Module] = (
        dict(named_modules(model, remove_duplicate=False)) if isinstance(model, nn.Module) else {}
    )
    if name not in layers:
        raise BadInput(f"The model has no layer {name!r:.200}")
    return layers[name]


def _label(name: str) -> str:
    return name or "The model"


def _set_requires_grad(tensors: Iterable[Tensor], flag: bool) -> None:
    for tensor in tensors:
        tensor.requires_grad_(flag)


def _consequences(stepper: Stepper, changed: dict[str, Tensor], *, requires_grad: bool) -> list[str]:
    training = stepper.training
    held = {id(tensor) for group in groups_of(training.optimizers) for tensor in group["params"]}
    found = []
    if requires_grad:
        orphans = [name for name, tensor in changed.items() if id(tensor) not in held]
        if orphans:
            found.append(f"no optimizer holds {listed(orphans)}, so no step moves it: add it to a parameter group")
    else:
        left = [name for name, tensor in changed.items() if tensor.grad is not None and id(tensor) in held]
        if left and training.zero_grad == "manual":
            found.append(f"{listed(left)} still has a gradient, and is moved by it until Zero grad")
        if not any(tensor.requires_grad for tensor, _ in named_tensors(stepper.recipe.model).values()):
            found.append("nothing is left that requires a gradient: a backward is not possible")
    tied = [
        alias
        for name, (_, aliases) in named_tensors(stepper.recipe.model).items()
        if name in changed
        for alias in aliases
    ]
    if tied:
        found.append(f"also known as {listed(tied)}")
    return found
