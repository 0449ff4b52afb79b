"""Does what the model is given get as far as its layers? An input that differs from sample to sample, of which whole-number
division, rounding, a cast or a clamp leaves the same number for all before a layer that is trained sees it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from gradscope.engine.findings.bench import Bench
from gradscope.engine.findings.draft import EXPERIMENTS, CannotJudge, Draft, Experiment
from gradscope.engine.findings.record import Record
from gradscope.engine.findings.tracing import Functions
from gradscope.engine.findings.watch.marks import Marks, tensors_of
from gradscope.engine.model.leaves import tensor_leaves
from gradscope.protocol.findings import Evidence

BATCHES = 8
SAMPLES = 64
"""Fewer may well be alike."""
MOST_PLACES = 10_000_000
"""Of a tensor, compared one by one."""
_PICKING = frozenset(
    ("__getitem__", "select", "narrow", "chunk", "split", "unbind", "index_select", "gather", "take", "tensor_split")
)
"""A constant part of the data is the data's."""
_MAKING = ("new_", "zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like")
"""They take no more than a shape."""


def find_wiped(bench: Bench, record: Record) -> Iterable[Draft]:
    if not isinstance(bench.model, nn.Module) or not bench.batches:
        raise CannotJudge("the model is no module, or there is no batch")
    trained = {p.layer for p in record.parameters.values() if p.requires_grad and p.is_trained}
    seen: dict[str, list[_Arrived]] = {}
    batches = list(bench.batches)[:BATCHES]
    for batch in batches:
        with _Watching(bench.model, trained) as watching:
            bench.loss(batch)
        for layer, arrived in watching.arrived.items():
            seen.setdefault(layer, []).append(arrived)
        # Nothing to follow any further.
        seen = {layer: found for layer, found in seen.items() if layer in watching.arrived and found[-1].by}
        if not seen:
            return []
    return [
        _draft(layer, found)
        for layer, found in seen.items()
        if len({arrived.value for arrived in found}) == 1 and sum(arrived.samples for arrived in found) >= SAMPLES
    ]


class _Arrived:
    """What has come to a layer's first call: `by` is what made it the same for all, "" where it is not."""

    def __init__(self, tensor: Tensor, by: str) -> None:
        self.by, self.samples = by, len(tensor)
        self.value = float(tensor.flatten()[0]) if by else 0.0


