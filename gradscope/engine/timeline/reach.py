"""All that a training can reach and that can change, looked at again and again: what has changed since the last time is
copied, and the rest is shared with it.

It goes by the walk of `aside`, which is made once; afterwards only what has changed is followed to new objects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gradscope.engine.aside.holders import MISSING, BareHolder, EmptyHolder, Holder, ItemsHolder
from gradscope.engine.aside.places import Place
from gradscope.engine.aside.value_holders import MeasuredHolder, is_same, version_of
from gradscope.engine.aside.walk import MOST_ITEMS
from gradscope.engine.quantities.kernel.extension import NATIVE
from gradscope.engine.surroundings.error_parts import safely
from gradscope.engine.timeline.blocks import Block, Copy, are_same, copies_of, give
from gradscope.engine.timeline.data_seen import SeenDataset, parts_to_keep
from gradscope.engine.timeline.marks import Attributes
from gradscope.engine.timeline.plain_sums import sum_of_plain
from gradscope.engine.timeline.walks import Walk
from gradscope.engine.wording import listed

_MOST_COMPARED_BYTES = 1024 * 1024
_GROWN_BY = 200
"""So many more things than at the last walk, and a new one is made: what nobody reaches any more is let go of."""


@dataclass(slots=True)
class Gradient:
    """What a tensor's `.grad` was. `copy` None: nothing writes into that tensor, so it is kept itself."""

    tensor: Tensor
    version: int
    copy: Copy | None
    block: Block
    """The memory that it is kept in."""


@dataclass(slots=True)
class TensorKept:
    """One tensor as it was."""

    copy: Copy | None
    """None: it belongs to a graph, or has no numbers yet."""
    requires_grad: bool
    gradient: Gradient | None


class TensorCell:
    """A tensor, and what was kept of it the last time."""

    __slots__ = (*("copy", "gradient", "has_version", "is_trusted", "kept", "place", "tensor", "version", "was_lazy"),)

    def __init__(self, place: Place, tensor: Tensor, *, is_trusted: bool) -> None:
        self.place, self.tensor = place, tensor
        self.has_version = not tensor.is_inference()
        self.was_lazy = bool(torch.nn.parameter.is_lazy(tensor))
        self.copy: Copy | None = None
        """The newest one."""
        self.gradient: Gradient | None = None
        """The same."""
        self.is_trusted = is_trusted
        """Its version tells whether it has changed, where it is large: it is data, that a training reads."""
        self.version = -1
        self.kept: TensorKept | None = None

    @property
    def has_numbers(self) -> bool:
        tensor = self.tensor
        return tensor.grad_fn is None and not torch.nn.parameter.is_lazy(tensor)


def _root_of(place: Place) -> str:
    while place.parent is not None:
        place = place.parent
    return str(place.key)


class _Walk(Walk):
    """Copies no tensor by itself."""

    def __post_init__(self) -> None:
        self.cells: list[TensorCell] = []
        super().__post_init__()

    def _visit_tensor(self, place: Place, tensor: Tensor, *, is_buffer: bool) -> None:
        is_trained = is_buffer or tensor.requires_grad or isinstance(tensor, nn.Parameter)
        is_data = not is_trained and not _root_of(place).startswith(("optimizer", "scaler"))
        self.cells.append(TensorCell(place, tensor, is_trusted=is_data))
        self._push([(place.attribute(name), item) for name, item in vars(tensor).items()])

    def only_see(self, dataset: object) -> None:
        """Where it is come to, it is not looked into: see `SeenDataset`."""
        kind = type(dataset)
        visit = self._visit_of(kind)

        def visit_it(place: Place, value: Any) -> None:
            if value is dataset:
                self._keep(place, "the dataset", SeenDataset(dataset))
            else:
                visit(place, value)

        self._visits[kind] = visit_it

    def follow(self, place: Place, values: list[Any]) -> None:
        """Look from what something holds now."""
        new = [value for value in values if value is not MISSING and id(value) not in self._seen]
        if new:
            self._push([(place.item(i), value) for i, value in enumerate(new)])
            self.look_from({})


@dataclass(frozen=True, slots=True)
class ReachKept:
    """Everything, as it was at one time."""

    holders: list[Holder]
    """At that time so many as there are `values`; there may be more of them since."""
    values: list[Any]
    cells: list[TensorCell]
    kept: list[TensorKept]
    blocks: tuple[Block, ...]
    measured: list[tuple[str, MeasuredHolder, Any]]
    """(name, ...) of what cannot be put back: what it was then."""


