"""Rides along with the training of a recipe or a script, and writes the record that rules judge.

Called by the book where a phase is complete, by the observer where a layer is left, and by the loop of a recipe where it
knows the model's output. It changes no tensor and draws no random number.
"""

from __future__ import annotations

import contextlib
import math
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from gradscope.engine.capture.record import Collected
from gradscope.engine.findings import yardstick
from gradscope.engine.findings.record import CHECK_STEPS, LayerFacts, ParameterFacts, Record, StepFacts
from gradscope.engine.findings.watch.functions import FunctionWatch
from gradscope.engine.findings.watch.loss_numbers import has_other_targets
from gradscope.engine.findings.watch.series import note
from gradscope.engine.findings.watch.units import UnitWatch
from gradscope.engine.model.leaves import Inputs, tensor_leaves
from gradscope.engine.surroundings.error_parts import class_name, message_of
from gradscope.protocol.phases import Phase
from gradscope.protocol.subjects import COUNT, INF, L2, MAX, MIN, NAN, ZERO, SubjectKind

if TYPE_CHECKING:
    from gradscope.engine.book.book import Book
    from gradscope.engine.book.turns import Turn

_MOST_START_BYTES = 64 * 1024 * 1024
"""For copies of parameters as they were at the start."""
_MOST_TARGET_BYTES = 16 * 1024 * 1024
_MOST_STEPS = 4096
_MOST_CLASSES = 64
_PREDICTIONS_KEPT = 40
"""Steps whose predictions are kept."""
_MOST_PREDICTIONS = 1 << 12
"""Of a step: others are spread evenly over it."""
_MOST_ELEMENTS = 1 << 22
"""Of an output that an own yardstick is computed for."""
_AGREES = 1e-3
"""Relative difference up to which the training's own loss is taken for the yardstick."""
_ALWAYS = 4
"""In so many steps the own loss has to have been the yardstick before it is taken for it."""


