"""The training loop of one recipe as plain PyTorch: the lines of the determinism contract that it uses, and no others."""

from __future__ import annotations

import inspect

from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from gradscope.engine.edits.choices import class_named
from gradscope.engine.edits.journal import Place
from gradscope.engine.model.closures import needs_closure
from gradscope.engine.recipe.fields import TRAIN_LOSS
from gradscope.engine.reproduce.deeds import DeedLines
from gradscope.engine.reproduce.lines import Lines
from gradscope.engine.reproduce.settings import STEP_SETTINGS, Settings
from gradscope.engine.stepping.stepper import Stepper
from gradscope.protocol.messages.edits import EditOptimizer
from gradscope.protocol.phases import Phase

PLATEAU = ReduceLROnPlateau.__name__
_DTYPES = {"bf16": "torch.bfloat16", "fp16": "torch.float16"}


class LoopWriter:
    """Writes the loop of a training up to a place."""

    def __init__(self, stepper: Stepper, settings: Settings, deeds: DeedLines, until: Place) -> None:
        self._recipe, self._settings, self._deeds, self._until = stepper.recipe, settings, deeds, until
        self._device = stepper.device
        turns = stepper.training.turns
        self.is_several = len(turns) > 1
        self.has_window = not (settings["accumulate"].is_fixed and settings["accumulate"].first == 1)
        self.has_length = stepper.loop.batches.length is not None
        self.is_exact = stepper.loop.batches.is_exact
        self._optimizers = _classes_of_optimizers(stepper, settings)
        self.needs_closure = any(self._optimizers.values())
        self.has_scaler = stepper.training.scaler is not None
        self.has_schedulers = any(name is not None for own in settings.schedulers.values() for name in own)
        self.has_plateau = any(name == PLATEAU for own in settings.schedulers.values() for name in own)
        metric = settings["scheduler_metric"]
        self.has_train_loss = self.has_plateau and metric.ever(TRAIN_LOSS)
        self.metrics = (
            [value for value in dict.fromkeys(metric.values) if value != TRAIN_LOSS] if self.has_plateau else []
        )
        """Of the validation, that a scheduler may go by."""
        unit = settings["scheduler_unit"]
        self.is_per_epoch = self.has_schedulers and unit.ever("epoch")
        self.is_per_step = self.has_schedulers and unit.ever("step")
        self._optimizer = "optimizers[name]" if self.is_several else "optimizer"

    @property
    def dtype(self) -> str:
        """Of autocast, as code; "" without."""
        return "" if self._recipe.precision is None else _DTYPES[self._recipe.precision]

    @property
    def has_end_of_epoch(self) -> bool:
        """Something depends on which step is the last one of an epoch."""
        return self.is_per_epoch

    def write(self, out: Lines) -> None:
        """From before the first step to the end."""
        for name in STEP_SETTINGS:
            if not self._settings[name].is_fixed:
                out.add(f"{name} = {self._settings[name].first!r}")
        if self.has_scaler:
            out.add(f"scaler = torch.amp.GradScaler({self._device.type!r})")
        self._write_deeds(out, Place(step=0), condition="")
        out.add("step = 0")
        if self.has_window:
            out.add("micro = 0")
        with out.below("while True:  # One pass over the loader is an epoch."):
            if self.has_train_loss:
                out.add(
                    "epoch_losses = {name: (0.0, 0) for name in optimizers}"
                    if self.is_several
                    else "total, count = 0.0, 0"
                )
            if self.is_exact:
                counted = self.has_window or self.has_end_of_epoch
                head = "for index, batch in enumerate(loader):" if counted else "for batch in loader:"
                with out.below(head):
                    self._write_batch(out)
            else:
                self._write_asked(out)

    def _write_asked(self, out: Lines) -> None:
        """Where only asking for the next batch tells whether there is one."""
        out.add("batches = iter(loader)", "batch = next(batches, END)")
        if self.has_window and self.has_length:
            out.add("index = 0")
        with out.below("while batch is not END:"):
            out.add("ahead = None")
            self._write_batch(out)
            self._write_next(out)

    def _write_next(self, out: Lines) -> None:
        out.add("batch = next(batches, END) if ahead is None else ahead")
        if self.has_window and self.has_length:
            out.add("index += 1")

    # ------------------------------------------------------------------------------------------ one batch

    def _write_batch(self, out: Lines) -> None:
        if self._device.type != "cpu":
            out.add("batch = moved(batch, device)")
        if not self.is_several:
            self._write_turn(out)
            return
        with out.below("for name in optimizers:"):
            self._write_turn(out)

    def _write_turn(self, out: Lines) -> None:
        self._write_start(out)
        self._write_forward(out)
        self._write_backward(out)
        self._write_step(out)
        out.add("step += 1")
        for place in self._settings.places:
            if place.after is None and place.step > 0:
                self._write_deeds(out, place, condition=f"step == {place.step}")
        self._write_stop(out, None)

    def _write_start(self, out: Lines) -> None:
        lines = []
        if self.has_window:
            size = self._settings["accumulate"].code
            lines.append(f"window = min({size}, len(loader) - index)" if self.has_length else f"window = {size}")
            lines.append("losses = []")
        if self.needs_closure and self.has_window:
            lines.append("batches_of_step = []")
        clears = self._when("zero_grad", "auto", f"{self._optimizer}.zero_grad(set_to_none=True)")
        if self.has_window:
            out.when("micro == 0", [*lines, *clears])
        else:
            out.add(*lines, *clears)

    def _write_forward(self, out: Lines) -> None:
        if self.needs_closure:
            out.add("loss = loss_of(batch)")
        else:
            self.write_loss(out, "batch")
        out.add("value = float(loss.detach())")
        for place in self._settings.places:
            if place.after is Phase.FORWARD:
                self._write_deeds(out, place, condition=self._at(place))
        self._write_stop(out, Phase.FORWARD)

    def write_loss(self, out: Lines, batch: str) -> None:
        """The lines that compute `loss` of a batch."""
        if not self.dtype:
            self._write_objective(out, batch)
        else:
            with out.below(f"with torch.autocast({self._device.type!r}, {self.dtype}):"):
                self._write_objective(out, batch)

    def _write_objective(self, out: Lines, batch: str) -> None:
        if self._recipe.training_step is not None:
            each = isinstance(self._recipe.training_step, dict)
            out.add(f"loss = {'training_steps[name]' if each else 'training_step'}(model, {batch})")
            out.add("if isinstance(loss, tuple):  # (loss, output)", "    loss = loss[0]")
            return
        out.add(f"x, y = {batch}", "loss = loss_fn(model(x), y)")

    def _write_backward(self, out: Lines) -> None:
        share = "(loss / window if window > 1 else loss)" if self.has_window else "loss"
        out.add(f"scaler.scale({share}).backward()" if self.has_scaler else f"{share}.backward()")
        if self.has_train_loss:
            out.add(*self._note_loss())
        if self.has_window:
            out.add("losses.append(value)")
        if self.needs_closure and self.has_window:
            out.add("batches_of_step.append(batch)")
        if self.has_window and not self.is_exact:
            out.when("micro + 1 < window", ["ahead = next(batches, END)"])
        for place in self._settings.places:
            if place.after is Phase.BACKWARD:
                self._write_deeds(out, place, condition=self._at(place))
        self._write_stop(out, Phase.BACKWARD)
        if not self.has_window:
            return
        out.add("micro += 1")
        with out.below("if micro < window:" if self.is_exact else "if micro < window and ahead is not END:"):
            if not self.is_exact:
                self._write_next(out)
            out.add("continue")
        out.add("micro = 0")

    def _note_loss(self) -> list[str]:
        if self.is_several:
            return ["total, count = epoch_losses[name]", "epoch_losses[name] = total + value, count + 1"]
        return ["total, count = total + value, count + 1"]

    # ------------------------------------------------------------------------------------------ the step

    def _write_step(self, out: Lines) -> None:
        if self.has_window:
            out.add("value = sum(losses) / len(losses)")
        if self.has_scaler:
            out.add(f"scaler.unscale_({self._optimizer})")
        self._write_clipping(out, self._optimizer)
        if self.needs_closure:
            self._write_closure(out)
        elif self.has_scaler:
            out.add(f"scaler.step({self._optimizer})")
            if self.is_per_step:
                out.add("scale = scaler.get_scale()")
            out.add("scaler.update()")
        else:
            out.add(f"{self._optimizer}.step()")
        if self.is_per_step:
            self._write_scheduler_of_step(out)
        if self.is_per_epoch or not self.is_exact:
            self._write_end_of_epoch(out)

    def _write_clipping(self, out: Lines, optimizer: str) -> None:
        if self.is_several:
            parameters = f"[p for group in {optimizer}.param_groups for p in group['params']]"
        else:
            parameters = "model.parameters()" if isinstance(self._recipe.model, nn.Module) else "list(model.values())"
        for name, function in (("clip_norm", "clip_grad_norm_"), ("clip_value", "clip_grad_value_")):
            setting = self._settings[name]
            line = f"torch.nn.utils.{function}({parameters}, {setting.code})"
            if not setting.is_fixed:
                out.when(f"{name} is not None", [line])
            elif setting.first is not None:
                out.add(line)

    def _write_closure(self, out: Lines) -> None:
        out.add("evaluated = [value]", "")
        with out.below("def closure():"):
            with out.below("if evaluated:  # The first evaluation is done already."):
                out.add("return torch.tensor(evaluated.pop(), dtype=torch.float64)")
            out.add(*self._when("zero_grad", "auto", f"{self._optimizer}.zero_grad(set_to_none=True)"))
            out.add("total = 0.0")
            with out.below(f"for again in {'batches_of_step' if self.has_window else '[batch]'}:"):
                out.add("loss = loss_of(again)", "total += float(loss.detach())")
                out.add("(loss / window if window > 1 else loss).backward()" if self.has_window else "loss.backward()")
            self._write_clipping(out, self._optimizer)
            count = "len(batches_of_step)" if self.has_window else "1"
            out.add(f"return torch.tensor(total / {count}, dtype=torch.float64)")
        out.add("")
        if all(self._optimizers.values()):
            out.add(f"{self._optimizer}.step(closure)")
            return
        names = sorted(name for name, needs in self._optimizers.items() if needs)
        with out.below(f"if type({self._optimizer}).__name__ in {names!r}:"):
            out.add(f"{self._optimizer}.step(closure)")
        with out.below("else:"):
            out.add(f"{self._optimizer}.step()")

    def _write_scheduler_of_step(self, out: Lines) -> None:
        conditions = []
        if self.is_per_epoch:
            conditions.append('scheduler_unit == "step"')
        if self.has_scaler:
            # A step that the scaler has left out moves no schedule.
            conditions.append("scaler.get_scale() >= scale")
        scheduler, has_one = self._scheduler_of("name")
        conditions += [has_one] if has_one else []
        out.when(" and ".join(conditions), [f"{scheduler}.step()"])

    def _scheduler_of(self, turn: str) -> tuple[str, str]:
        """(the scheduler of a turn, the condition under which there is one; "" for always)."""
        if self.is_several:
            return f"schedulers[{turn}]", f"schedulers.get({turn}) is not None"
        may_be_none = None in next(iter(self._settings.schedulers.values()))
        return "scheduler", "scheduler is not None" if may_be_none else ""

    def _write_end_of_epoch(self, out: Lines) -> None:
        conditions = ["name == list(optimizers)[-1]"] if self.is_several else []
        if self.is_exact:
            conditions.append("index + 1 == len(loader)")
        else:
            # The place at which the end of the data is asked for, whether or not it matters here.
            asks = ["if ahead is None:", "    ahead = next(batches, END)"]
            out.when(conditions[0] if conditions else "", asks)
            conditions.append("ahead is END")
        if not self.is_per_epoch:
            return
        if self.is_per_step:
            conditions.append('scheduler_unit == "epoch"')
        with out.below(f"if {' and '.join(conditions)}:"):
            if self.is_several:
                with out.below("for turn in optimizers:"):
                    self._write_scheduler_of_epoch(out, "turn")
            else:
                self._write_scheduler_of_epoch(out, "")

    def _write_scheduler_of_epoch(self, out: Lines, turn: str) -> None:
        scheduler, has_one = self._scheduler_of(turn)
        plain = [f"{scheduler}.step()"]
        if not self.has_plateau:
            out.when(has_one, plain)
            return
        own = [name for names in self._settings.schedulers.values() for name in names]
        by_metric = [f"{scheduler}.step({self._metric(turn)})"]
        if all(name == PLATEAU for name in own):
            out.when(has_one, by_metric)
            return
        is_plateau = f"isinstance({scheduler}, torch.optim.lr_scheduler.{PLATEAU})"
        out.when(" and ".join([*([has_one] if has_one else []), is_plateau]), by_metric)
        out.when(" and ".join([*([has_one] if has_one else []), f"not {is_plateau}"]), plain)

    def _metric(self, turn: str) -> str:
        setting = self._settings["scheduler_metric"]
        mean = f"(lambda total, count: total / count)(*epoch_losses[{turn}])" if self.is_several else "total / count"
        if setting.is_fixed:
            return mean if setting.first == TRAIN_LOSS else f"validate({setting.first!r})"
        if not self.has_train_loss:
            return "validate(scheduler_metric)"
        return f"{mean} if scheduler_metric == {TRAIN_LOSS!r} else validate(scheduler_metric)"

    # ------------------------------------------------------------------------------------------ places

    def _at(self, place: Place) -> str:
        condition = f"step == {place.step}"
        return f"{condition} and micro == {place.micro}" if self.has_window else condition

    def _write_deeds(self, out: Lines, place: Place, *, condition: str) -> None:
        lines = [line for deed in self._settings.at(place) for line in self._deeds.of(deed)]
        if lines:
            out.when(condition, lines)

    def _write_stop(self, out: Lines, after: Phase | None) -> None:
        if self._until.after is after:
            out.when(
                self._at(self._until) if after is not None else f"step == {self._until.step}", ["return model, value"]
            )

    def _when(self, name: str, value: str, line: str) -> list[str]:
        """A line that is for one value of a setting."""
        setting = self._settings[name]
        if setting.is_fixed:
            return [line] if setting.first == value else []
        return [f"if {name} == {value!r}:", f"    {line}"]


def _classes_of_optimizers(stepper: Stepper, settings: Settings) -> dict[str, bool]:
    """By the name of its class: whether an optimizer that was in use at some time is given a closure."""
    found = {type(one).__name__: needs_closure(one) for one in stepper.recipe.optimizers.values()}
    for deed in settings.deeds:
        if isinstance(deed.edit, EditOptimizer):
            step = inspect.signature(class_named("optimizers", deed.edit.optimizer).step).parameters  # type: ignore[attr-defined]
            found[deed.edit.optimizer] = step["closure"].default is inspect.Parameter.empty
    # One whose signature leaves it open has been seen to need one, or not.
    found |= {type(turn.optimizer).__name__: True for turn in stepper.training.turns if turn.needs_closure}
    return found
