"""What of a script's is being trained: models and bare tensors under the script's names, and who steps them.

The book needs one model: here it is a module that is never called, and holds what was found. It grows.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from gradscope.engine.book.turns import Turn
from gradscope.engine.model.modules import is_compiled_wrapper, modules_in, own_name, walk
from gradscope.engine.script.finding.naming import is_variable, name_for, name_in_library, owners_in_frames, variable_of
from gradscope.engine.script.finding.optimizers import Optimizers, gradient_identity, tensors_of

_WRAPPERS = {
    "DistributedDataParallel": "module",
    "DataParallel": "module",
    "FullyShardedDataParallel": "module",
    "_FabricModule": "_original_module",
}
"""Of torch's, and Fabric's; and as what they hold the module of the script's."""


class Roots(nn.Module):
    """Holds what was found, and is never called."""


class Root:
    """A module that the script calls."""

    def __init__(self, module: nn.Module, outermost: nn.Module, path: str, name: str) -> None:
        self._module = weakref.ref(module)
        self.outermost = weakref.ref(outermost)
        """The module that the script has it in; itself, where it is in no other."""
        self.path = path
        """Its name in there."""
        self.name = name
        """As the script would say: "model", "gan.generator"; "" where it has no parameters, as a loss has none."""

    def is_of(self, module: nn.Module) -> bool:
        return self._module() is module


