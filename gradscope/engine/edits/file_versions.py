"""A recipe file loaded anew while its training is under way: what the training may take of it, as it was when loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from gradscope.engine.aside.holders import EmptyHolder
from gradscope.engine.aside.kinds import is_users_class
from gradscope.engine.aside.walk import Reached
from gradscope.engine.edits.other_file import is_other_code, what_stays
from gradscope.engine.model.buffers import named_buffers
from gradscope.engine.model.compiled import eager
from gradscope.engine.model.modules import modules_in, named_modules
from gradscope.engine.model.parameters import named_tensors
from gradscope.engine.model.placement import move_model, move_optimizer_state
from gradscope.engine.recipe.code import Code
from gradscope.engine.recipe.facts import SETTINGS, Facts, facts_of
from gradscope.engine.recipe.fields import Source
from gradscope.engine.recipe.loading import LoadedAgain, load_again
from gradscope.engine.recipe.prints import attributes_of, is_shown
from gradscope.engine.recipe.recipe import Recipe
from gradscope.engine.stepping.stepper import Stepper
from gradscope.engine.surroundings.error_parts import class_name
from gradscope.engine.surroundings.unwinding import is_interruption
from gradscope.engine.surroundings.usercode import cut_traceback, describe_error
from gradscope.engine.wording import listed
from gradscope.protocol.failure import BadInput

OPEN_AGAIN = "open the file again for that"


def named_layer(name: str) -> str:
    return f"layer {name}" if name else "the model"


def object_of_user(value: Any) -> object:
    """It, or what it holds, if that is an object of a class that the user has written; else None."""
    if isinstance(value, (Tensor, nn.Module)):
        return None
    if not isinstance(value, type) and is_users_class(type(value)):
        return value
    inside: Iterable[Any] = ()
    if isinstance(value, dict):
        inside = (*dict.keys(value), *dict.values(value))
    elif isinstance(value, (list, tuple, set, frozenset)):
        inside = value
    return next((found for item in inside if (found := object_of_user(item)) is not None), None)


@dataclass(frozen=True, kw_only=True, eq=False)
class Version:
    """Its optimizers hold the parameters of the model that is trained, and nothing of the new model is kept but its classes
    and plain attributes."""

    source: Source
    facts: Facts
    loss: Any
    steps: Mapping[str, Any]
    """By the names of the turns."""
    optimizers: Mapping[str, Optimizer]
    schedulers: Mapping[str, LRScheduler]
    settings: Mapping[str, Any]
    trained: Mapping[str, bool]
    """By the names of the parameters: whether each requires a gradient."""
    attributes: Mapping[str, Mapping[str, Any]]
    """Of every layer by its name."""
    code: Code
    own_models: Mapping[str, str] = field(default_factory=dict)
    """What holds the new model itself, and where, in words: "loss", or the name of a turn."""
    _reached: Reached

    @property
    def name(self) -> str:
        return self.source.path.name

    def begin(self) -> None:
        """Everything that was loaded is as it was then: it may have been trained with, and undone, since."""
        for _, _, holder in self._reached.found:
            if holder.can_be_put_back and not isinstance(holder, EmptyHolder):
                holder.put_back()


def load_version(stepper: Stepper) -> Version:
    """The file as it is on disk now; never one that was loaded before: its parts may be in use, or come back by undoing.
    Raises BadInput, and all is as before, where it cannot be loaded, says what the training goes by already, or has what
    cannot be taken in place."""
    training = stepper.training
    source, base = training.source, training.facts
    if source is None:
        raise BadInput("The recipe was made in Python, and is in no file that could have been edited")
    name = source.path.name
    if base is None:
        raise BadInput(f"What {name} said when it was opened could not be noted: open it again instead")
    with stepper.loop.user_code():
        again = load_again(source.path, source.seed)
    with again.imported():
        facts = _facts(again.recipe, name)
    if facts == base:
        raise BadInput(f"Nothing in {name} that this training goes by has changed")
    problems = what_stays(base, facts)
    if not problems and is_other_code(base, facts):
        problems += _of_workers(stepper.recipe.dataset)
        of_batch = object_of_user(stepper.loop.batch)
        if of_batch is not None:
            problems.append(f"code, while batches hold objects of {class_name(type(of_batch))} as it was")
        hooked = [layer or "the model" for layer, of in base.layers.items() if of.hooks]
        if hooked:
            problems.append(f"code, while hooks of the file as it was are on {listed(hooked)}")
    if again.sets_torch:
        problems.append("settings of torch for the whole process")
    if problems:
        raise BadInput(f"Training cannot go on with the edited {name}: {listed(problems, most=5)}; {OPEN_AGAIN}")
    with again.imported():
        return _version(stepper, again, base, facts)


# ------------------------------------------------------------------------------------------- private


def _facts(recipe: Recipe, name: str) -> Facts:
    try:
        return facts_of(recipe)
    except Exception as error:
        if is_interruption(error):
            raise
        said = f"The recipe of {name} cannot be looked at: {describe_error(error)}"
        raise BadInput(said, traceback=cut_traceback(error)) from error


def _of_workers(dataset: Any) -> list[str]:
    """New workers are sent the dataset, whose class has to be the one that can be imported."""
    if isinstance(dataset, DataLoader) and dataset.num_workers:
        context = dataset.multiprocessing_context
        method = context.get_start_method() if context is not None else _start_method()
        if method != "fork":
            return [f"code, while workers of the DataLoader are started by {method}"]
    return []


def _start_method() -> str:
    import torch.multiprocessing

    return torch.multiprocessing.get_start_method()


def _version(stepper: Stepper, again: LoadedAgain, base: Facts, facts: Facts) -> Version:
    recipe, source = again.recipe, again.recipe.source
    assert source is not None
    live = {name: tensor for name, (tensor, _) in named_tensors(stepper.recipe.model).items()}
    new = {name: tensor for name, (tensor, _) in named_tensors(recipe.model).items()}
    _check_live(live, new, source.path)
    given = recipe.training_step
    steps = {name: eager(given[name] if isinstance(given, dict) else given) for name in recipe.optimizers}
    loss = eager(recipe.loss)
    roots = {"loss": loss, **{f"training_step {name}".rstrip(): step for name, step in steps.items()}}
    of_new = {id(tensor) for tensor in (*new.values(), *(found[0] for found in named_buffers(recipe.model).values()))}
    # The optimizer of the edited file still has that file's parameters: what reads it is found too.
    own_models = {name: place for name, root in roots.items() if (place := _place_of(root, name, of_new))}
    layers = dict(named_modules(recipe.model, remove_duplicate=False)) if isinstance(recipe.model, nn.Module) else {}
    own_models |= _own_models_of_layers(layers, base, facts, of_new)
    for optimizer in recipe.optimizers.values():
        _hold(optimizer, {id(tensor): live[name] for name, tensor in new.items()})
    if isinstance(loss, nn.Module):
        move_model(loss, stepper.device)
    return Version(
        source=source,
        facts=facts,
        loss=loss,
        steps=steps,
        optimizers=recipe.optimizers,
        schedulers=recipe.schedulers,
        settings={name: getattr(recipe, name) for name in SETTINGS},
        trained={name: tensor.requires_grad for name, tensor in new.items()},
        attributes={name: attributes_of(layer) for name, layer in layers.items()},
        code=Code(_classes(stepper, layers, loss), dict(again.modules)),
        own_models=own_models,
        _reached=_reached(stepper, {**roots, "optimizers": recipe.optimizers, "schedulers": recipe.schedulers}),
    )


def _check_live(live: Mapping[str, Tensor], new: Mapping[str, Tensor], path: Path) -> None:
    """The model may have been changed by hand since it was loaded."""
    missing = [name for name in new if name not in live]
    if missing:
        raise BadInput(
            f"Training cannot go on with the edited {path.name}: its model has {listed(missing)}, which the model "
            "that is trained has not any more"
        )


def _hold(optimizer: Optimizer, live: Mapping[int, Tensor]) -> None:
    """Those parameters in the place of the ones with these ids, also in what it remembers already (Adagrad does)."""
    for group in optimizer.param_groups:
        group["params"][:] = [live.get(id(tensor), tensor) for tensor in group["params"]]
    remembered = list(optimizer.state.items())
    optimizer.state.clear()
    optimizer.state.update({live.get(id(key), key): state for key, state in remembered})
    move_optimizer_state(optimizer)


def _classes(stepper: Stepper, layers: Mapping[str, nn.Module], loss: Any) -> tuple[tuple[nn.Module, type], ...]:
    """The class that each module of the training is to be of: only those that the user has written are others."""
    model, old_loss = stepper.recipe.model, stepper.training.loss
    now = dict(named_modules(model, remove_duplicate=False)) if isinstance(model, nn.Module) else {}
    pairs = [(now[name], layer) for name, layer in layers.items() if name in now]
    if len(modules_in(old_loss)) == len(modules_in(loss)):
        pairs += zip(modules_in(old_loss), modules_in(loss), strict=True)
    return tuple(
        (module, type(other))
        for module, other in pairs
        if is_users_class(type(other)) and type(module).__name__ == type(other).__name__
    )


def _own_models_of_layers(
    layers: Mapping[str, nn.Module], base: Facts, facts: Facts, of_new: set[int]
) -> dict[str, str]:
    """Of the attributes that are to be taken: where they hold a tensor of the new model."""
    is_code_new = is_other_code(base, facts)
    found: dict[str, str] = {}
    for name, layer in layers.items():
        before, after = base.layers[name].attributes, facts.layers[name].attributes
        for key, value in attributes_of(layer).items():
            is_taken = is_code_new or before.get(key) != after.get(key)
            if is_taken and not is_shown(after.get(key, "")) and (place := _place_of(value, key, of_new)):
                found[f"{key} of {named_layer(name)}"] = place
    return found


def _place_of(root: Any, name: str, of_new: set[int]) -> str:
    reached = Reached(copies_parameters=False, only_looks=True)
    reached.look_from({name: root})
    return next((str(place) for place, tensor in reached.values if id(tensor) in of_new), "")


def _reached(stepper: Stepper, roots: Mapping[str, Any]) -> Reached:
    reached = Reached(copies_parameters=True)
    tensors = [tensor for tensor, _ in named_tensors(stepper.recipe.model).values()]
    reached.leave_out([*modules_in(stepper.recipe.model), *tensors, *stepper.loop.batches.parts])
    reached.look_from(dict(roots))
    return reached
