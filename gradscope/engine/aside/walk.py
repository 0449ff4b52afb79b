"""The objects that the user's code can reach from a few of them: attributes, variables of closures, globals that a function
names, what containers hold."""

from __future__ import annotations

import ctypes
import io
import threading
import weakref
from array import array
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.sharedctypes import SynchronizedBase
from pathlib import Path
from queue import Queue, SimpleQueue
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data.dataloader import _BaseDataLoaderIter

from gradscope.engine.aside.holders import (
    MISSING,
    BareHolder,
    CellHolder,
    DequeHolder,
    DictHolder,
    EmptyHolder,
    Holder,
    ItemsHolder,
    ListHolder,
    NamesHolder,
    SetHolder,
    attributes_of_class,
    names_in,
    slots_of,
)
from gradscope.engine.aside.iterators import is_iterator_kind, is_suspended_kind, parts_of, place_of
from gradscope.engine.aside.kinds import (
    functions_of,
    globals_of,
    is_pythons,
    is_running,
    is_understood,
    is_users_class,
    slots_in,
)
from gradscope.engine.aside.places import Place
from gradscope.engine.aside.value_holders import (
    ArrayHolder,
    BytesHolder,
    MeasuredHolder,
    MemoryHolder,
    RandomHolder,
    TensorHolder,
    samples_of,
)
from gradscope.engine.surroundings.error_parts import class_name, module_name, safely
from gradscope.engine.surroundings.unwinding import is_interruption
from gradscope.engine.surroundings.usercode import is_users_file
from gradscope.engine.wording import with_article

MOST_OBJECTS = 100_000
"""Beyond these, nothing is looked at any more."""
MOST_ITEMS = 1_000
"""A longer container is remembered, and what is in it is data and is not looked into."""
MOST_COPIED_BYTES = 64 * 1024 * 1024
"""Of tensors and arrays that are neither parameters nor buffers, together."""

_PLAIN = frozenset(
    (type(None), bool, int, float, complex, str, bytes, range, slice, type(...), torch.dtype, torch.device, torch.Size)
)

HOOKS = frozenset(name for name, value in vars(nn.Module()).items() if isinstance(value, dict) and "hooks" in name)
"""Attributes in which every module keeps hooks."""

_CData: Any = ctypes.c_int.__mro__[-2]
"""What all data of ctypes is."""

_Visit = Callable[[Place, Any], None]
_Of = TypeVar("_Of")