class Reach:
    """`take` what there is now; `give` it back."""

    def __init__(
        self,
        roots: Callable[[], Mapping[str, object]],
        but: Callable[[], list[object]],
        dataset: object,
        *,
        data_bytes: int,
    ) -> None:
        """`roots` are asked for anew each time; what `but` gives is none of the training's state. A dataset of
        more than `data_bytes` is none either: it is only told where it has changed. Smaller ones are state."""
        self._roots, self._but, self._dataset, self._data_bytes = roots, but, dataset, data_bytes
        self.has_data_changed = False
        """The training's own code has changed the data that is kept."""
        self._newest: list[Any] = []
        """What was taken of the holders the last time."""
        self._size_at_first = self._count_at_first = self._walks = 0
        self._begin()

    def look(self) -> Attributes:
        """What is there now, but for the tensors."""
        self._look_at_roots()
        holders, sums = self._holders, self._sums
        # Another list: checkpoints have the ones of before.
        values = [*self._newest]
        for at in self._moved():
            value = holders[at].taken()
            if value is not values[at]:
                values[at] = value
                self._note_change(holders[at].content)
                self._follow(at, value)
                if at < self._count_at_first:
                    sums[at] = sum_of_plain(value)
        while len(values) < len(holders):
            # Those that are followed to come on top.
            at, value = len(values), holders[len(values)].taken()
            values.append(value)
            self._follow(at, value)
            if at < self._count_at_first:
                sums[at] = sum_of_plain(value)
        self._newest = values
        # A copy: marks keep it.
        return Attributes(self._walks, sums.copy(), lambda at: str(self._places[at]))

    def take(self, *, is_cleared: Callable[[Tensor], bool], is_looked_at: bool = False) -> ReachKept:
        """`is_cleared`: the next thing that happens to the gradient of this tensor is that another takes its place;
        `is_looked_at`: `look` was called just now."""
        if not is_looked_at or len(self._newest) < self._count_at_first:
            self.look()
        values = self._newest
        kept = self._take_tensors(is_cleared)
        blocks: dict[int, Block] = {}
        for one in kept:
            if one.copy is not None:
                blocks[id(one.copy.block)] = one.copy.block
            if one.gradient is not None:
                blocks[id(one.gradient.block)] = one.gradient.block
        measured = [(name, holder, safely(holder.measured, None)) for name, holder in self._measured]
        taken = ReachKept(self._holders, values, self._cells, kept, tuple(blocks.values()), measured)
        if self._walk.size > self._size_at_first * 1.5 + _GROWN_BY:
            self._begin(self._cells)
        return taken

    def give(self, taken: ReachKept) -> list[str]:
        """Make everything as it was then; sentences about what cannot be so."""
        failed: list[str] = []
        for holder, value in zip(taken.holders, taken.values, strict=False):
            try:
                holder.give(value)
            except Exception as error:
                failed.append(f"Something could not be put back: {type(error).__name__}")
        with torch.no_grad():
            for cell, kept in zip(taken.cells, taken.kept, strict=False):
                try:
                    failed += _give_tensor(cell, kept)
                except Exception as error:
                    failed.append(f"{cell.place} could not be put back: {type(error).__name__}")
        moved = [name for name, holder, before in taken.measured if safely(partial(_has_moved, holder, before), True)]
        if moved:
            failed.append(f"What cannot be put back: {listed(moved)}")
        return failed

    def estimate_bytes(self) -> int:
        """Of all tensors: what a first checkpoint takes."""
        self._look_at_roots()
        return sum(cell.tensor.numel() * cell.tensor.element_size() for cell in self._cells if cell.has_numbers)

    # ------------------------------------------------------------------------------------------ private

    def _moved(self) -> Iterable[int]:
        """The places of those holders that may hold something else than the last time."""
        if NATIVE is None:
            return range(len(self._newest))
        return [at for at, is_as_it_was in enumerate(NATIVE.unmoved(self._items, self._newest)) if not is_as_it_was]

    def _note_change(self, content: object) -> None:
        if id(content) in self._data:
            self.has_data_changed = True

    def _begin(self, known: list[TensorCell] | None = None) -> None:
        self._walk = _Walk(copies_parameters=False)
        self._walk.leave_out(part for part in self._but() if part is not self._dataset)
        parts = parts_to_keep(self._dataset, self._data_bytes) if self._data_bytes else None
        self._data = parts or {}
        """What can change in the data, by ids."""
        if parts is None:
            self._walk.only_see(self._dataset)
        self._seen_roots: dict[str, object] = {}
        self._holders: list[Holder] = []
        self._items: list[object] = []
        """Of those."""
        self._places: list[Place] = []
        self._cells: list[TensorCell] = []
        self._newest = []
        self._measured: list[tuple[str, MeasuredHolder]] = []
        self._added = self._added_cells = 0
        self._known = {id(cell.tensor): cell for cell in known or ()}
        self._look_at_roots()
        self._size_at_first, self._count_at_first = self._walk.size, len(self._holders)
        self._walks += 1
        self._sums = np.zeros(self._count_at_first, dtype=np.int64)
        """Of what those holders hold that were there first: which of the later ones there are depends on what was done."""
        self._known = {}

    def _follow(self, at: int, value: Any) -> None:
        """To what a holder holds now, unless that is too much to be anything but data."""
        items: list[Any] | None = None
        if isinstance(self._holders[at], ItemsHolder):
            items = value[1]
        elif isinstance(self._holders[at], BareHolder) and value is not None:
            items = [item for _, inside in value for item in inside.values()]
        if items is not None and len(items) <= MOST_ITEMS:
            self._walk.follow(self._places[at], items)
            if len(self._walk.found) > self._added or len(self._walk.cells) > self._added_cells:
                self._add_found()

    def _look_at_roots(self) -> None:
        roots = self._roots()
        new = {name: root for name, root in roots.items() if self._seen_roots.get(name) is not root}
        if new:
            self._seen_roots.update(new)
            self._walk.look_from(new)
            self._add_found()

    def _add_found(self) -> None:
        hooks: set[int] | None = None
        for place, what, holder in self._walk.found[self._added :]:
            if isinstance(holder, EmptyHolder) and not isinstance(holder, BareHolder):
                # Hooks that are put there later are ours, or somebody's who has a reason.
                continue
            if isinstance(holder, MeasuredHolder):
                self._measured.append((f"{place} ({what})" if what else str(place), holder))
                continue
            if holder.content is not None and type(holder.content) is not list:
                hooks = self._walk.hooks if hooks is None else hooks
                if id(holder.content) in hooks:
                    continue
            self._holders.append(holder)
            self._items.append(holder.items)
            self._places.append(place)
        self._added = len(self._walk.found)
        for cell in self._walk.cells[self._added_cells :]:
            self._cells.append(self._known.get(id(cell.tensor), cell))
        self._added_cells = len(self._walk.cells)

    def _take_tensors(self, is_cleared: Callable[[Tensor], bool]) -> list[TensorKept]:
        written: list[TensorCell] = []
        asked: list[TensorCell] = []
        """Their versions are the same."""
        added: list[TensorCell] = []
        """Their gradients may be added to in place."""
        for cell in self._cells:
            tensor, known, cell.gradient = cell.tensor, cell.kept, None
            if tensor.grad_fn is not None or (cell.was_lazy and not cell.has_numbers):
                cell.kept = None
                continue
            version = tensor._version if cell.has_version else 0
            if known is None or known.copy is None:
                written.append(cell)
            elif cell.version != version:
                written.append(cell)
                self._note_change(tensor)
            elif not (cell.is_trusted and tensor.numel() * tensor.element_size() > _MOST_COMPARED_BYTES):
                # Also these: writing through `.data` leaves no mark in the version, nor do fused kernels.
                asked.append(cell)
            cell.version = version
            gradient = tensor.grad
            if gradient is None:
                continue
            before = None if known is None else known.gradient
            if before is not None and before.tensor is gradient and _is_as(before, gradient):
                cell.gradient = before
            elif is_cleared(tensor):
                cell.gradient = Gradient(gradient, version_of(gradient), None, Block(gradient))
            else:
                added.append(cell)
        are_as_before = are_same([cell.tensor for cell in asked], [cell.kept.copy for cell in asked])  # type: ignore[union-attr, misc]
        written += [cell for cell, is_as_before in zip(asked, are_as_before, strict=True) if not is_as_before]
        _copy(written, added)
        for cell in self._cells:
            kept = cell.kept
            if (
                kept is None
                or kept.copy is not cell.copy
                or kept.gradient is not cell.gradient
                or kept.requires_grad != cell.tensor.requires_grad
            ):
                has_numbers = cell.copy is not None and cell.tensor.grad_fn is None
                cell.kept = TensorKept(cell.copy if has_numbers else None, cell.tensor.requires_grad, cell.gradient)
        return [cell.kept for cell in self._cells]  # type: ignore[misc]