class _Watching(Functions):
    """Follows the tensors that the model is called with up to the first layers that are trained."""

    def __init__(self, model: nn.Module, trained: set[str]) -> None:
        super().__init__()
        self._model = model
        self._layers = {m: name for name, m in model.named_modules() if name in trained and not any(m.children())}
        self._varied: Marks[bool] = Marks()
        self._wiped: Marks[tuple[str, Tensor]] = Marks()
        """Tensor -> the function that made it the same everywhere, and what it was made of."""
        self._copied_from: Marks[Tensor] = Marks()
        """A part that is a copy -> what it was picked from."""
        self._in_use: set[_Region] = set()
        """Of varied tensors that something else than such a function was made of."""
        self.arrived: dict[str, _Arrived] = {}
        self._found: list[tuple[str, _Arrived, Tensor]] = []
        self._inside = self._running = 0
        self._handles = contextlib.ExitStack()

    def __enter__(self) -> _Watching:
        self._handles.callback(register_module_forward_pre_hook(self._enter).remove)
        self._handles.callback(register_module_forward_hook(self._leave).remove)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._handles.close()
        for layer, arrived, source in self._found:
            if any(a.meets(b) for a in self._regions(source) for b in self._in_use):
                # It gets to the model on another way.
                arrived.by = ""
            self.arrived[layer] = arrived

    def _enter(self, module: nn.Module, given: Any) -> None:
        if module is self._model:
            self._running += 1
            for _, tensor in tensor_leaves(given):
                if tensor.dim() and not _is_one_value(tensor):
                    self._varied.put(tensor, True)
        if module not in self._layers:
            return
        self._inside += 1
        tensors = list(tensors_of(given))
        name = self._layers[module]
        wiped = self._wiped.get(tensors[0]) if len(tensors) == 1 else None
        if wiped is not None and name not in self.arrived and all(layer != name for layer, *_ in self._found):
            self._found.append((name, _Arrived(tensors[0], wiped[0]), wiped[1]))
        elif wiped is None:
            self.arrived[name] = _Arrived(torch.zeros(1), "")
            self._found = [found for found in self._found if found[0] != name]
            for tensor in tensors:
                self._in_use |= self._regions(tensor)

    def _leave(self, module: nn.Module, given: Any, returned: Any) -> None:
        self._inside -= module in self._layers
        self._running -= module is self._model

    def see(self, name: str, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = function(*args, **kwargs)
        if self._running and not self._inside:
            self._follow(name.strip("_") if name != "__getitem__" else name, (args, kwargs), result)
        return result

    def _follow(self, name: str, given: Any, result: Any) -> None:
        sources = [tensor for tensor in tensors_of(given) if self._varied.get(tensor)]
        wiped = next(filter(None, map(self._wiped.get, tensors_of(given))), None)
        if (not sources and wiped is None) or name.startswith(_MAKING):
            return
        for made in _tensors_made(result):
            is_same = _is_one_value(made)
            if sources and is_same and len(made) == len(sources[0]) and not made.requires_grad:
                if name not in _PICKING and made.dtype is not torch.bool:
                    self._wiped.put(made, (name, sources[0]))
                self._varied.drop(made)
            elif sources:
                for source in sources:
                    # A part of it, or another view, is something of its own; what is made of that is made of this, too.
                    if made.untyped_storage().data_ptr() == source.untyped_storage().data_ptr():
                        continue
                    if name in _PICKING:
                        self._copied_from.put(made, source)
                    else:
                        self._in_use |= self._regions(source)
                if not made.requires_grad and made.dtype is not torch.bool:
                    self._varied.put(made, True)
            elif wiped is not None and is_same and not made.requires_grad:
                self._wiped.put(made, wiped)

    def _regions(self, tensor: Tensor) -> set[_Region]:
        """What it holds of the memory, and of that which it was copied from."""
        found: set[_Region] = set()
        part: Tensor | None = tensor
        while part is not None:
            found.add(
                _Region(part.untyped_storage().data_ptr(), int(part.storage_offset()), tuple(part.shape), part.stride())
            )
            part = self._copied_from.get(part)
        return found


class _Region(NamedTuple):
    storage: int
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def meets(self, other: _Region) -> bool:
        """They share an element, or are too large to tell."""
        if self.storage != other.storage:
            return False
        if max(math.prod(self.shape), math.prod(other.shape)) > MOST_PLACES:
            return True
        return bool(torch.isin(self._places(), other._places()).any())

    def _places(self) -> Tensor:
        places = torch.tensor([self.offset])
        for size, stride in zip(self.shape, self.strides, strict=True):
            places = (places[:, None] + stride * torch.arange(size)).flatten()
        return places


def _tensors_made(result: Any) -> Iterator[Tensor]:
    return (tensor for tensor in tensors_of(result) if tensor.dim() and tensor.layout is torch.strided)


def _is_one_value(tensor: Tensor) -> bool:
    value = tensor.detach()
    return not value.numel() or bool((value == value.flatten()[0]).all())


def _draft(layer: str, found: list[_Arrived]) -> Draft:
    samples, value, by = sum(arrived.samples for arrived in found), found[0].value, found[0].by
    return Draft(
        id="constant-input",
        where=layer,
        why=f"What goes into `{layer}` is the same for all samples: it cannot tell them apart.",
        evidence=(
            Evidence(
                name="different inputs of the layer",
                value=1,
                threshold=2,
                text=f"`{layer}` gets {value:g} for all {samples} samples; what that was made of differs between them",
            ),
        ),
        do=f"Look at the {by} before `{layer}`: whole-number division, rounding, a cast or a clamp leaves {value:g} of "
        "every value.",
        instead="It is no constant of the data: what the model is given there does differ, and is used nowhere else.",
    )


EXPERIMENTS.append(
    Experiment(
        ids=("constant-input",),
        title="Do the inputs get as far as the layers?",
        run=find_wiped,
        # Most often there is nothing to be followed after the first batch.
        passes=lambda bench, record: (1, 0),
    )
)
