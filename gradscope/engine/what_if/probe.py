"""A pinned batch that is run again while training goes on: its loss, its outputs, and what the layers make of it.

It runs beside the training, which is as before afterwards; a probe that fails says so in its record and stops nothing.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gradscope.engine.aside.door import Aside
from gradscope.engine.capture.observer import Observer
from gradscope.engine.model.leaves import tensor_leaves
from gradscope.engine.model.losses import input_and_target, loss_of
from gradscope.engine.model.modules import named_modules, set_training
from gradscope.engine.quantities.summary import SummaryBatch
from gradscope.engine.quantities.values import Unreadable, readable_in_place
from gradscope.engine.stepping.stepper import Stepper
from gradscope.engine.stepping.training import RecipeTurn
from gradscope.engine.surroundings.blame import failure_of, users_code
from gradscope.engine.surroundings.devices import copy_batch
from gradscope.engine.surroundings.randomness import RandomStates
from gradscope.engine.surroundings.unwinding import is_interruption
from gradscope.protocol.arrays import FloatArray
from gradscope.protocol.subjects import COLUMNS
from gradscope.protocol.what_if.tried import MAX_PROBE_LAYERS, Mode, ProbeRecord, ProbeSetting

MOST_RECORDS = 10_000
"""The oldest are dropped."""
_NO_ROWS: FloatArray = np.empty((0, len(COLUMNS)))


class Probe(ABC):
    """Of one batch. `records` grow by `run`."""

    def __init__(self, setting: ProbeSetting) -> None:
        self.setting = setting
        self.records: deque[ProbeRecord] = deque(maxlen=MOST_RECORDS)
        self.untold: deque[ProbeRecord] = deque(maxlen=MOST_RECORDS)
        """Those that nobody has been told of."""
        self.notes: list[str] = []
        """What a run could not put back."""
        self._states = RandomStates.capture()
        """That every run begins with: two records differ by the parameters alone."""

    def is_due(self, steps: int) -> bool:
        """After so many steps."""
        return self.setting.every > 0 and steps % self.setting.every == 0

    def run(self, steps: int) -> ProbeRecord:
        """Now, with so many steps done. What an earlier way through the steps had come to from here on is dropped.

        An interruption is raised on, with everything put back.
        """
        try:
            record = self.tried(steps)
        except BaseException as error:
            if is_interruption(error):
                raise
            record = ProbeRecord(step=steps, output=_NO_ROWS, layers=_NO_ROWS, error=failure_of(error).sentence)
        self.keep(record)
        return record

    def keep(self, record: ProbeRecord) -> None:
        while self.records and self.records[-1].step >= record.step:
            self.records.pop()
        self.records.append(record)
        self.untold.append(record)

    def tried(self, steps: int) -> ProbeRecord:
        """A run that is not kept. Raises what the user's code raises."""
        with self._beside() as aside:
            record = self._record(steps)
        self.notes += [note for note in aside.notes if note not in self.notes]
        return record

    def _record(self, steps: int) -> ProbeRecord:
        summaries = _Summaries()
        self._states.restore()
        with contextlib.ExitStack() as hooks:
            for model in self._models().values():
                set_training(model, self.setting.mode is Mode.TRAIN)
            summaries.follow(self._models(), hooks)
            loss, output = self._forward()
        return ProbeRecord(
            step=steps,
            loss=loss,
            output=summaries.of(output),
            names=tuple(summaries.names),
            layers=summaries.rows(),
        )

    @abstractmethod
    def _beside(self) -> AbstractContextManager[Aside]: ...

    @abstractmethod
    def _models(self) -> Mapping[str, nn.Module]:
        """What has layers to look at, by names for what it holds ("" is no name)."""

    @abstractmethod
    def _forward(self) -> tuple[float | None, Any]:
        """The loss where it is known, and what the model has put out."""