def _copy(written: list[TensorCell], added: list[TensorCell]) -> None:
    """What the ones hold, and the gradients of the others."""
    gradients = [gradient for cell in added if (gradient := cell.tensor.grad) is not None]
    copies = copies_of([*(cell.tensor for cell in written), *gradients])
    for cell, copy in zip(written, copies, strict=False):
        cell.copy = copy
    for cell, gradient, copy in zip(added, gradients, copies[len(written) :], strict=True):
        cell.gradient = Gradient(gradient, version_of(gradient), copy, copy.block)


def _has_moved(holder: MeasuredHolder, before: Any) -> bool:
    return bool(holder.measured() != before)


def _is_as(before: Gradient, gradient: Tensor) -> bool:
    if before.copy is None:
        return before.version == version_of(gradient)
    return before.version == version_of(gradient) and is_same(gradient, before.copy.tensor)


def _give_tensor(cell: TensorCell, kept: TensorKept) -> list[str]:
    tensor, failed = cell.tensor, list[str]()
    if kept.copy is not None:
        give(tensor, kept.copy.tensor)
    if tensor.is_leaf and tensor.requires_grad != kept.requires_grad:
        tensor.requires_grad_(kept.requires_grad)
    if tensor.is_leaf:
        gradient = kept.gradient
        if gradient is not None and gradient.copy is None and version_of(gradient.tensor) != gradient.version:
            failed.append(f"The gradient of {cell.place} was written to, and is not as it was")
        # Another tensor: what is added to it now must leave the one that is kept alone.
        tensor.grad = None if gradient is None else (gradient.copy or gradient).tensor.clone()
    # As it is now, so that what follows shares with it.
    cell.kept, cell.copy, cell.version = kept, kept.copy, version_of(tensor)
    return failed