@dataclass
class Reached:
    """What was found so far; `look_from` finds more."""

    copies_parameters: bool
    only_looks: bool = False
    """Nothing is copied: all that is wanted are the `values`."""
    left_out: set[int] = field(default_factory=set)
    """Ids of tensors that are not looked at."""
    found: list[tuple[Place, str, Holder]] = field(default_factory=list)
    """(place, what it is, holder) of everything that can change, in the order in which it was reached."""
    tensors: list[TensorHolder] = field(default_factory=list)
    iterators: list[Any] = field(default_factory=list)
    """Python's own, which holders may lend copies of."""
    values: list[tuple[Place, Tensor]] = field(default_factory=list)
    """Every tensor."""
    is_complete: bool = True
    _seen: dict[int, object] = field(default_factory=dict)
    """With the objects themselves, so that nothing else gets their ids."""
    _names: dict[int, set[str]] = field(default_factory=dict)
    """Of modules, by the ids of their globals."""
    _visits: dict[type, _Visit] = field(default_factory=dict)
    _waiting: deque[tuple[Place, Any]] = field(default_factory=deque)
    _bytes: int = 0

    def __post_init__(self) -> None:
        self._empty: list[dict[Any, Any]] = []
        self._keep(Place("a module's hooks"), "", EmptyHolder(self._empty))
        self._bare: list[dict[Any, Any]] = []
        """Where modules would have parameters, buffers and modules, and have none: there may be some later."""
        self._keep(Place("a module's parts"), "", BareHolder(self._bare))

    def leave_out(self, objects: Iterable[object]) -> None:
        """These are not looked at."""
        self._seen.update((id(value), value) for value in objects)

    def look_from(self, roots: Mapping[str, object]) -> None:
        """`roots` by the names that they are told under."""
        self._waiting += [(Place(name), root) for name, root in roots.items()]
        while self._waiting:
            place, value = self._waiting.popleft()
            if type(value) in _PLAIN or value is MISSING or id(value) in self._seen:
                continue
            if len(self._seen) == MOST_OBJECTS:
                self.is_complete = False
                self._waiting.clear()
                return
            self._seen[id(value)] = value
            kind = type(value)
            visit = self._visits.get(kind)
            if visit is None:
                visit = self._visits[kind] = self._visit_of(kind)
            try:
                visit(place, value)
            except BaseException as error:
                # A class of the user's can be anything, and what cannot be looked at is passed over.
                if is_interruption(error):
                    raise

    def moved(self) -> list[str]:
        """The names of what is not as it was when it was reached, but for what is left to other threads."""
        return [
            place.named(what)
            for place, what, holder in self.found
            if not holder.is_left and safely(holder.differs, False)
        ]

    @property
    def modules(self) -> list[nn.Module]:
        """Every module."""
        return self._seen_of(nn.Module)

    def _seen_of(self, kind: type[_Of]) -> list[_Of]:
        """Those of a class. Asked of their type: a weak proxy pretends, and raises where what it stands for is gone."""
        seen: Iterable[Any] = self._seen.values()
        return [value for value in seen if issubclass(type(value), kind)]

    def _visit_of(self, kind: type) -> _Visit:
        """How objects of a class are looked at."""
        exact: dict[type, _Visit] = {
            FunctionType: self._visit_function,
            MethodType: lambda place, method: self._push([(place, method.__self__), (place, method.__func__)]),
            CellType: lambda place, cell: self._keep_items(place, "a variable", CellHolder(cell), lambda _: place),
        }
        if kind in exact:
            return exact[kind]
        if is_suspended_kind(kind):
            return self._visit_suspended
        if is_iterator_kind(kind):
            return self._visit_iterator
        if issubclass(kind, ModuleType) or module_name(kind).startswith("gradscope.engine"):
            return lambda place, value: None
        families: list[tuple[Any, _Visit]] = [
            (Tensor, lambda place, tensor: self._visit_tensor(place, tensor, is_buffer=False)),
            (np.ndarray, self._visit_array),
            (partial, lambda place, it: self._push([(place, it.func), (place, it.args), (place, it.keywords)])),
            (type, lambda place, cls: self._visit_class(cls)),
            ((staticmethod, classmethod), lambda place, method: self._push([(place, method.__func__)])),
            (property, lambda place, it: self._push([(place, it.fget), (place, it.fset)])),
            # It may have given work to other processes: its attributes alone must not be put back.
            (_BaseDataLoaderIter, self._measured("the iterator of a DataLoader", lambda it: it._num_yielded)),
            # Another thread may be at its other end.
            (Queue, self._measured("a queue", lambda queue: [*map(id, queue.queue)])),
            (SimpleQueue, self._measured("a queue", lambda queue: queue.qsize())),
            (_CData, self._visit_memory),
            (SynchronizedBase, lambda place, it: self._push([(place, it.get_obj())])),
            (threading.local, self._visit_local),
            (io.IOBase, self._measured("a file", lambda file: (file.closed, file.tell()))),
            (torch.jit.ScriptModule, self._visit_scripted),
            # As Python has it: the user's own class may do more when it is called.
            (weakref.ReferenceType, lambda place, it: self._visit_weak(place, weakref.ref.__call__(it))),
            (weakref.ProxyTypes, lambda place, it: self._visit_weak(place, getattr(it.__repr__, "__self__", None))),
        ]
        for family, visit in families:
            if issubclass(kind, family):
                return visit
        container, attributes = self._container_visit_of(kind), self._attributes_visit_of(kind)

        def visit_object(place: Place, value: Any) -> None:
            generator = RandomHolder.of(value)
            if generator is not None:
                return self._keep(place, "a random generator", generator)
            if container is not None:
                container(place, value)
            attributes(place, value)

        return visit_object

    def _measured(self, what: str, measure: Callable[[Any], Any]) -> _Visit:
        return lambda place, value: self._keep(place, what, MeasuredHolder(lambda: measure(value), value))

    def _visit_suspended(self, place: Place, value: Any) -> None:
        self._keep(place, "a generator", MeasuredHolder(lambda: place_of(value), value))
        frame = getattr(value, "gi_frame", None)
        self._push([(place.attribute(name), held) for name, held in (frame.f_locals if frame else {}).items()])

    def _visit_weak(self, place: Place, value: Any) -> None:
        """Only what lives as long as the training does: anything else would live longer by being looked at."""
        if isinstance(value, (nn.Module, Optimizer, LRScheduler)):
            self._push([(place, value)])

    def _visit_iterator(self, place: Place, value: Any) -> None:
        self.iterators.append(value)
        # A tuple that holds it cannot be made to hold a copy of it.
        self._keep(place, "an iterator", MeasuredHolder(lambda: place_of(value), value))
        self._push([(place, part) for part in parts_of(value)])

    def _visit_local(self, place: Place, value: threading.local) -> None:
        """What this thread sees of it."""
        self._keep_items(place, "", DictHolder(value.__dict__), place.attribute)

    def _container_visit_of(self, kind: type) -> _Visit | None:
        if issubclass(kind, dict):
            return lambda place, value: self._keep_items(place, "a dict", DictHolder(value))
        if issubclass(kind, list):
            return lambda place, value: self._keep_items(place, "a list", ListHolder(value))
        if issubclass(kind, deque):
            return lambda place, value: self._keep_items(place, "a deque", DequeHolder(value))
        if issubclass(kind, set):
            return lambda place, value: self._keep_items(place, "a set", SetHolder(value), lambda _: place)
        if issubclass(kind, (tuple, frozenset)):
            return self._visit_fixed
        if issubclass(kind, (bytearray, array)):
            return self._visit_bytes
        return None

    def _visit_fixed(self, place: Place, value: Any) -> None:
        if len(value) <= MOST_ITEMS:
            self._push([(place.item(i), item) for i, item in enumerate(value) if type(item) not in _PLAIN])

    def _attributes_visit_of(self, kind: type) -> _Visit:
        is_users, is_module = is_users_class(kind), issubclass(kind, nn.Module)
        is_kept = (is_users or is_understood(kind)) and not is_running(kind)
        slots = slots_in(kind) if is_users else []

        def visit(place: Place, value: Any) -> None:
            attributes = safely(lambda: object.__getattribute__(value, "__dict__"), None)
            if type(attributes) is dict and is_kept:
                self._keep_items(place, "", DictHolder(attributes), place.attribute)
                if is_module:
                    self._visit_module(place, attributes)
            elif type(attributes) is dict and (is_running(kind) or not is_pythons(kind)):
                # A writer, a progress bar, a client: what it stands for is elsewhere.
                measured = MeasuredHolder(
                    lambda: [(key, id(item)) for key, item in attributes.items()], value, alive=dict(attributes)
                )
                self._keep(place, with_article(class_name(kind)), measured)
            if slots:
                self._keep_items(place, "", slots_of(value, slots), place.attribute)
            if is_users:
                self._push([(place, kind)])

        return visit if hasattr(kind, "__dict__") or slots else lambda place, value: None

    def _visit_module(self, place: Place, attributes: dict[str, Any]) -> None:
        """Its tensors under the names that they have for the user; and the dicts of hooks, of which most are empty."""
        for name in ("_parameters", "_buffers", "_modules"):
            inside = attributes.get(name)
            if not isinstance(inside, dict):
                continue
            if inside:
                self._seen[id(inside)] = inside
                self.found.append((place, "", DictHolder(inside)))
            elif id(inside) not in self._seen:
                self._seen[id(inside)] = inside
                self._bare.append(inside)
            for key, value in dict.items(inside):
                if name != "_buffers":
                    self._waiting.append((place.attribute(key), value))
                elif value is not None and id(value) not in self._seen:
                    self._seen[id(value)] = value
                    self._visit_tensor(place.attribute(key), value, is_buffer=True)
        for name in HOOKS & attributes.keys():
            value = attributes[name]
            if type(value) in (dict, OrderedDict) and not value and id(value) not in self._seen:
                self._seen[id(value)] = value
                self._empty.append(value)

    def _visit_scripted(self, place: Place, module: Any) -> None:
        """It keeps its attributes where Python does not see them."""
        flag = NamesHolder(["training"], partial(getattr, module), partial(setattr, module), partial(delattr, module))
        self._keep_items(place, "", flag, place.attribute)
        for name, tensor in [*module._buffers.items(), *module._parameters.items()]:
            if tensor is not None and id(tensor) not in self._seen:
                self._seen[id(tensor)] = tensor
                self._visit_tensor(place.attribute(name), tensor, is_buffer=not tensor.requires_grad)
        self._push([(place.attribute(name), part) for name, part in module._modules.items()])

    def _visit_tensor(self, place: Place, tensor: Tensor, *, is_buffer: bool) -> None:
        self.values.append((place, tensor))
        if self.only_looks or id(tensor) in self.left_out or torch.nn.parameter.is_lazy(tensor):
            return
        if is_buffer:
            is_copied = True
        elif tensor.requires_grad or isinstance(tensor, nn.Parameter):
            is_copied = self.copies_parameters and tensor.is_leaf
        else:
            is_copied = self._has_room(tensor.numel() * tensor.element_size())
        holder = TensorHolder(tensor, is_copied=is_copied)
        self.tensors.append(holder)
        self._keep(place, "", holder)
        # Attributes that somebody has hung on it.
        self._push([(place.attribute(name), item) for name, item in vars(tensor).items()])

    def _visit_array(self, place: Place, array: np.ndarray[Any, Any]) -> None:
        if self.only_looks:
            return
        if self._has_room(array.nbytes):
            self._keep(place, "an array", ArrayHolder(array))
        elif array.flags.writeable:
            self._keep(place, "a large array", MeasuredHolder(lambda: samples_of(array), array))

    def _visit_bytes(self, place: Place, content: bytearray | array[Any]) -> None:
        if not self.only_looks and self._has_room(memoryview(content).nbytes):
            self._keep(place, "an array", BytesHolder(content))

    def _visit_memory(self, place: Place, content: Any) -> None:
        if not self.only_looks and self._has_room(ctypes.sizeof(content)):
            self._keep(place, "memory", MemoryHolder(content))

    def _has_room(self, size: int) -> bool:
        if self._bytes + size > MOST_COPIED_BYTES:
            return False
        self._bytes += size
        return True

    def _visit_function(self, place: Place, function: FunctionType) -> None:
        name = f"{function.__name__}()"
        for variable, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            self._push([(Place(variable, owner=name), cell)])
        self._push([(place, function.__defaults__), (place, function.__kwdefaults__)])
        if function.__dict__:
            self._push([(place, function.__dict__)])
        if is_users_file(function.__code__.co_filename):
            self._visit_globals(function)

    def _visit_globals(self, function: FunctionType) -> None:
        names, content = globals_of(function.__code__), function.__globals__
        owner = Path(function.__code__.co_filename).name
        self._keep_names(content, names, lambda name: Place(name, owner=owner))
        for name in names:
            module = content.get(name)
            if isinstance(module, ModuleType) and is_users_file(getattr(module, "__file__", None) or "<none>"):
                self._keep_names(vars(module), names, Place(name).attribute)

    def _keep_names(
        self, content: dict[str, Any], names: tuple[str, ...], place_of_name: Callable[[Any], Place]
    ) -> None:
        """Globals of a module, each looked at once."""
        known = self._names.setdefault(id(content), set())
        new = [name for name in names if name not in known]
        known |= {*new}
        for name in new:
            self._keep_items(place_of_name(name), "a global", names_in(content, [name]), place_of_name)

    def _visit_class(self, cls: type) -> None:
        for base in reversed(cls.__mro__):
            if not is_users_class(base) or (base is not cls and id(base) in self._seen):
                continue
            self._seen[id(base)] = base
            names = [name for name in vars(base) if not (name.startswith("__") and name.endswith("__"))]
            written = sorted({*names, *(name for f in functions_of(base) for name in globals_of(f.__code__))})
            held = attributes_of_class(base, written)
            self._keep_items(Place(base.__name__), "", held, Place(base.__name__).attribute)
            self._push([(Place(base.__name__), function) for function in functions_of(base)])

    def _keep_items(
        self,
        place: Place,
        what: str,
        holder: ItemsHolder,
        place_of_item: Callable[[Any], Place] | None = None,
    ) -> None:
        """And look into what it holds, unless that is too long to be anything but data."""
        self._keep(place, what, holder)
        if len(holder.values) > MOST_ITEMS:
            return
        for key, value in zip(holder.keys or range(len(holder.values)), holder.values, strict=True):
            if type(value) not in _PLAIN and value is not MISSING and id(value) not in self._seen:
                self._waiting.append(((place_of_item or place.item)(key), value))

    def _keep(self, place: Place, what: str, holder: Holder) -> None:
        self.found.append((place, what, holder))

    def _push(self, more: Iterable[tuple[Place, Any]]) -> None:
        self._waiting += more
