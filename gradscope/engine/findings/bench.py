"""The bench: experiments with a training's own state, all of which is put back, bit for bit."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gradscope.engine.aside.door import Aside
from gradscope.engine.findings import yardstick
from gradscope.engine.findings.draft import CannotJudge
from gradscope.engine.findings.kept import MOST_BATCHES as MOST_BATCHES
from gradscope.engine.findings.kept import Kept
from gradscope.engine.findings.record import Record
from gradscope.engine.findings.rerun import Rerun
from gradscope.engine.findings.restore import State, kept_gradients, put_back_after
from gradscope.engine.findings.runs import Change as Change
from gradscope.engine.findings.runs import CheckUpCancelled as CheckUpCancelled
from gradscope.engine.findings.runs import Run as Run
from gradscope.engine.model.leaves import tensor_leaves
from gradscope.engine.model.losses import checked_loss, input_and_target, loss_of
from gradscope.engine.model.modules import named_modules, set_training
from gradscope.engine.model.parameters import is_uninitialised, named_tensors
from gradscope.engine.stepping.schedule import Timing, foretell
from gradscope.engine.stepping.stepper import Stepper
from gradscope.engine.stepping.training import RecipeTurn
from gradscope.engine.surroundings.blame import users_code
from gradscope.engine.surroundings.devices import copy_batch
from gradscope.engine.surroundings.randomness import seed_everything
from gradscope.engine.wording import listed
from gradscope.protocol.failure import BadInput
from gradscope.protocol.phases import Rest

_Quiet = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Evaluation:
    """One forward in eval mode, without gradients, always with the same random numbers."""

    output: Tensor | None
    """The first tensor of what the model puts out."""
    layers: dict[str, Tensor]
    """The first tensor of each layer's first call, detached copies."""


