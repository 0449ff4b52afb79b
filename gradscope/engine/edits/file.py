"""Going on with an edited recipe file: what it says otherwise than the one in use is taken in place, and all else goes on.

What the file has not changed stays as the session has it, also where that was edited by hand, or moved by a scheduler.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from types import MethodType
from typing import Any

from torch import Tensor, nn

from gradscope.engine.edits.change import Change, counted, set_attributes, set_item
from gradscope.engine.edits.file_turns import TurnMaking
from gradscope.engine.edits.file_versions import OPEN_AGAIN, Version, named_layer, object_of_user
from gradscope.engine.edits.other_file import arrow, difference, is_other_code
from gradscope.engine.edits.step import renew_window
from gradscope.engine.model.modules import named_modules
from gradscope.engine.model.parameters import named_tensors
from gradscope.engine.recipe.facts import SETTINGS, Facts, name_of
from gradscope.engine.recipe.prints import print_of
from gradscope.engine.stepping.stepper import Stepper
from gradscope.engine.surroundings.unwinding import is_interruption
from gradscope.engine.surroundings.usercode import describe_error
from gradscope.engine.wording import listed
from gradscope.protocol.failure import BadInput

_MOST_TOLD = 12


def edit_file(stepper: Stepper, version: Version) -> Change:
    """Take what `version` says otherwise than the file in use. Raises BadInput, and nothing has changed, where something of
    it cannot be."""
    base = stepper.training.facts
    assert base is not None
    version.begin()
    making = _Making(stepper, version, base)
    try:
        making.make()
    except BaseException as error:
        making.undo()
        if is_interruption(error) or isinstance(error, BadInput):
            raise
        raise BadInput(f"The edited {version.name} cannot be taken: {describe_error(error)}") from error
    return Change(text=f"Edited {version.name}: {_told(making.texts)}", undo=making.undo)


def _told(texts: list[str]) -> str:
    more = len(texts) - _MOST_TOLD
    return "; ".join(texts[:_MOST_TOLD]) + (f"; and {more} more" if more > 0 else "")


@dataclass
class _Making:
    stepper: Stepper
    version: Version
    base: Facts
    texts: list[str] = field(default_factory=list)
    """What has changed, and what begins anew."""
    undos: list[Callable[[], object]] = field(default_factory=list)

    _copies: dict[int, Any] = field(default_factory=dict)
    """Of deepcopy: what two layers share they go on sharing."""

    def make(self) -> None:
        training, version = self.stepper.training, self.version
        if is_other_code(self.base, version.facts):
            self._take_code()
        first = 0
        for turn, before, after in zip(training.turns, self.base.turns, version.facts.turns, strict=True):
            making = TurnMaking(training, turn, version, before, after, first_group=first)
            self.undos.append(making.undo)
            self.texts += making.make()
            first += len(after.groups)
        self._set_settings()
        self._set_layers()
        self._set_trained()
        if self.base.rules != version.facts.rules:
            self.texts.append("its own rules for findings stay as they were opened")
        self.undos.append(set_attributes(training, source=version.source, facts=version.facts))

    def undo(self) -> str | None:
        said = [text for undo in reversed(self.undos) if isinstance(text := undo(), str) and text]
        self.undos.clear()
        return "; ".join(said) or None

    # ------------------------------------------------------------------------------------------ code

    def _take_code(self) -> None:
        """All of the new code, so that what two functions share they go on sharing."""
        training, version, base, new = self.stepper.training, self.version, self.base, self.version.facts
        self.undos.append(partial(training.go_by, training.code))
        try:
            training.go_by(version.code)
        except TypeError as error:
            raise BadInput(f"The code of a layer cannot be replaced in place: {error}; {OPEN_AGAIN}") from error
        kinds = {layer.name for name, layer in base.layers.items() if layer.kind != new.layers[name].kind}
        self.texts += [f"the code of {name} is another" for name in sorted(kinds)]
        if base.loss != new.loss or _is_function(training.loss):
            what = ("loss function", base.loss_name, new.loss_name)
            self._take_function("loss", training.loss, version.loss, what, base.loss, new.loss)
            self.undos.append(set_attributes(training, loss=version.loss))
        for turn, before, after in zip(training.turns, base.turns, new.turns, strict=True):
            if before.step != after.step or _is_function(turn.training_step):
                name = f"training_step {turn.name}".rstrip()
                step = version.steps[turn.name]
                what = (name, before.step_name, after.step_name)
                self._take_function(name, turn.training_step, step, what, before.step, after.step)
                self.undos.append(set_attributes(turn, training_step=step))

    def _take_function(
        self, root: str, old: Any, new: Any, names: tuple[str, str, str], before: str, after: str
    ) -> None:
        what, old_name, new_name = names
        if root in self.version.own_models and new is not None:
            raise BadInput(
                f"The {what} of the edited {self.version.name} goes by a model of its own "
                f"({self.version.own_models[root]}), and not by the one that it is given, which is trained; {OPEN_AGAIN}"
            )
        if before != after:
            is_renamed = old_name != new_name
            self.texts.append(
                f"{what}: {old_name or 'none'} → {new_name or 'none'}" if is_renamed else f"{what} is another"
            )
        if old is not None and new is not None and name_of(old) == old_name and print_of(old) != before:
            self.texts.append(f"what {new_name} has noted itself begins anew")

    # ------------------------------------------------------------------------------------------ settings and layers

    def _set_settings(self) -> None:
        training, base, new = self.stepper.training, self.base.settings, self.version.facts.settings
        changed = {name: self.version.settings[name] for name in SETTINGS if base[name] != new[name]}
        if not changed:
            return
        self.undos.append(partial(renew_window, self.stepper))
        self.undos.append(set_attributes(training, **changed))
        renew_window(self.stepper)
        self.texts += [f"{name}: {arrow(base[name], new[name])}" for name in changed]

    def _set_layers(self) -> None:
        model = self.stepper.recipe.model
        live = dict(named_modules(model, remove_duplicate=False)) if isinstance(model, nn.Module) else {}
        is_code_new = is_other_code(self.base, self.version.facts)
        for name, layer in self.base.layers.items():
            after = self.version.facts.layers[name].attributes
            for key, text in after.items():
                if name not in live:
                    continue
                if layer.attributes.get(key) != text:
                    self._set_attribute(live[name], name, key, (layer.attributes.get(key, "none"), text))
                elif is_code_new and object_of_user(value := vars(live[name]).get(key)) is not None:
                    # The new code asks for its own classes: isinstance, or which member of an Enum it is.
                    if print_of(value) != text:
                        raise BadInput(
                            f"{key} of {named_layer(name)} was changed since, and its class belongs to the file as it was; "
                            f"{OPEN_AGAIN}"
                        )
                    self._set_attribute(live[name], name, key, None)

    def _set_attribute(self, module: nn.Module, name: str, key: str, prints: tuple[str, str] | None) -> None:
        """`prints` before and after; None where it says the same, and only its class is another."""
        value = self.version.attributes[name][key]
        if _holds_tensors(value):
            raise BadInput(f"{key} of {named_layer(name)} holds tensors or layers; {OPEN_AGAIN}")
        place = self.version.own_models.get(f"{key} of {named_layer(name)}")
        if place is not None:
            raise BadInput(
                f"{key} of {named_layer(name)} goes by the model of the edited {self.version.name} ({place}), and not by the "
                f"one that is trained; {OPEN_AGAIN}"
            )
        # Past its own __setattr__; and what is trained must leave the one that was loaded alone.
        self.undos.append(set_item(vars(module), key, copy.deepcopy(value, self._copies)))
        if prints is not None and not key.startswith("_"):
            self.texts.append(difference(f"{key} of {named_layer(name)}", *prints))

    def _set_trained(self) -> None:
        live = {name: tensor for name, (tensor, _) in named_tensors(self.stepper.recipe.model).items()}
        changed = {
            name: (live[name], trained)
            for name, trained in self.version.trained.items()
            if self.base.parameters[name][1] is not trained and live[name].requires_grad is not trained
        }
        for trained in (True, False):
            names = [name for name, (_, is_trained) in changed.items() if is_trained is trained]
            for name in names:
                self.undos.append(partial(live[name].requires_grad_, not trained))
                live[name].requires_grad_(trained)
            if names:
                state = "trained from now on" if trained else "frozen"
                self.texts.append(f"{listed(names)} {state} ({counted(len(names), 'parameter')})")


def _is_function(value: Any) -> bool:
    """One that has no attributes of its own to go on with."""
    return value is not None and callable(value) and not isinstance(value, nn.Module) and hasattr(value, "__code__")


def _holds_tensors(value: Any) -> bool:
    if isinstance(value, MethodType):
        return _holds_tensors(value.__self__)
    if isinstance(value, (Tensor, nn.Module)):
        return True
    if isinstance(value, dict):
        return any(map(_holds_tensors, value.values()))
    return isinstance(value, (list, tuple, set)) and any(map(_holds_tensors, value))