class Found:
    """Of one script. `changes` counts what has been added or taken away."""

    def __init__(self) -> None:
        self.model = Roots()
        self.optimizers = Optimizers()
        self.changes = 0
        self.untrained: dict[str, None] = {}
        """Modules that are called, and that nobody trains: a teacher, an average of weights."""
        self.compiled: set[str] = set()
        """The models that torch.compile has compiled."""
        self._roots: dict[int, Root] = {}
        self._left: dict[int, weakref.ref[Tensor]] = {}
        """Parameters of models that others have taken the place of."""
        self._known: dict[int, str] = {}
        self._known_at = -1
        self._optimizer_names: dict[int, tuple[weakref.ref[Any], str]] = {}
        self._turns: dict[int, Turn] = {}
        self._turns_at = -1, -1
        self._by_hand: Turn | None = None

    # ------------------------------------------------------------------------------------------ modules

    def root(self, module: nn.Module) -> Root:
        """Of a module that is being called from outside any other. The first time it is looked for by its name."""
        root = self._roots.get(id(module))
        if root is None or not root.is_of(module):
            root = self._roots[id(module)] = self._look_at(module)
        return root

    def _look_at(self, module: nn.Module) -> Root:
        if not any(part._parameters for part in modules_in(module)):
            return Root(module, module, "", "")
        for key, followed in self.model._modules.items():
            path = None if followed is None else _path_in(followed, module)
            if followed is not None and path is not None:
                return Root(module, followed, path, _joined(key, path))
        for owner in owners_in_frames(nn.Module):
            path = _path_in(unwrapped(owner), module)
            if path:
                outermost = unwrapped(owner)
                return Root(module, outermost, path, _joined(_name_of(outermost), path))
        if not is_variable(module) and (holder := _module_around(module)) is not None:
            # One layer of a model is called by itself.
            path = _path_in(holder, module) or ""
            return Root(module, holder, path, _joined(_name_of(holder), path))
        return Root(module, unwrapped(module), "", _name_of(module))

    def follow(self, root: Root) -> bool:
        """Take its outermost module in, if that is trained, and not there yet. Whether it was taken in."""
        outermost = root.outermost()
        if outermost is None or not root.name or self.holds(root):
            return False
        if not self._is_trained(outermost):
            self.note_untrained(root)
            return False
        self.untrained.pop(root.name, None)
        self._add(root.name[: len(root.name) - len(root.path) - 1] if root.path else root.name, outermost)
        return True

    def note_untrained(self, root: Root) -> None:
        """It is called, and nobody trains it, as far as is known."""
        outermost = root.outermost()
        if not root.name or root.name in self.untrained or outermost is None:
            return
        known = self.known_ids()
        if not any(id(p) in known for part in modules_in(outermost) for p in part._parameters.values()):
            self.untrained[root.name] = None
            self.changes += 1

    def holds(self, root: Root) -> bool:
        """Whether its outermost module was taken in."""
        return any(known is root.outermost() for known in self.model._modules.values())

    def give(self, modules: Sequence[nn.Module]) -> None:
        """Take in what the script has named itself, also where nobody trains it; not what is a part of another of them."""
        own = [unwrapped(module) for module in modules if any(part._parameters for part in modules_in(module))]
        for number, module in enumerate(own):
            others = own[:number] + [other for other in own[number + 1 :] if other is not module]
            if not any(_path_in(other, module) is not None for other in others):
                self._add(self._free_name(_name_of(module)), module)

    def _is_trained(self, module: nn.Module) -> bool:
        parameters = [p for part in modules_in(module) for p in part._parameters.values() if p is not None]
        if self.optimizers.are_any:
            return any(self.optimizers.hold(p) for p in parameters)
        return any(p.requires_grad for p in parameters)

    def follow_reached(self, tensors: Iterable[Tensor]) -> bool:
        """Take in what a backward has reached and nothing here holds: as a part of a module of the script's, or as a tensor
        by itself. Whether anything was."""
        known, count = self.known_ids(), self.changes
        for tensor in tensors:
            if id(tensor) in known:
                continue
            module = self._holder_of(tensor)
            if module is not None:
                self._add(_name_of(module), module)
            else:
                name = self._free_name(variable_of(tensor) or f"(parameter {tuple(tensor.shape)})".replace(".", ","))
                self.model._parameters[name] = tensor  # type: ignore[assignment]
                self.changes += 1
            known = self.known_ids()
        return self.changes > count

    def renew(self, leaves: Iterable[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Those bare tensors in whose places the script has put others, as `w = w - rate * w.grad` does: (before, now)."""
        bare, known = self.model._parameters, self.known_ids()
        renewed: list[tuple[Tensor, Tensor]] = []
        for leaf in leaves if bare else ():
            name = "" if id(leaf) in known else variable_of(leaf)
            before = bare.get(name)
            if before is not None and before.shape == leaf.shape:
                bare[name] = leaf  # type: ignore[assignment]
                renewed.append((before, leaf))
        self.changes += bool(renewed)
        return renewed

    def _holder_of(self, tensor: Tensor) -> nn.Module | None:
        """The module in which a parameter is: one that was called, or that the script has a variable for."""
        for root in self._roots.values():
            module = root.outermost()
            if module is not None and _holds(module, tensor):
                return module
        return _first_module(lambda module: _holds(module, tensor))

    def _add(self, name: str, module: nn.Module) -> None:
        before = self.model._modules.get(name)
        if before is not None and variable_of(before):
            name = self._free_name(name)
        elif before is not None:
            # Another module takes the place of one that nobody has a name for any more: it is not kept alive.
            self._left = {key: reference for key, reference in self._left.items() if reference() is not None}
            self._left |= {id(tensor): weakref.ref(tensor) for tensor in before.parameters()}
        self.model._modules[name] = module
        self.compiled |= {own_name(_joined(name, path)) for path, part in walk(module) if is_compiled_wrapper(part)}
        self.changes += 1

    def newly_reached(self, left_over: Mapping[int, tuple[int, int]]) -> list[Tensor]:
        """What optimizers hold and has a gradient, and was in no model that was called. `left_over`: the gradients that were
        there before anybody looked, by the id of their tensor."""
        known = self.known_ids()
        new = [t for t in self.optimizers.held() if id(t) not in known and t.grad is not None and not self._has_left(t)]
        return [tensor for tensor in new if left_over.get(id(tensor)) != gradient_identity(tensor)]

    def _has_left(self, tensor: Tensor) -> bool:
        """An optimizer that is not collected yet may hold what nobody trains any more."""
        reference = self._left.get(id(tensor))
        return reference is not None and reference() is tensor

    def _free_name(self, name: str) -> str:
        number, free = 2, name
        while free in self.model._modules or free in self.model._parameters:
            number, free = number + 1, f"{name} ({number})"
        return free

    def known_ids(self) -> dict[int, str]:
        """Of the parameters that are followed."""
        if self._known_at != self.changes:
            self._known = {id(tensor): name for name, tensor in self._tensors()}
            self._known_at = self.changes
        return self._known

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        for name, module in walk(self.model, remove_duplicate=False):
            for key, tensor in module._parameters.items():
                if tensor is not None:
                    yield own_name(_joined(name, key)), tensor

    # ------------------------------------------------------------------------------------------ who steps them

    @property
    def turns(self) -> list[Turn]:
        """Of the optimizers that hold something of what is followed, in the order in which they were made; then what is moved
        by hand."""
        if self._turns_at != (self.changes, self.optimizers.changes):
            known, before = self.known_ids(), self._turns
            self._turns = {
                id(optimizer): before.get(id(optimizer)) or self._turn_of(optimizer)
                for optimizer in self.optimizers.alive()
                if any(id(tensor) in known for tensor in tensors_of(optimizer))
            }
            self._turns_at = self.changes, self.optimizers.changes
        own = list(self._turns.values())
        return own if self._by_hand is None else [*own, self._by_hand]

    def let_go(self) -> Callable[[], bool]:
        """Hold no module and no optimizer, until what is returned is called: it takes back those that are still there, and
        says whether any is not."""
        modules = {name: weakref.ref(module) for name, module in self.model._modules.items() if module is not None}
        self.model._modules.clear()
        turns = {key: turn.let_go(_NOBODY) for key, turn in self._turns.items()}

        def take_back() -> bool:
            alive = {name: module for name, reference in modules.items() if (module := reference()) is not None}
            self.model._modules.update(alive)
            gone = [key for key, are_back in turns.items() if not are_back()]
            for key in gone:
                del self._turns[key]
            has_lost = bool(gone) or len(alive) < len(modules)
            self.changes += has_lost
            return has_lost

        return take_back

    def turn(self, optimizer: Optimizer) -> Turn:
        """Also of one that holds nothing of what is followed."""
        turn = next((turn for turn in self.turns if turn.optimizer is optimizer), None)
        return turn or self._turn_of(optimizer)

    def _turn_of(self, optimizer: Optimizer) -> Turn:
        taken = {turn.name for turn in self._turns.values()}
        name = self.name_of_optimizer(optimizer)
        number, free = 2, name
        while free in taken:
            number, free = number + 1, f"{name} ({number})"
        return Turn(free, optimizer, self.optimizers.scheduler_of(optimizer))

    def name_of_optimizer(self, optimizer: Optimizer) -> str:
        known = self._optimizer_names.get(id(optimizer))
        if known is not None and known[0]() is optimizer:
            return known[1]
        name = name_for(lambda value: value is optimizer or _wraps(value, optimizer), in_modules=True)
        name = name or type(optimizer).__name__
        self._optimizer_names[id(optimizer)] = weakref.ref(optimizer), name
        return name

    def turn_by_hand(self, name: str, moved: Iterable[Tensor]) -> Turn:
        """Of what is moved without an optimizer."""
        if self._by_hand is None:
            self._by_hand = Turn(name, ByHand(), None)  # type: ignore[arg-type]
        group = self._by_hand.optimizer.param_groups[0]["params"]
        ids = {id(tensor) for tensor in group}
        group += [tensor for tensor in moved if id(tensor) not in ids]
        return self._by_hand


class ByHand:
    """In the place of an optimizer, where there is none."""

    def __init__(self) -> None:
        self.param_groups: list[dict[str, Any]] = [{"params": []}]
        self.state: dict[Any, Any] = {}

    def step(self) -> None:
        """The script does that."""


_NOBODY = ByHand()


def unwrapped(module: nn.Module) -> nn.Module:
    """What is in wrappers for several devices."""
    while (key := _WRAPPERS.get(type(module).__name__)) is not None:
        inner = module._modules.get(key)
        if inner is None:
            break
        module = inner
    return module


def loss_name(loss: Tensor) -> str:
    """What the script calls it; where a library calls backward, the library's word."""
    return variable_of(loss, of_loops=True) or name_in_library(loss)


def _name_of(module: nn.Module) -> str:
    """The variable of a module, or of a wrapper around it; else its class."""

    def is_it(value: Any) -> bool:
        return value is module or (
            isinstance(value, nn.Module) and (unwrapped(value) is module or _compiled_of(value) is unwrapped(module))
        )

    return variable_of(module) or name_for(is_it) or type(unwrapped(module)).__name__


def _compiled_of(module: nn.Module) -> nn.Module | None:
    return module._modules.get("_orig_mod") if is_compiled_wrapper(module) else None


def _wraps(value: Any, optimizer: Optimizer) -> bool:
    """Whether it is a library's wrapper around an optimizer (Lightning's, Accelerate's), which looks like one itself."""
    if isinstance(value, type):
        return False
    try:
        inside = object.__getattribute__(value, "__dict__")
    except Exception:
        return False
    if inside.get("optimizer") is not optimizer and inside.get("_optimizer") is not optimizer:
        return False
    return isinstance(value, Optimizer) or "param_groups" in inside or "Optimizer" in type(value).__name__


def _module_around(module: nn.Module) -> nn.Module | None:
    """A model that the script has a variable for, and that the module is a part of."""
    return _first_module(lambda outer: outer is not unwrapped(module) and _path_in(outer, module) is not None)


def _first_module(wanted: Callable[[nn.Module], bool]) -> nn.Module | None:
    """The first of the modules that the script has in a variable, or in something that is in one."""
    found: list[nn.Module] = []

    def is_it(value: Any) -> bool:
        if isinstance(value, nn.Module) and wanted(inner := unwrapped(value)):
            found.append(inner)
        return bool(found)

    name_for(is_it)
    return found[0] if found else None


def _path_in(outer: nn.Module, module: nn.Module) -> str | None:
    return next((own_name(path) for path, part in walk(outer) if part is module), None)


def _holds(module: nn.Module, tensor: Tensor) -> bool:
    return any(p is tensor for part in modules_in(module) for p in part._parameters.values())


def _joined(name: str, path: str) -> str:
    return f"{name}.{path}" if name and path else name or path
