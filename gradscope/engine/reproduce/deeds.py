"""Edits as lines of Python: what a person does to a plain loop at the same place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

from gradscope.engine.book.turns import groups_of
from gradscope.engine.edits.arguments import parsed_all
from gradscope.engine.edits.choices import class_named
from gradscope.engine.edits.journal import Deed, DeedKind
from gradscope.engine.model.dropout import dropout_of
from gradscope.engine.model.modules import modules_in, walk
from gradscope.engine.reproduce.settings import Settings, changed_settings
from gradscope.engine.stepping.stepper import Stepper
from gradscope.protocol.failure import BadInput
from gradscope.protocol.messages import edits


class DeedLines:
    """The lines of every deed of a training."""

    def __init__(self, stepper: Stepper, settings: Settings) -> None:
        self._stepper, self._settings = stepper, settings
        self._model = stepper.recipe.model
        self._changed = changed_settings(settings.deeds, stepper.recipe)
        self._made = {deed.number: deed for deed in settings.deeds if deed.kind is DeedKind.EDIT}
        self._undone_later = {deed.number for deed in settings.deeds if deed.kind is DeedKind.UNDO}
        self._several = len(stepper.training.turns) > 1

    def of(self, deed: Deed) -> list[str]:
        """Raises BadInput for one that a script cannot repeat."""
        if deed.kind is DeedKind.CLEAR:
            return [f"{self._optimizer(deed.turn)}.zero_grad(set_to_none=True)"]
        if deed.kind is DeedKind.CODE:
            raise BadInput(
                f"A script cannot come here: code was evaluated at step {deed.place.step} with its effects kept, and it "
                "may use what only the console has"
            )
        lines = self._settings_lines(deed)
        if deed.kind is DeedKind.UNDO:
            return [*lines, *self._undone(deed)]
        writer: dict[type[Any], Callable[[Any, Deed], Iterator[str]]] = {
            edits.EditOption: self._option,
            edits.EditMembership: self._membership,
            edits.EditLoss: self._loss,
            edits.EditOptimizer: self._new_optimizer,
            edits.EditScheduler: self._new_scheduler,
            edits.EditRequiresGrad: self._requires_grad,
            edits.EditMode: self._mode,
            edits.EditDropout: self._dropout,
        }
        own = writer.get(type(deed.edit))
        kept = self._kept(deed.edit, deed.number)
        return [*lines, *kept, *(own(deed.edit, deed) if own is not None else ())]

    # ------------------------------------------------------------------------------------------ of the step

    def _settings_lines(self, deed: Deed) -> list[str]:
        changed = self._changed.get(self._settings.deeds.index(deed), {})
        return [f"{name} = {value!r}" for name, value in changed.items() if not self._settings[name].is_fixed]

    def _kept(self, edit: Any, number: int) -> Iterator[str]:
        """What undoing the edit later puts back."""
        if number not in self._undone_later:
            return
        name = f"before_{number}"
        match edit:
            case edits.EditLoss():
                yield f"{name} = loss_fn"
            case edits.EditOptimizer(turn=turn):
                scheduler = f", {self._scheduler_now(turn)}" if self._has_scheduler(turn) else ", None"
                yield f"{name} = {self._optimizer(turn)}{scheduler}"
            case edits.EditScheduler(turn=turn):
                options = "{k: v.clone() if torch.is_tensor(v) else v for k, v in group.items()}"
                yield f"groups = [(group, {options}) for group in {self._optimizer(turn)}.param_groups]"
                yield f"{name} = {self._scheduler_now(turn)}, groups"
            case edits.EditRequiresGrad(is_parameter=False):
                is_other = f"p.requires_grad is not {edit.requires_grad}"
                yield f"{name} = [p for p in {self._parameters(edit.name)} if {is_other}]"
            case edits.EditMode():
                yield f"{name} = [(layer, layer.training) for layer in {_layer(edit.layer)}.modules()]"
            case edits.EditDropout():
                layers = ", ".join(
                    f"({layer}, {attribute!r}, {layer}.{attribute})" for layer, attribute in self._dropouts(edit)
                )
                yield f"{name} = [{layers}]"

    def _undone(self, deed: Deed) -> Iterator[str]:
        made = self._made.get(deed.number)
        edit, name = None if made is None else made.edit, f"before_{deed.number}"
        match edit:
            case edits.EditOption() if made is not None and made.values[0] is not None and not deed.said:
                yield from self._assigned(edit, made.values[0], is_tensor=made.is_tensor)
            case edits.EditRequiresGrad(is_parameter=True):
                yield f"{self._parameter(edit.name)}.requires_grad_({not edit.requires_grad})"
            case edits.EditLoss():
                yield f"loss_fn = {name}"
            case edits.EditOptimizer(turn=turn):
                yield f"{self._optimizer(turn)} = {name}[0]"
                if self._has_scheduler(turn):
                    yield f"{self._scheduler(turn)} = {name}[1]"
            case edits.EditScheduler(turn=turn):
                yield f"{self._scheduler(turn)}, groups = {name}"
                yield from ("for group, options in groups:", "    group.clear()", "    group.update(options)")
            case edits.EditRequiresGrad():
                yield from (f"for p in {name}:", f"    p.requires_grad_({not edit.requires_grad})")
            case edits.EditMode():
                yield from (f"for layer, mode in {name}:", "    layer.training = mode")
            case edits.EditDropout():
                yield from (f"for layer, attribute, p in {name}:", "    setattr(layer, attribute, p)")
            case edits.EditOption() | edits.EditMembership():
                raise BadInput(
                    f"A script cannot come here: edit {deed.number} was undone at another place than where it was made (step "
                    f"{deed.place.step}), and what that has put back cannot be written"
                )

    # ------------------------------------------------------------------------------------------ of the optimizer

    def _option(self, edit: edits.EditOption, deed: Deed) -> Iterator[str]:
        if deed.values[1] is None:
            raise BadInput(f"A script cannot come here: the value of {edit.option} cannot be written as a literal")
        yield from self._assigned(edit, deed.values[1], is_tensor=deed.is_tensor)

    def _assigned(self, edit: edits.EditOption, value: str, *, is_tensor: bool) -> Iterator[str]:
        name, index = self._group(edit.group)
        place = f"{self._optimizer(name)}.param_groups[{index}][{edit.option!r}]"
        if edit.option == "initial_lr":
            yield f"{self._scheduler(name)}.base_lrs[{index}] = {value}"
            if any(len(list(turn.schedulers())) > 1 for turn in self._stepper.training.turns):
                raise BadInput(
                    "A script cannot come here: initial_lr was changed of a scheduler that is made of several"
                )
        yield f"{place} = {f'torch.full_like({place}, {value})' if is_tensor else value}"

    def _group(self, number: int) -> tuple[str, int]:
        """(the name of the turn, the index in its optimizer) of a group."""
        for turn in self._stepper.training.turns:
            groups = len(groups_of([turn.optimizer]))
            if number < groups:
                return turn.name, number
            number -= groups
        raise BadInput(f"A script cannot come here: there is no parameter group {number} any more")

    def _membership(self, edit: edits.EditMembership, deed: Deed) -> Iterator[str]:
        name, index = self._group(edit.group)
        optimizers = "optimizers.values()" if self._several else "[optimizer]"
        yield f"held = {{id(p) for o in {optimizers} for group in o.param_groups for p in group['params']}}"
        added = f"[{self._parameter(edit.name)}]" if edit.is_parameter else self._parameters(edit.name)
        yield (f"{self._optimizer(name)}.param_groups[{index}]['params'] += [p for p in {added} if id(p) not in held]")

    def _new_optimizer(self, edit: edits.EditOptimizer, deed: Deed) -> Iterator[str]:
        own, scheduler = self._optimizer(edit.turn), self._scheduler(edit.turn)
        groups = f"[{{'params': list(group['params'])}} for group in {own}.param_groups]"
        arguments = _arguments("optimizers", edit.optimizer, edit.arguments)
        yield f"{own} = torch.optim.{edit.optimizer}({', '.join([groups, *arguments])})"
        if self._has_scheduler(edit.turn):
            yield f"{scheduler} = {_made_scheduler(deed.scheduler, own)}"

    def _new_scheduler(self, edit: edits.EditScheduler, deed: Deed) -> Iterator[str]:
        made = (edit.scheduler, edit.arguments) if edit.scheduler else None
        yield f"{self._scheduler(edit.turn)} = {_made_scheduler(made, self._optimizer(edit.turn))}"

    def _has_scheduler(self, turn: str) -> bool:
        return any(name is not None for name in self._settings.schedulers[turn])

    def _optimizer(self, turn: str) -> str:
        return f"optimizers[{turn!r}]" if self._several else "optimizer"

    def _scheduler_now(self, turn: str) -> str:
        """As a value: there may be none."""
        return f"schedulers.get({turn!r})" if self._several else "scheduler"

    def _scheduler(self, turn: str) -> str:
        return f"schedulers[{turn!r}]" if self._several else "scheduler"

    # ------------------------------------------------------------------------------------------ of layers and the loss

    def _loss(self, edit: edits.EditLoss, deed: Deed) -> Iterator[str]:
        arguments = ", ".join(_arguments("losses", edit.loss, edit.arguments))
        device = self._stepper.device
        yield f"loss_fn = torch.nn.{edit.loss}({arguments})" + (f".to({str(device)!r})" if device.type != "cpu" else "")

    def _requires_grad(self, edit: edits.EditRequiresGrad, deed: Deed) -> Iterator[str]:
        if edit.is_parameter:
            yield f"{self._parameter(edit.name)}.requires_grad_({edit.requires_grad})"
        elif isinstance(self._model, nn.Module):
            yield f"{_layer(edit.name)}.requires_grad_({edit.requires_grad})"
        else:
            yield "for tensor in model.values():"
            yield f"    tensor.requires_grad_({edit.requires_grad})"

    def _mode(self, edit: edits.EditMode, deed: Deed) -> Iterator[str]:
        yield f"{_layer(edit.layer)}.train({edit.training})"

    def _dropout(self, edit: edits.EditDropout, deed: Deed) -> Iterator[str]:
        for layer, attribute in self._dropouts(edit):
            yield f"{layer}.{attribute} = {edit.p!r}"

    def _dropouts(self, edit: edits.EditDropout) -> Iterator[tuple[str, str]]:
        """(the layer, the name of its probability) of every dropout that an edit is about."""
        assert isinstance(self._model, nn.Module)
        names = {id(module): name for name, module in walk(self._model)}
        layer = dict(walk(self._model, remove_duplicate=False))[edit.layer]
        for module in modules_in(layer):
            if dropout_of(module) is not None:
                is_inside = isinstance(module, (nn.RNNBase, nn.MultiheadAttention))
                yield _layer(names[id(module)]), "dropout" if is_inside else "p"

    def _parameter(self, name: str) -> str:
        return f"model.get_parameter({name!r})" if isinstance(self._model, nn.Module) else f"model[{name!r}]"

    def _parameters(self, layer: str) -> str:
        return f"{_layer(layer)}.parameters()" if isinstance(self._model, nn.Module) else "model.values()"


def _layer(name: str) -> str:
    return f"model.get_submodule({name!r})" if name else "model"


def _made_scheduler(made: tuple[str, dict[str, str]] | None, optimizer: str) -> str:
    if made is None:
        return "None"
    name, arguments = made
    return f"torch.optim.lr_scheduler.{name}({', '.join([optimizer, *_arguments('schedulers', name, arguments)])})"


def _arguments(family: str, name: str, arguments: dict[str, str]) -> list[str]:
    values = parsed_all(class_named(family, name), arguments)
    is_loss = family == "losses"
    return [
        f"{name}={f'torch.tensor({value!r})' if is_loss and isinstance(value, list) else repr(value)}"
        for name, value in values.items()
    ]