class Watch:
    """Of one training. `record` is what was seen so far."""

    def __init__(self, book: Book, record: Record) -> None:
        self.record = record
        self._book = book
        self._units = UnitWatch(record)
        self._known: Mapping[str, Tensor] | None = None
        self._held: tuple[Any, ...] = ()
        """What the optimizers held when they were last looked at."""
        self._output: Tensor | None = None
        """Of the model, until the forward is done."""
        self._loss: float = math.nan
        self._measure: yardstick.Measure | None = None
        self._known_measure: yardstick.Measure | None = None
        """The newest that was computed."""
        self._output_std = math.nan
        self._left_over = 0.0
        self._gradients: dict[str, tuple[float, bool]] = {}
        self._agreements = 0
        self._targets: list[Tensor] = []
        self._target_bytes = 0
        self._is_target_known = False
        self._functions: FunctionWatch | None = None
        """Of the forward under way."""
        self._names: dict[int, str] = {}
        self._left = 0
        """How many layers have been left at least once."""
        self._wants_predictions = False
        self._bare_secs = 0.0
        """Of the step under way."""

    @property
    def errors(self) -> list[str]:
        """What went wrong while the training was looked at: told with the errors of the capture."""
        return self._book.observer.errors

    # ------------------------------------------------------------------------------------------ what it is told

    def gradients_cleared(self) -> None:
        """Or were to be; nothing has run since."""
        left = [p.grad for p in self._book.driver.turn.parameters if p.grad is not None]
        with torch.no_grad():
            norms = [g.detach().float().norm() for g in left if g.layout is torch.strided]
            # One by one, each would wait for the device.
            total = torch.stack([norm.to(norms[0].device) for norm in norms]).norm() if norms else 0.0
        self._left_over = float(total)

    def looking(self, phase: Phase) -> AbstractContextManager[Any]:
        """Around the body of a phase: in some forwards the functions that are called are looked at."""
        is_first = phase is Phase.FORWARD and self._book.driver.window.micro == 0
        record = self.record
        if is_first and not (record.zero_grad_is_automatic or record.is_script):
            # They are cleared by hand, before this or not at all. (A script may clear them between forward and backward.)
            self.gradients_cleared()
        return self._looking() if is_first and self._book.step in CHECK_STEPS else contextlib.nullcontext()

    @contextlib.contextmanager
    def _looking(self) -> Iterator[None]:
        turn = self._book.driver.turn.name
        watch = FunctionWatch(
            self.record,
            step=self._book.step,
            turn=turn,
            layer=self._innermost,
            output=lambda: self._output,
            on_error=self._note_error,
        )
        self._functions = watch
        with watch:
            yield

    def layer_left(self, name: str, output: object, inputs: Inputs) -> None:
        """A layer's forward is over, in a training forward."""
        facts = self.record.layers.get(name)
        if facts is None:
            facts = self._new_layer(name, self._book.observer.modules()[name])
        module = facts.module
        facts.calls += 1
        if facts.place < 0:
            facts.place = self._left
            self._left += 1
            facts.is_training = module.training
        tensor = output if isinstance(output, Tensor) else first_tensor(output)
        if not name:
            self._output = tensor
        if self._functions is not None:
            self._functions.given(inputs)
        if tensor is not None:
            self._units.left(self._book.step, name, module, next(iter(inputs[0]), None), output)

    def phase_done(self, phase: Phase, collected: Collected) -> None:
        """Nothing can fail in the phase any more."""
        self._bare_secs += collected.bare_seconds
        if phase is Phase.FORWARD:
            if not self.record.steps and not self.record.first_sizes:
                self._take_sizes(collected)
            self._forward_done()
        elif phase is Phase.BACKWARD:
            self._backward_done(collected)
        else:
            self._step_done(collected)

    def abandon(self) -> None:
        """The phase under way has failed, and is undone."""
        self._output = self._functions = None

    # ------------------------------------------------------------------------------------------ phases

    def _forward_done(self) -> None:
        output, self._output = self._output, None
        self._follow_model()
        self._units.settle()
        if self._book.driver.window.micro:
            return
        self._loss = math.nan if self._book.driver.loss is None else self._book.driver.loss
        functions, self._functions = self._functions, None
        if functions is not None:
            functions.settle(self._loss)
        self._measure = None
        if output is not None and self.record.is_plain:
            self._take_measure(output, _target_of(self._book.driver.batch))
        if self._book.step in CHECK_STEPS:
            modules = [layer.module for layer in self.record.layers.values()]
            self.record.all_eval = bool(modules) and not any(module.training for module in modules)
            self._output_std = _std(output)

    def _take_sizes(self, collected: Collected) -> None:
        rows = self._book.observer.tables.subjects.rows
        for number, summary in zip(collected.subjects.tolist(), collected.summaries, strict=True):
            key = rows[number].key
            if key.kind is SubjectKind.ACTIVATION and key.call == 0 and not key.leaf and summary[COUNT]:
                self.record.first_sizes[key.name] = float(summary[L2]) / math.sqrt(float(summary[COUNT]))

    def _take_measure(self, output: Tensor, target: object) -> None:
        if not isinstance(target, Tensor):
            return
        if self._book.step in CHECK_STEPS and has_other_targets(target, self.record, self._book.step):
            self.record.has_other_targets = True
            self.record.baseline = None
        if self.record.has_other_targets:
            return
        self._keep_target(target)
        call = self.record.loss_call
        if self._agreements >= _ALWAYS and self._book.step not in CHECK_STEPS and not self._wants_predictions:
            known = self._known_measure
            # The own loss has been the yardstick itself each time that it was compared.
            self._measure = None
            if known is not None and math.isfinite(self._loss):
                self._measure = yardstick.Measure(known.kind, self._loss, classes=known.classes)
            return
        if output.numel() > _MOST_ELEMENTS:
            return
        function, options = (call.function, call.options) if call is not None else ("", {})
        found = yardstick.measure(output, target, function=function, options=options)
        if found is None:
            return
        self._known_measure = found
        agrees = abs(found.value - self._loss) <= _AGREES * max(abs(found.value), 1e-12)
        self._agreements = self._agreements + 1 if agrees else -(1 << 30)
        if not self._keeps_predictions(found):
            found = yardstick.Measure(found.kind, found.value, classes=found.classes)
        self._wants_predictions = found.predictions is not None
        if found.predictions is not None and found.targets is not None:
            # Of a segmentation there are millions in a step, and they stay for 40 steps.
            every = max(1, len(found.predictions) // _MOST_PREDICTIONS)
            found = replace(
                found, predictions=found.predictions[::every].clone(), targets=found.targets[::every].clone()
            )
        self._measure = found

    @staticmethod
    def _keeps_predictions(found: yardstick.Measure) -> bool:
        return found.classes is not None and found.classes <= _MOST_CLASSES and found.predictions is not None

    def _keep_target(self, target: Tensor) -> None:
        size = target.numel() * target.element_size()
        if self._target_bytes + size <= _MOST_TARGET_BYTES and len(self._targets) < 64:
            self._targets.append(target.detach().cpu().clone())
            self._target_bytes += size
            self._is_target_known = False

    def settle_baseline(self) -> None:
        """By the targets that were seen so far, where no pass over the data has found it."""
        if self._is_target_known or self.record.data is not None or self.record.has_other_targets:
            return
        self._is_target_known = True
        call = self.record.loss_call
        function, options = (call.function, call.options) if call is not None else ("", {})
        with contextlib.suppress(RuntimeError):
            self.record.baseline = yardstick.baseline(self._targets, function=function, options=options)

    def _backward_done(self, collected: Collected) -> None:
        step, rows = self._book.step, self._book.observer.tables.subjects.rows
        self._gradients = {}
        for number, summary in zip(collected.subjects.tolist(), collected.summaries, strict=True):
            key = rows[number].key
            if key.kind is SubjectKind.GRAD:
                is_finite = not (summary[NAN] or summary[INF])
                self._gradients[key.name] = (float(summary[L2]) if is_finite else math.inf, is_finite)
                if rows[number].dtype == "float16" and key.name in self.record.parameters:
                    self._note_half(self.record.parameters[key.name], step, summary)
            elif key.kind is SubjectKind.ACTIVATION_GRAD and key.call == 0 and not key.leaf:
                norm = math.inf if summary[NAN] or summary[INF] else float(summary[L2])
                note(self.record.output_grads.setdefault(key.name, []), (step, norm))

    @staticmethod
    def _note_half(facts: ParameterFacts, step: int, summary: Any) -> None:
        largest = max(abs(float(summary[MIN])), abs(float(summary[MAX])))
        zeros = float(summary[ZERO]) / max(1.0, float(summary[0]))
        if math.isfinite(largest):
            note(facts.half, (step, zeros, largest))

    def _step_done(self, collected: Collected) -> None:
        self._follow_model()
        driver, step, record = self._book.driver, self._book.step, self.record
        turn = driver.turn
        changes, after = self._changes(collected)
        for name, facts in record.parameters.items():
            is_own = facts.turn == turn.name
            norm = self._gradients.get(name)
            if norm is not None:
                note(facts.grads, (step, norm[0]))
            elif is_own and facts.is_trained and facts.requires_grad:
                facts.missing += 1
            if is_own and name in changes:
                note(facts.updates, (step, changes[name]))
                note(facts.norms, (step, after.get(name, math.nan)))
        clip = driver.clip
        facts_of_step = StepFacts(
            step=step,
            turn=turn.name,
            loss=self._loss,
            measure=self._measure,
            rates=tuple(float(group["lr"]) for group in turn.optimizer.param_groups if "lr" in group),
            left_over=self._left_over,
            clip_norm=None if clip is None or clip.coefficient is None else clip.norm,
            clip_limit=None if clip is None or clip.coefficient is None else clip.norm * clip.coefficient,
            is_skipped=driver.is_skipped,
            scale=driver.gradients.scale,
            group_moves=self._group_moves(turn, changes, after),
            decay_share=self._decay_share(turn, changes, after),
            bad_gradients=tuple(name for name, (_, is_finite) in self._gradients.items() if not is_finite),
            output_std=self._output_std,
        )
        if self._measure is not None and self._measure.predictions is not None:
            facts_of_step.predictions, facts_of_step.targets = self._measure.predictions, self._measure.targets
        record.step_seconds.append(self._bare_secs)
        self._bare_secs = 0.0
        record.count += 1
        note(record.steps, facts_of_step, first=1024, most=_MOST_STEPS)
        for old in record.steps[-_PREDICTIONS_KEPT - 1 : -_PREDICTIONS_KEPT]:
            old.predictions = old.targets = None
        record.first_nonfinite = self._book.first_nonfinite
        self._left_over, self._measure, self._output_std = 0.0, None, math.nan

    def _changes(self, collected: Collected) -> tuple[dict[str, float], dict[str, float]]:
        """(parameter -> norm of its change, parameter -> its norm after the step)."""
        rows = self._book.observer.tables.subjects.rows
        changes, after = {}, {}
        norms = np.where(collected.summaries[:, [NAN, INF]].sum(1) > 0, np.inf, collected.summaries[:, L2])
        for number, norm in zip(collected.subjects.tolist(), norms.tolist(), strict=True):
            key = rows[number].key
            if key.kind is SubjectKind.UPDATE:
                changes[key.name] = norm
            elif key.kind is SubjectKind.PARAMETER:
                after[key.name] = norm
        return changes, after

    def _groups(self, turn: Turn) -> Iterator[tuple[dict[str, Any], list[str]]]:
        for group in turn.optimizer.param_groups:
            yield group, [self._names[id(p)] for p in group["params"] if id(p) in self._names]

    def _group_moves(self, turn: Turn, changes: dict[str, float], after: dict[str, float]) -> tuple[float, ...]:
        moves = []
        for _, names in self._groups(turn):
            moved = math.sqrt(sum(changes.get(name, 0.0) ** 2 for name in names))
            size = math.sqrt(sum(after.get(name, 0.0) ** 2 for name in names))
            moves.append(moved / (size + 1e-12) if math.isfinite(moved) else math.inf)
        return tuple(moves)

    def _decay_share(self, turn: Turn, changes: dict[str, float], after: dict[str, float]) -> float | None:
        """Norm of the decay part of the update, over that of the gradient's; by norms only, the two taken as square to each
        other."""
        decayed = driven = 0.0
        for group, names in self._groups(turn):
            decay = float(group.get("weight_decay") or 0.0)
            if not decay:
                continue
            is_apart = isinstance(turn.optimizer, torch.optim.AdamW) or bool(group.get("decoupled_weight_decay"))
            for name in names:
                if name not in changes or not math.isfinite(changes[name]):
                    continue
                part = decay * after.get(name, 0.0) * (float(group["lr"]) if is_apart else 1.0)
                decayed += part * part
                other = changes[name] ** 2 - part * part if is_apart else self._gradients.get(name, (0.0, True))[0] ** 2
                driven += max(other, 0.0)
        return None if not decayed else math.sqrt(decayed) / (math.sqrt(driven) + 1e-20)

    # ------------------------------------------------------------------------------------------ the model

    def _follow_model(self) -> None:
        """Parameters may have come, gone or got their shape."""
        known, turns = self._book.observer.tensors(), self._book.driver.turns
        held = tuple((id(turn.optimizer), [len(g["params"]) for g in turn.optimizer.param_groups]) for turn in turns)
        if known is self._known and held == self._held:
            return
        is_first, self._known, self._held = self._known is None, known, held
        self.record.optimizers = {turn.name: turn.optimizer for turn in turns}
        modules = self._book.observer.modules()
        for name in [name for name in self.record.layers if name not in modules]:
            del self.record.layers[name]
        for name in [name for name in self.record.parameters if name not in known]:
            del self.record.parameters[name]
        for name, module in modules.items():
            layer = self.record.layers.get(name)
            if layer is None or layer.module is not module:
                self._new_layer(name, module)
        self._names.clear()
        groups = {
            id(parameter): (turn.name, index)
            for turn in turns
            for index, group in enumerate(turn.optimizer.param_groups)
            for parameter in group["params"]
        }
        room = _MOST_START_BYTES
        for name, tensor in known.items():
            self._names[id(tensor)] = name
            facts = self.record.parameters.get(name)
            turn, group = groups.get(id(tensor), ("", None))
            if facts is not None and facts.tensor is tensor:
                facts.requires_grad = tensor.requires_grad
                facts.is_trained, facts.turn, facts.group = id(tensor) in groups, turn, group
                continue
            size = tensor.numel() * tensor.element_size()
            copy = tensor.detach().clone() if is_first and size <= room and tensor.layout is torch.strided else None
            room -= size if copy is not None else 0
            self.record.parameters[name] = _parameter_facts(
                name, tensor, turn=turn, group=group, is_trained=id(tensor) in groups, start=copy
            )

    def begin(self) -> None:
        """Before the first forward: what the model is at the start."""
        self._follow_model()

    def let_go(self) -> Callable[[], frozenset[str]]:
        """Hold nothing of the model and of the optimizers, until what is returned is called: it takes back what is still
        there, forgets what is not, and says the names of that."""
        record, units = self.record, self._units.let_go()
        modules = {name: weakref.ref(layer.module) for name, layer in record.layers.items()}
        tensors = {name: weakref.ref(facts.tensor) for name, facts in record.parameters.items()}
        optimizers = {name: weakref.ref(optimizer) for name, optimizer in record.optimizers.items()}
        for layer in record.layers.values():
            layer.let_go()
        for facts in record.parameters.values():
            facts.let_go()
        record.optimizers, self._known = {}, {}

        def take_back() -> frozenset[str]:
            units()
            for name, reference in modules.items():
                record.layers[name].module = reference()
            for name, of_tensor in tensors.items():
                record.parameters[name].tensor = of_tensor()  # type: ignore[assignment]
            record.optimizers = {name: one for name, of in optimizers.items() if (one := of()) is not None}
            lost = {name for name, reference in modules.items() if reference() is None}
            lost |= {name for name, reference in tensors.items() if reference() is None}
            for name in lost:
                record.layers.pop(name, None)
                record.parameters.pop(name, None)
            return frozenset(lost)

        return take_back

    def _new_layer(self, name: str, module: nn.Module) -> LayerFacts:
        own = tuple(f"{name}.{key}" if name else key for key, p in module._parameters.items() if p is not None)
        facts = LayerFacts(name, type(module).__name__, not module._modules, own, module=module)
        self.record.layers[name] = facts
        return facts

    def _innermost(self) -> str:
        return self._book.observer.running.innermost_now()

    def _note_error(self, error: BaseException) -> None:
        text = f"What is called in a forward could not be looked at: {class_name(type(error))}: {message_of(error)}"
        if text not in self.errors:
            self.errors.append(text)


def _target_of(batch: Any) -> object:
    return batch[1] if isinstance(batch, (tuple, list)) and len(batch) == 2 else None


def _std(output: Tensor | None) -> float:
    if output is None or output.layout is not torch.strided or not output.is_floating_point() or output.numel() < 2:
        return math.nan
    return float(output.detach().float().std())


def first_tensor(output: object) -> Tensor | None:
    """The first tensor of a structured output."""
    if isinstance(output, Tensor):
        return output
    return next((tensor for _, tensor in tensor_leaves(output)), None)


def _parameter_facts(
    name: str, tensor: Tensor, *, turn: str, group: int | None, is_trained: bool, start: Tensor | None
) -> ParameterFacts:
    value = tensor.detach()
    layer = name.rpartition(".")[0]
    is_readable = value.layout is torch.strided and value.device.type != "meta"
    is_plain = value.is_floating_point() and is_readable and value.numel() > 0
    number = value.float() if is_plain else torch.zeros(1)
    rows = number.flatten(1) if number.dim() > 1 else None
    return ParameterFacts(
        name,
        layer,
        tuple(value.shape),
        str(value.dtype).removeprefix("torch."),
        tensor.requires_grad,
        is_trained,
        group,
        turn,
        start_l2=float(number.norm()),
        start_std=float(number.std()) if number.numel() > 1 else 0.0,
        start_rows_equal=rows is not None and len(rows) > 1 and bool((rows == rows[:1]).all()),
        tensor=tensor,
        start=start,
    )
