"""Edits that put another object in place: a loss, an optimizer, a scheduler. What was there before comes back by undo."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, MutableMapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from gradscope.engine.book.turns import Turn
from gradscope.engine.edits.arguments import arguments_of, as_literal, parsed_all
from gradscope.engine.edits.change import Change, arrow, sentence, set_attributes
from gradscope.engine.edits.choices import arguments_in_use, class_named
from gradscope.engine.edits.step import check_metric
from gradscope.engine.model.closures import needs_closure
from gradscope.engine.stepping.stepper import Stepper
from gradscope.engine.stepping.training import RecipeTurn, Training
from gradscope.engine.surroundings.unwinding import is_interruption
from gradscope.engine.surroundings.usercode import describe_error
from gradscope.protocol.failure import BadInput
from gradscope.protocol.messages.edits import EditLoss, EditOptimizer, EditScheduler
from gradscope.protocol.phases import Rest

Made = MutableMapping[Any, dict[str, str]]
"""What was made here, and with which arguments."""


def edit_loss(stepper: Stepper, edit: EditLoss, made: Made) -> Change:
    """Another loss function; one that is computed already stays as it is."""
    training = stepper.training
    if all(turn.training_step is not None for turn in training.turns):
        raise BadInput("This recipe computes its loss in training_step, so there is no loss function to change")
    cls = class_named("losses", edit.loss)
    loss = _made(cls, edit.arguments).to(stepper.device)
    made[loss] = dict(edit.arguments)
    is_computed = stepper.position.rest is not Rest.READY
    when = "counts from the next forward on" if is_computed else ""
    text = f"Loss: {arrow(_name(training.loss), _call(cls, edit.arguments))}"
    return Change(text=sentence([text, when]), undo=set_attributes(training, loss=loss))


def edit_optimizer(stepper: Stepper, edit: EditOptimizer, made: Made) -> Change:
    """Another optimizer over the same groups of parameters, without state; its scheduler is made anew, or dropped."""
    training = stepper.training
    turn = _turn_named(training, edit.turn)
    cls = class_named("optimizers", edit.optimizer)
    old = turn.optimizer
    optimizer: Optimizer = _made(cls, edit.arguments, _same_groups(old))
    if needs_closure(optimizer) and training.scaler is not None:
        raise BadInput(f"{cls.__name__} cannot be used with fp16: torch's GradScaler takes no closure")
    if stepper.position.rest is not Rest.READY and (needs_closure(old) or needs_closure(optimizer)):
        name = cls.__name__ if needs_closure(optimizer) else type(old).__name__
        raise BadInput(f"{name} evaluates the batches of a whole step: finish the step first")
    scheduler, fate = _scheduler_for(optimizer, turn, training, made, keep=edit.keep_scheduler)
    text = f"Optimizer{_of(turn)}: {arrow(type(old).__name__, _call(cls, edit.arguments))}, with no state yet"
    if len(old.param_groups) > 1:
        text += " and the same options for every group"
    return Change(text=sentence([text, fate]), undo=set_attributes(turn, optimizer=optimizer, scheduler=scheduler))


def edit_scheduler(stepper: Stepper, edit: EditScheduler, made: Made) -> Change:
    """Another scheduler for the optimizer as it is now, or none."""
    training = stepper.training
    turn = _turn_named(training, edit.turn)
    before = "none" if turn.scheduler is None else type(turn.scheduler).__name__
    if not edit.scheduler:
        if turn.scheduler is None:
            raise BadInput("There is no scheduler already")
        text = f"Scheduler{_of(turn)}: {arrow(before, 'none')}; the rates stay as they are"
        return Change(text=text, undo=set_attributes(turn, scheduler=None))
    cls = class_named("schedulers", edit.scheduler)
    metric = edit.metric or training.scheduler_metric
    _check_unit(training, turn, cls, edit.unit)
    check_metric(stepper, metric)
    put_back = _remember(turn.optimizer)
    try:
        scheduler = _made(cls, edit.arguments, turn.optimizer)
    except BaseException:
        put_back()
        raise
    made[scheduler] = dict(edit.arguments)
    restore = set_attributes(turn, scheduler=scheduler)
    restore_unit = set_attributes(training, scheduler_unit=edit.unit, scheduler_metric=metric)

    def undo() -> None:
        restore_unit()
        restore()
        put_back()

    text = f"Scheduler{_of(turn)}: {arrow(before, _call(cls, edit.arguments))}, stepped every {edit.unit}"
    if cls is ReduceLROnPlateau:
        text += f" with {metric}"
    return Change(text=sentence([text, *_bases(turn.optimizer)]), undo=undo)


# ------------------------------------------------------------------------------------------- making


def _made(cls: type, arguments: dict[str, str], *given: Any) -> Any:
    values = parsed_all(cls, arguments)
    if issubclass(cls, torch.nn.Module):
        # A loss keeps its weights as a tensor.
        values = {name: torch.tensor(value) if isinstance(value, list) else value for name, value in values.items()}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return cls(*given, **values)
    except BaseException as error:
        if is_interruption(error):
            raise
        raise BadInput(f"{_call(cls, arguments)} cannot be made: {describe_error(error)}") from error


def _call(cls: type, arguments: dict[str, str]) -> str:
    """ "Adam(lr=0.01)": with what differs from the defaults."""
    defaults = {argument.name: argument.default for argument in arguments_of(cls)[0]}
    given = [f"{name}={text.strip()}" for name, text in arguments.items() if text.strip() != defaults.get(name)]
    return f"{cls.__name__}({', '.join(given)})" if given else cls.__name__


def _same_groups(optimizer: Optimizer) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = []
    for group in optimizer.param_groups:
        names = group.get("param_names")
        tensors = list(group["params"])
        groups.append({"params": tensors if names is None else list(zip(names, tensors, strict=True))})
    return groups


def _scheduler_for(
    optimizer: Optimizer, turn: RecipeTurn, training: Training, made: Made, *, keep: bool
) -> tuple[LRScheduler | None, str]:
    """The scheduler of a new optimizer, and what has become of the old one in words."""
    if turn.scheduler is None:
        return None, ""
    name = type(turn.scheduler).__name__
    arguments = arguments_in_use(turn.scheduler, made)
    if not keep:
        return None, f"{name} is dropped"
    if arguments is None:
        return None, f"{name} is dropped, because it cannot be made anew from here: choose a scheduler"
    put_back = _remember(optimizer)
    try:
        scheduler: LRScheduler = _made(type(turn.scheduler), arguments, optimizer)
    except BadInput as error:
        put_back()
        return None, f"{name} is dropped: {error}"
    made[scheduler] = arguments
    return scheduler, f"{name} is made anew for it and begins at its beginning"


def _remember(optimizer: Optimizer) -> Callable[[], None]:
    """What a scheduler changes of an optimizer when it is made: options of its groups, and a wrapper around `step`."""
    groups = [
        (group, {key: value.clone() if isinstance(value, Tensor) else value for key, value in group.items()})
        for group in optimizer.param_groups
    ]
    attributes = dict(vars(optimizer))

    def put_back() -> None:
        for group, options in groups:
            group.clear()
            group.update(options)
        vars(optimizer).clear()
        vars(optimizer).update(attributes)

    return put_back


# ------------------------------------------------------------------------------------------- words and checks


def _turn_named(training: Training, name: str) -> RecipeTurn:
    for turn in training.turns:
        if turn.name == name:
            return turn
    known = ", ".join(repr(turn.name) for turn in training.turns)
    raise BadInput(f"There is no optimizer {name!r:.60}; expected one of {known}")


def _check_unit(training: Training, turn: Turn, cls: type, unit: str) -> None:
    if unit not in ("step", "epoch"):
        raise BadInput(f'The unit of the scheduler is {unit!r:.60}; expected "step" or "epoch"')
    if cls is ReduceLROnPlateau and unit != "epoch":
        raise BadInput('ReduceLROnPlateau is stepped with a metric of an epoch; expected the unit "epoch"')
    others = [other for other in training.turns if other is not turn and other.scheduler is not None]
    if others and unit != training.scheduler_unit:
        raise BadInput(
            f"The scheduler of {others[0].name} is stepped every {training.scheduler_unit}, and all are stepped together; "
            f'expected the unit "{training.scheduler_unit}"'
        )


def _bases(optimizer: Optimizer) -> list[str]:
    """Where the rates begin, if a scheduler that was there before has left its mark."""
    return [
        f"group {i} counts from initial_lr {as_literal(group['initial_lr'])}, which is not its rate now, "
        f"{as_literal(group['lr'])}"
        for i, group in enumerate(optimizer.param_groups)
        if "initial_lr" in group and not math.isclose(float(group["initial_lr"]), float(group["lr"]), rel_tol=1e-9)
    ][:1]


def _of(turn: Turn) -> str:
    return f" of {turn.name}" if turn.name else ""


def _name(loss: Any) -> str:
    return type(loss).__name__ if isinstance(loss, torch.nn.Module) else getattr(loss, "__name__", type(loss).__name__)
