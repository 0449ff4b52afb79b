"""Whose `.grad` is whose: what a backward has left there, what it is multiplied with, and what the step has made of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor

from gradscope.engine.book.gradient_copies import GradientCopies
from gradscope.engine.book.turns import Turn, groups_of
from gradscope.engine.capture.observer import Observer
from gradscope.engine.model.parameters import is_uninitialised
from gradscope.engine.quantities.values import at_least_float32
from gradscope.protocol.subjects import SubjectKey, SubjectKind


class NothingKept(Exception):
    """What is asked for is not kept at this capture level; the text says so."""


class Turns(Protocol):
    """Who says which optimizers there are, and whose turn it is."""

    @property
    def turns(self) -> Sequence[Turn]: ...

    @property
    def turn(self) -> Turn: ...


class Gradients:
    """The gradients of one training. Who drives it tells of each thing that changes them: `begin_...`, `note_...`."""

    def __init__(self, whose: Turns, observer: Observer) -> None:
        self._whose, self._observer = whose, observer
        self.scale: float | None = None
        """What the loss and so the gradients are multiplied with; None without a scaler."""
        self.are_clipped_changed = False
        """The optimizer may have changed the clipped gradients in its step."""
        self.held: dict[str, Tensor] = {}
        """What the newest step could move, by name."""
        self._clipped: dict[str, Tensor] = {}
        self._seen = GradientCopies()
        """As the backward left them: the step may unscale and clip them."""
        self._before: dict[str, tuple[int, int]] | None = None
        self._touched: set[str] = set()
        """Whose gradients this window's backwards have changed."""
        self._scaled_names: set[str] = set()
        """Whose gradients, as the backward left them, carry the loss scale."""
        self._unscaled: set[str] = set()
        """Those of them that the newest step has unscaled since."""
        self._are_lost = False
        """The step has changed gradients of which no copy is kept."""
        observer.scale_of, observer.left_over = self.scale_of, self.left_over
        observer.others_names = self.others_names

    # ------------------------------------------------------------------------------------------ what happens to them

    def begin_window(self) -> None:
        """The gradients of another step follow."""
        self._touched.clear()

    def clear(self, turn: Turn) -> None:
        """`zero_grad` of a turn's optimizer."""
        turn.optimizer.zero_grad(set_to_none=True)
        if self._scaled_names:
            cleared = {id(tensor) for tensor in turn.parameters}
            self._scaled_names -= {name for name, tensor in self.held.items() if id(tensor) in cleared}

    def begin_backward(self, movable: Mapping[str, Tensor], scale: float | None) -> None:
        """`scale`: what the loss is multiplied with."""
        self.scale = self._observer.gradient_scale = scale
        # Who was touched matters only where gradients of several kinds lie beside each other.
        is_noted = scale is not None or len(self._whose.turns) > 1
        self._before = {name: identity(tensor.grad) for name, tensor in movable.items()} if is_noted else None

    def end_backward(self, movable: Mapping[str, Tensor]) -> None:
        before, self._before = self._before, None
        if before is None:
            return
        touched = {name for name, tensor in movable.items() if identity(tensor.grad) != before[name]}
        self._touched |= touched
        if self.scale is not None:
            self._scaled_names |= touched

    def begin_step(self) -> None:
        """Until `remember` there is nothing to put back."""
        self._seen.forget(keep_memory=True)
        self.forget_clipped()
        self.held = self.movable()

    def remember(self, *, is_changing: bool, is_kept: bool) -> None:
        """The step that follows may change the gradients (`is_changing`); copy them then, if copies are kept."""
        if not is_kept:
            self._are_lost = is_changing
        elif is_changing:
            self._seen.remember(self.held)

    def note_unscaled(self) -> None:
        """The scaler has divided those that the optimizer's step is to use."""
        self._unscaled = self.own_names()

    def note_clipped(self, clipped: Mapping[str, Tensor], *, may_change: bool) -> None:
        """`may_change`: the optimizer's step may write into them."""
        self._clipped = dict(clipped)
        self.are_clipped_changed = may_change

    def forget_clipped(self) -> None:
        self._clipped, self.are_clipped_changed = {}, False

    def restore(self) -> None:
        """As they were when the step began."""
        self._seen.restore()
        self._unscaled = set()

    def forget_seen(self) -> None:
        """From here on a gradient is what `.grad` says, not what a backward had left."""
        self._seen.forget(keep_memory=True)
        self._scaled_names -= self._unscaled
        self._unscaled = set()
        self._are_lost = False

    def drop_copies(self) -> None:
        self._seen.forget()

    def forget(self) -> None:
        """Let go of everything that belongs to a step."""
        self._touched.clear()
        self._scaled_names.clear()
        self._unscaled = set()
        self._seen.forget()
        self.held = {}
        self.forget_clipped()
        self.scale = self._observer.gradient_scale = None

    # ------------------------------------------------------------------------------------------ what is asked of them

    def movable(self) -> dict[str, Tensor]:
        """The model's parameters, and what else the optimizers hold (a loss function with weights of its own)."""
        # An optimizer also moves a frozen one that still has a gradient.
        found = {n: t for n, t in self._observer.tensors().items() if t.requires_grad or t.grad is not None}
        known = {*map(id, found.values())}
        for i, group in enumerate(groups_of([turn.optimizer for turn in self._whose.turns])):
            parameters = group["params"]
            if known.issuperset(map(id, parameters)):
                continue
            for k, tensor in enumerate(parameters):
                if id(tensor) not in known and not is_uninitialised(tensor):
                    found[f"(optimizer group {i}, parameter {k})"] = tensor
        return found

    def named(self, tensors: Iterable[Tensor]) -> dict[str, Tensor]:
        """Those of the tensors that the newest step could move, by name, in the order given."""
        names = {id(tensor): name for name, tensor in self.held.items()}
        return {names[id(tensor)]: tensor for tensor in tensors if id(tensor) in names}

    def have_reached_nothing(self) -> bool:
        """No backward has reached what the turn's optimizer holds, as far as the hooks on parameters tell: with capture off
        there are none."""
        for group in groups_of([self._whose.turn.optimizer]):
            for tensor in group["params"]:
                if tensor.grad is not None:
                    return False
        capture = self._observer.capture
        # A hook of the user's may have stepped the optimizer, and dropped the gradient.
        return not (capture.is_off or capture.is_partial or self.own_names().intersection(self._observer.reached))

    def own_names(self) -> set[str]:
        """The parameters that this step is to move."""
        own = {id(tensor) for tensor in self._whose.turn.parameters}
        return {name for name, tensor in self.movable().items() if id(tensor) in own}

    def others_names(self) -> frozenset[str]:
        """The parameters that only other optimizers hold than the one whose turn it is."""
        turns = self._whose.turns
        if len(turns) == 1:
            return frozenset()
        own = {id(tensor) for tensor in self._whose.turn.parameters}
        others = {id(tensor) for turn in turns for tensor in turn.parameters} - own
        return frozenset(name for name, tensor in self._observer.tensors().items() if id(tensor) in others)

    def of(self, name: str, tensor: Tensor) -> Tensor | None:
        """`.grad` as the newest backward left it: unclipped, and divided by the loss scale. None where there is none.

        Raises NothingKept where the step has changed it and capture is off.
        """
        if self._are_lost and tensor.grad is not None:
            raise NothingKept("Capture is off: the gradient as the backward left it is not kept")
        gradient = self._seen.get(name)
        if gradient is None:
            # functional_call has put something computed in the place of a parameter: to ask it would warn.
            if not (tensor.is_leaf or tensor.retains_grad) or tensor.grad is None:
                return None
            gradient = tensor.grad.detach()
        scale = self.scale_of(name)
        return gradient if scale is None else gradient.to(at_least_float32(gradient)) / scale

    @property
    def are_lost(self) -> bool:
        """The step has changed gradients of which no copy is kept."""
        return self._are_lost

    def scale_of(self, name: str) -> float | None:
        """What a parameter's gradient, as the newest backward left it, is to be divided by."""
        return self.scale if name in self._scaled_names else None

    def left_over(self, tensors: Mapping[str, Tensor]) -> Collection[str]:
        """Whose gradients are of another optimizer's turn: this window's backwards have not reached them."""
        if len(self._whose.turns) == 1:
            return ()
        own = {id(tensor) for tensor in self._whose.turn.parameters}
        return {name for name, tensor in tensors.items() if name not in self._touched and id(tensor) not in own}

    def clipped(self) -> Iterator[tuple[SubjectKey, Tensor]]:
        """The gradients as the optimizer has seen them, where clipping may have changed them."""
        for name, tensor in self._clipped.items():
            if tensor.grad is not None:
                yield SubjectKey(SubjectKind.CLIPPED_GRAD, name), tensor.grad

    def optimizer_state(self) -> Iterator[tuple[SubjectKey, Tensor]]:
        """The tensors that the optimizers remember of each parameter; not the counters of steps."""
        names = {id(tensor): name for name, tensor in self.held.items()}
        # A frozen parameter is still the model's, and what is remembered of it is under its name.
        names |= {id(tensor): name for name, tensor in self._observer.tensors().items() if id(tensor) in names}
        holders = Counter(id(tensor) for turn in self._whose.turns for tensor in turn.parameters)
        for turn in self._whose.turns:
            # Asked once: it looks at a signature, which takes longer than all the rest.
            is_of_all = turn.needs_closure
            for parameter, state in turn.optimizer.state.items():
                if not isinstance(state, dict) or id(parameter) not in names:
                    continue
                whose = f"[{turn.name}]" if holders[id(parameter)] > 1 else ""
                for key, value in state.items():
                    if _is_state_of(parameter, key, value, is_of_all=is_of_all):
                        leaf = f"{whose}.{key}"
                        yield SubjectKey(SubjectKind.OPTIMIZER_STATE, names[id(parameter)], leaf=leaf), value


def identity(gradient: Tensor | None) -> tuple[int, int]:
    """Differs after a backward that has changed the gradient."""
    return (0, 0) if gradient is None else (id(gradient), gradient._version)


def _is_state_of(parameter: Tensor, key: str, value: Any, *, is_of_all: bool) -> bool:
    """Whether it is a tensor that belongs to the parameter: neither a counter of steps nor of all parameters (LBFGS)."""
    if not isinstance(value, Tensor) or key == "step":
        return False
    return value.shape == parameter.shape or bool(value.dim() and not is_of_all)
