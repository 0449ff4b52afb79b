"""The bench of a script: its model, and what that was called with in the newest forward. The loop is the script's own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gradscope.engine.aside.door import Aside
from gradscope.engine.capture.observer import Observer
from gradscope.engine.findings.bench import Bench, Evaluation
from gradscope.engine.findings.draft import OWNS_ITS_LOOP, CannotJudge
from gradscope.engine.findings.runs import Change, Run
from gradscope.engine.model.leaves import Inputs, tensor_leaves
from gradscope.engine.model.modules import set_training
from gradscope.engine.surroundings.blame import users_code
from gradscope.engine.surroundings.randomness import seed_everything

_NOT_KEPT = "What the model was called with is kept only where one steps by hand: press Next once"


class ScriptBench(Bench):
    """As `Bench`, where it needs no loss and no loop: those methods raise CannotJudge."""

    def __init__(
        self, observer: Observer, name: str, module: nn.Module | None, inputs: Inputs | None, batch: Any
    ) -> None:
        """`module`: the model that the newest forward has called with `inputs`, as the script calls it `name`; None where
        that was not kept. `batch`: what it was taken from, where a DataLoader tells."""
        self._observer, self._name = observer, name
        self.model, self.is_plain = module, False
        self.forwards = self.backwards = self.planned = 0
        self.foreign, self.notes = (), []
        self.report = lambda done: None
        self._inputs = inputs
        self._x = None if inputs is None else next(iter(_tensors(inputs)), None)
        self._target = _target_in(batch, self._x)

    @property
    def batches(self) -> Sequence[Any]:
        """The newest one, as (input, target or None)."""
        return [] if self._x is None else [(self._x, self._target)]

    @property
    def newest(self) -> tuple[Tensor | None, Tensor | None]:
        return self._x if isinstance(self._x, Tensor) else None, self._target

    @property
    def roots(self) -> Mapping[str, object]:
        return {self._name: self.model}

    @property
    def knows_input(self) -> bool:
        return True

    @property
    def has_whole_pass(self) -> bool:
        return False

    @property
    def has_start(self) -> bool:
        return False

    def validation(self, passes: int = 1) -> list[list[Any]]:
        return []

    def beside_data(self, look: Callable[[Any], Any]) -> Any:
        return None

    def loss(self, batch: Any, *, turn: str = "", with_grad: bool = True) -> tuple[Tensor, Tensor | None]:
        raise CannotJudge(OWNS_ITS_LOOP)

    def graph(self) -> Tensor:
        """The model's output in train mode, called as the script has called it, with its graph."""
        if self.model is None or self._inputs is None:
            raise CannotJudge(_NOT_KEPT)
        with self._set_aside(), torch.enable_grad(), users_code("The forward beside the training"):
            args, kwargs = self._call_with(self._x)
            output = self.model(*args, **kwargs)
            self.forwards += 1
            self.report(self.forwards)
        first = next((tensor for _, tensor in tensor_leaves(output)), None)
        if first is None or first.grad_fn is None:
            raise CannotJudge("The model's output has no graph")
        return first

    def after(self, steps: int, change: Change, look: Callable[[], Any], *, from_start: bool = True) -> tuple[Run, Any]:
        raise CannotJudge(OWNS_ITS_LOOP)

    def unchanged(self, steps: int) -> Run:
        raise CannotJudge(OWNS_ITS_LOOP)

    def rates_ahead(self, steps: int) -> list[float]:
        raise CannotJudge(OWNS_ITS_LOOP)

    def evaluate(self, x: Any, *more: Any, keeps_layers: bool = True) -> Evaluation:
        """The model in eval mode, called as the script has called it, with `x` in the place of the first tensor."""
        if more:
            raise CannotJudge("a script's model is called as the script has called it")
        if self.model is None or self._inputs is None:
            raise CannotJudge(_NOT_KEPT)
        layers: dict[str, Tensor] = {}
        with self._set_aside(), torch.no_grad(), contextlib.ExitStack() as hooks:
            seed_everything(0)
            set_training(self.model, False)
            if keeps_layers:
                self._keep_layers(layers, hooks)
            with users_code("The forward in eval mode beside the training"):
                args, kwargs = self._call_with(x)
                output = self.model(*args, **kwargs)
            self.forwards += 1
            self.report(self.forwards)
            first = next((tensor for _, tensor in tensor_leaves(output)), None)
            named = {f"{self._name}.{name}" if name else self._name: tensor for name, tensor in layers.items()}
            return Evaluation(None if first is None else first.detach().clone(), named)

    def _call_with(self, x: Any) -> Inputs:
        assert self._inputs is not None

        def put(value: Any) -> Any:
            # A forward may write into what it is given.
            return x.clone() if value is self._x else value.clone() if isinstance(value, Tensor) else value

        args, kwargs = self._inputs
        return tuple(put(value) for value in args), {name: put(value) for name, value in kwargs.items()}

    @contextlib.contextmanager
    def _set_aside(self) -> Iterator[None]:
        # What it is called with may be written to as well: a state that is carried on, a cache.
        with self._observer.lifted(), Aside({**self.roots, "what it is called with": self._inputs}) as aside:
            yield
        self.notes += [note for note in aside.notes if note not in self.notes]


def _tensors(inputs: Inputs) -> Iterator[Tensor]:
    """The arguments that are tensors, in the order of the call."""
    args, kwargs = inputs
    yield from (value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))


def _target_in(batch: Any, x: Tensor | None) -> Tensor | None:
    """The second of a pair whose first is the input."""
    if not isinstance(batch, (tuple, list)) or len(batch) != 2 or x is None:
        return None
    first, second = batch
    is_input = isinstance(first, Tensor) and first.shape == x.shape and first.dtype == x.dtype
    return second if is_input and isinstance(second, Tensor) else None