class RecipeProbe(Probe):
    """Runs a recipe's own loss."""

    def __init__(self, stepper: Stepper, batch: Any, turn: RecipeTurn, setting: ProbeSetting) -> None:
        super().__init__(setting)
        self._stepper, self._turn = stepper, turn
        self._batch = copy_batch(batch, stepper.device)

    @contextlib.contextmanager
    def _beside(self) -> Any:
        stepper = self._stepper
        with (
            stepper.observer.lifted(),
            # With capture off too: what writes through `.data` would be neither put back nor told of.
            Aside(stepper.training.roots()) as aside,
        ):
            yield aside

    def _models(self) -> Mapping[str, nn.Module]:
        model, loss = self._stepper.training.model, self._stepper.training.loss
        found: dict[str, nn.Module] = {"": model} if isinstance(model, nn.Module) else {}
        if isinstance(loss, nn.Module) and any(True for _ in loss.children()):
            found["loss"] = loss
        return found

    def _forward(self) -> tuple[float | None, Any]:
        training, turn = self._stepper.training, self._turn
        batch = copy_batch(self._batch, self._stepper.device)
        outputs: list[Any] = []
        with (
            contextlib.ExitStack() as hooks,
            users_code("The forward of the probe"),
            self._stepper.loop.user_code(),
            training.autocast(),
            # A step of the recipe's own may differentiate inside.
            torch.set_grad_enabled(turn.training_step is not None),
        ):
            if turn.training_step is None:
                x, target = input_and_target(batch)
                assert callable(training.model) and training.loss is not None
                output = training.model(x)
                return _number(training.loss(output, target)), output
            if isinstance(training.model, nn.Module):
                handle = training.model.register_forward_hook(lambda module, args, output: outputs.append(output))
                hooks.callback(handle.remove)
            returned = turn.training_step(training.model, batch)
            loss = loss_of(returned)
            output = returned[1] if loss is not returned else outputs[0] if len(outputs) == 1 else None
            return _number(loss), output


class ScriptProbe(Probe):
    """Calls a script's model as the script has called it; the loss is the script's own."""

    def __init__(
        self,
        observer: Observer,
        name: str,
        model: nn.Module,
        call: Callable[[], tuple[Any, Any]],
        setting: ProbeSetting,
    ) -> None:
        """`call` gives copies of the arguments."""
        super().__init__(setting)
        self._observer, self._name, self._model, self._call = observer, name, model, call

    @contextlib.contextmanager
    def _beside(self) -> Any:
        with self._observer.lifted(), Aside({self._name: self._model}) as aside:
            yield aside

    def _models(self) -> Mapping[str, nn.Module]:
        return {self._name: self._model}

    def _forward(self) -> tuple[float | None, Any]:
        args, kwargs = self._call()
        with users_code("The forward of the probe"), torch.no_grad():
            return None, self._model(*args, **kwargs)


class _Summaries:
    """Of the first tensor of each layer's first call, taken when it is there."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._batch = SummaryBatch()
        self._batch.clear(norms_only=False)
        self._seen: set[str] = set()

    def follow(self, models: Mapping[str, nn.Module], hooks: contextlib.ExitStack) -> None:
        for prefix, model in models.items():
            for name, module in named_modules(model):
                full = ".".join(part for part in (prefix, name) if part)

                def keep(module: nn.Module, args: Any, output: Any, full: str = full) -> None:
                    self._take(full, output)

                # A scripted module inside another one takes no hook.
                with contextlib.suppress(RuntimeError):
                    hooks.callback(module.register_forward_hook(keep).remove)

    def _take(self, name: str, output: Any) -> None:
        if name in self._seen or len(self.names) == MAX_PROBE_LAYERS or not name:
            return
        self._seen.add(name)
        tensor = next((tensor for _, tensor in tensor_leaves(output)), None)
        if tensor is not None and self._set(len(self.names), tensor):
            self.names.append(name)

    def _set(self, position: int, tensor: Tensor) -> bool:
        try:
            self._batch.set(position, readable_in_place(tensor))
        except Unreadable:
            return False
        return True

    def of(self, output: Any) -> FloatArray:
        """One row, or none."""
        tensor = next((tensor for _, tensor in tensor_leaves(output)), None)
        own = SummaryBatch()
        own.clear(norms_only=False)
        if tensor is None:
            return _NO_ROWS
        try:
            own.set(0, readable_in_place(tensor))
        except Unreadable:
            return _NO_ROWS
        return own.finish(1)[0]

    def rows(self) -> FloatArray:
        return self._batch.finish(len(self.names))[0]


def _number(loss: Any) -> float:
    return float(loss.detach() if isinstance(loss, Tensor) else loss)