class Bench:
    """See the module. Whatever is raised inside, nothing is left changed when a method returns.

    Every method raises CheckUpCancelled as soon as `report` does: after a forward, at the latest. It raises UserCodeFailed
    where the user's code fails, and CannotJudge where there is no data to run with.
    """

    model: Any
    is_plain: bool
    """As in the record."""
    forwards: int
    backwards: int
    planned: int
    """How many steps the training is to have in all; the steps done where nobody has said it."""
    foreign: tuple[Tensor, ...]
    """Leaves outside of model and optimizer that the graph walk has found: put back as well."""
    report: Callable[[int], None]
    """Called with the number of forwards after each of them; may raise CheckUpCancelled."""
    notes: list[str]
    """What could not be put back, in sentences."""

    def __init__(
        self,
        stepper: Stepper,
        record: Record,
        *,
        start: State | None = None,
        planned: int | None = None,
        edits: int = 0,
        quiet: _Quiet = contextlib.nullcontext,
    ) -> None:
        """`start`: where `train` begins; it is not used where the training has been edited since. `edits`: how many there
        are by now. `quiet`: a context inside which nobody watches the model.

        Raises BadInput inside a step, or where a parameter has no shape yet.
        """
        self._stepper, self._record, self._quiet = stepper, record, quiet
        self._need_rest()
        lazy = [name for name, (tensor, _) in named_tensors(stepper.recipe.model).items() if is_uninitialised(tensor)]
        if lazy:
            raise BadInput(f"{listed(lazy)} has no shape yet; expected a Forward before the first check-up")
        self._start = start if start is not None and start.fits(stepper, edits=edits) else None
        self.model, self.is_plain = stepper.training.model, record.is_plain
        self.forwards = self.backwards = 0
        self.planned = stepper.position.step if planned is None else planned
        self.foreign, self.notes = (), []
        self.report = lambda done: None
        self._kept = Kept(stepper, self._start, lambda: self.report(self.forwards))
        self._unchanged: Run | None = None

    # ------------------------------------------------------------------------------------------ the data

    @property
    def batches(self) -> Sequence[Any]:
        """At most MOST_BATCHES of the data, in the training's own order from the start of an epoch, on the device. The
        newest batch alone where the data can be gone through only once; empty where there is none."""
        with self._alone():
            return self._kept.batches()

    def validation(self, passes: int = 1) -> list[list[Any]]:
        """At most MOST_BATCHES of so many passes over the validation data, on the device; nothing where there is none.

        The passes draw on from one to the next, and everything is put back after them. Raises UserCodeFailed.
        """
        if not self._stepper.training.has_validation:
            return []
        with self._alone():
            return self._kept.validation(passes)

    def beside_data(self, look: Callable[[Any], Any]) -> Any:
        """What `look` returns of the recipe's data, whose samples it may ask for by index; everything is put back after it.
        None where they cannot be asked for. Raises what the user's code raises."""
        with self._alone():
            return self._kept.beside(look)

    @property
    def newest(self) -> tuple[Tensor | None, Tensor | None]:
        """The input and the target of the batch that the training has used last, where they are tensors."""
        return self.parts(self._stepper.loop.batch)

    @property
    def knows_input(self) -> bool:
        """The model is called with the first of a pair; not known for a training step of the recipe's own."""
        return self.is_plain

    @property
    def has_whole_pass(self) -> bool:
        """`batches` are all of a pass over the data."""
        return self._kept.length is not None and len(self.batches) >= self._kept.length

    @property
    def roots(self) -> Mapping[str, object]:
        """What a forward runs, by the names that the user gave: "model", "loss", "training_step"."""
        return self._stepper.training.roots()

    @property
    def has_start(self) -> bool:
        """`train(from_start=True)` begins where the training has begun; otherwise it begins from now."""
        return self._start is not None

    @property
    def has_scheduler(self) -> bool:
        return any(turn.scheduler is not None for turn in self._stepper.training.turns)

    @property
    def steps_per_epoch(self) -> int | None:
        """None where the data does not know its length."""
        length = self._stepper.loop.batches.length
        return None if length is None else -(-length // max(1, self._stepper.training.accumulate))

    @property
    def clips(self) -> bool:
        """Gradients are clipped, by norm or by value."""
        return self._stepper.training.clips

    @property
    def evaluations_per_step(self) -> int:
        """About how often a step runs the model: for each micro-batch, and as often again as the optimizer evaluates the
        loss (LBFGS)."""
        training = self._stepper.training
        turn = training.turns[0]
        own = int(turn.optimizer.param_groups[0].get("max_iter", 1)) if turn.needs_closure else 1
        return max(1, training.accumulate) * max(1, own)

    def parts(self, batch: Any) -> tuple[Tensor | None, Tensor | None]:
        """The input and the target of a batch, where they are tensors."""
        if isinstance(batch, Tensor):
            return batch, None
        if not isinstance(batch, (list, tuple)) or len(batch) != 2:
            return None, None
        x, y = batch
        return x if isinstance(x, Tensor) else None, y if isinstance(y, Tensor) else None

    # ------------------------------------------------------------------------------------------ single forwards

    def loss(self, batch: Any, *, turn: str = "", with_grad: bool = True) -> tuple[Tensor, Tensor | None]:
        """One forward in train mode as the training makes it (its autocast, its custom step): loss, and the first tensor of
        the model's output where that is known. The graph is there `with_grad`, until the bench is used again.

        A batch of which a tensor requires a gradient is used itself, and not a copy of it.
        """
        turns = self._stepper.training.turns
        own = next((known for known in turns if known.name == turn), turns[0])
        with self._beside(), torch.set_grad_enabled(with_grad):
            loss, output = self._forward(own, self._own(batch))
            if with_grad:
                loss = checked_loss(loss)
            self._tick(is_forward=True)
            return loss, output

    def gradient(self, of: Tensor, by: Tensor) -> Tensor | None:
        """Behind the door as well: a backward may run user's code (checkpoints, hooks, functions of their own)."""
        with self._beside(), self._calling("The backward"):
            (found,) = torch.autograd.grad(of, by, allow_unused=True)
        self._tick(is_forward=False)
        return None if found is None else found.detach()

    def graph(self) -> Tensor:
        """What to look for leaves from, where no loss can be had."""
        raise CannotJudge("The loss is what leaves are looked for from")

    def evaluate(self, x: Any, *more: Any, keeps_layers: bool = True) -> Evaluation:
        """`model(x, *more)` in eval mode, without gradients."""
        if not callable(self.model):
            raise CannotJudge("The model is a dict of tensors, and cannot be called")
        layers: dict[str, Tensor] = {}
        with self._beside(), torch.no_grad(), contextlib.ExitStack() as hooks:
            seed_everything(0)
            set_training(self.model, False)
            if keeps_layers and isinstance(self.model, nn.Module):
                self._keep_layers(layers, hooks)
            with self._calling("The forward in eval mode"), self._stepper.training.autocast():
                output = self.model(*map(self._own, (x, *more)))
            self._tick(is_forward=True)
            first = _first_tensor(output)
            return Evaluation(None if first is None else first.detach().clone(), layers)

    def _keep_layers(self, layers: dict[str, Tensor], hooks: contextlib.ExitStack) -> None:
        for name, module in named_modules(self.model):

            def keep(module: nn.Module, args: Any, output: Any, name: str = name) -> None:
                tensor = _first_tensor(output)
                if tensor is not None and name not in layers:
                    layers[name] = tensor.detach().clone()

            with contextlib.suppress(RuntimeError):
                hooks.callback(module.register_forward_hook(keep).remove)

    def _forward(self, turn: RecipeTurn, batch: Any) -> tuple[Any, Tensor | None]:
        training, outputs = self._stepper.training, []
        with contextlib.ExitStack() as hooks, self._calling("The forward"), training.autocast():
            if turn.training_step is None:
                x, target = input_and_target(batch)
                assert callable(training.model) and training.loss is not None
                output = training.model(x)
                return training.loss(output, target), _first_tensor(output)
            if isinstance(training.model, nn.Module):
                handle = training.model.register_forward_hook(lambda module, args, output: outputs.append(output))
                hooks.callback(handle.remove)
            returned = turn.training_step(training.model, batch)
            loss = loss_of(returned)
            if loss is not returned:
                return loss, _first_tensor(returned[1])
            # Of several calls nobody knows which one the loss is of.
            return loss, _first_tensor(outputs[0]) if len(outputs) == 1 else None

    # ------------------------------------------------------------------------------------------ runs

    def train(self, steps: int, change: Change, *, from_start: bool = True) -> Run:
        """Train that long with `change`, from the remembered start (or from now) and over the kept batches."""
        return self.after(steps, change, lambda: None, from_start=from_start)[0]

    def after(self, steps: int, change: Change, look: Callable[[], Any], *, from_start: bool = True) -> tuple[Run, Any]:
        """The same, and what `look` returns before everything is put back: the model is as trained inside of it."""
        stepper = self._stepper
        accumulate = stepper.training.accumulate
        with self._alone():
            stream = self._kept.stream(steps * accumulate)
        if not stream:
            raise CannotJudge("There is no data to train with: it can be gone through only once")
        start = self._start if from_start else None
        gradients = kept_gradients(stepper) if start is None else start.gradients
        with self._beside():
            if start is not None:
                start.put()
                if self._kept.random is not None and start.batch_index == 0:
                    # A loader may draw before its first batch is there.
                    self._kept.random.restore()
            for tensor, gradient in gradients:
                tensor.grad = gradient.clone()
            rerun = Rerun(
                stepper,
                stream,
                change,
                measure=self._measure,
                tick=lambda is_forward: self._tick(is_forward=is_forward),
                batch_index=stepper.loop.batches.index if start is None else start.batch_index,
                length=self._kept.length,
            )
            return rerun.go(steps), look()

    def at_start(self, look: Callable[[], Any], *, prepare: Callable[[], None] = lambda: None) -> Any:
        """What `look` returns where the training has begun, or now where that is not known; `prepare` may change the model
        before."""
        with self._beside():
            if self._start is not None:
                self._start.put()
            prepare()
            return look()

    def unchanged(self, steps: int) -> Run:
        """The training as it is, that long from its start: as it was recorded where that is known, otherwise run once."""
        record = self._record
        with self._alone():
            is_all_kept = len(self._kept.stream(steps * record.accumulate)) >= steps * record.accumulate
        start = self._start
        # After a checkpoint was loaded, what was recorded is no longer one training from its start.
        is_whole = start is not None and self._stepper.position.step - start.step == len(record.own_losses)
        # Over fewer batches, again and again, a run is another one than the training was.
        if is_whole and is_all_kept and len(record.own_losses) >= steps and len(record.optimizers) <= 1:
            own, measures = record.own_losses[:steps], record.measures[:steps]
            return Run([_or_inf(value) for value in measures], [_or_inf(value) for value in own])
        if self._unchanged is None or len(self._unchanged.own) < steps:
            self._unchanged = self.train(steps, Change())
        return Run(self._unchanged.measures[:steps], self._unchanged.own[:steps])

    def rates_ahead(self, steps: int) -> list[float]:
        """The largest rate of each of the next steps, from the start, by copies of the schedulers; empty without any, and
        where they go by results."""
        stepper, training = self._stepper, self._stepper.training
        if not self.has_scheduler:
            return []
        with self._beside():
            timing = stepper.loop.timing()
            if self._start is not None:
                self._start.put()
                length = stepper.loop.batches.length
                per_pass = None if length is None else len(training.turns) * -(-length // training.accumulate)
                timing = Timing(turn=0, steps_to_epoch_end=per_pass, steps_per_epoch=per_pass)
            ahead = foretell(training, timing, first_step=0, steps=steps)
        if ahead.rates.shape[1] <= 1 < steps:
            return []
        known = ahead.rates[:, np.isfinite(ahead.rates).any(axis=0)]
        return [float(rate) for rate in np.nanmax(known, axis=0)]

    # ------------------------------------------------------------------------------------------ private

    def _measure(self, output: Tensor, target: object) -> yardstick.Measure | None:
        if self._record.has_other_targets:
            return None
        function, options = self._seen
        return yardstick.measure(output, target, function=function, options=options)

    @property
    def _seen(self) -> tuple[str, dict[str, Any]]:
        """The loss function that was seen, and its arguments."""
        call = self._record.loss_call
        return ("", {}) if call is None else (call.function, call.options)

    def _tick(self, *, is_forward: bool) -> None:
        if not is_forward:
            self.backwards += 1
            return
        self.forwards += 1
        self.report(self.forwards)

    def _own(self, batch: Any) -> Any:
        if any(tensor.requires_grad for _, tensor in tensor_leaves(batch)):
            return batch
        return copy_batch(batch, self._stepper.device)

    @contextlib.contextmanager
    def _beside(self) -> Iterator[Aside]:
        with self._alone(), put_back_after(self._stepper, also=self._start, foreign=self.foreign) as aside:
            yield aside
        self.notes += [note for note in aside.notes if note not in self.notes]

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Inside, nobody watches the model."""
        self._need_rest()
        with self._stepper.observer.lifted(), self._quiet():
            yield
        self.notes += [note for note in self._kept.notes if note not in self.notes]

    def _need_rest(self) -> None:
        stepper = self._stepper
        if stepper.is_broken or stepper.position.rest is not Rest.READY or stepper.loop.window.micro:
            raise BadInput("A check-up is made between two steps: finish this one first")

    @contextlib.contextmanager
    def _calling(self, what: str) -> Iterator[None]:
        with users_code(f"{what} beside the training"), self._stepper.loop.user_code():
            yield


def _first_tensor(value: Any) -> Tensor | None:
    return next((tensor for _, tensor in tensor_leaves(value)), None)


def _or_inf(value: float) -> float:
    return value if math.isfinite(value) else math.inf
