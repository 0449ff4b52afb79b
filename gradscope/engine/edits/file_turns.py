"""Going on with an edited recipe file: the optimizer of one turn, and its scheduler."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from gradscope.engine.book.turns import schedulers_in
from gradscope.engine.edits.change import set_attributes, set_item
from gradscope.engine.edits.file_versions import OPEN_AGAIN, Version
from gradscope.engine.edits.options import ONLY_WHEN_MADE, option_named
from gradscope.engine.edits.other_file import arrow, difference, is_pair_new, is_same_kind
from gradscope.engine.edits.trial import problem_with_options
from gradscope.engine.recipe.facts import TurnFacts, attributes_of_scheduler
from gradscope.engine.stepping.training import RecipeTurn, Training
from gradscope.protocol.failure import BadInput

_RATES = ("lr", "initial_lr")


class TurnMaking:
    """Makes the changes of one turn, and undoes them."""

    def __init__(
        self,
        training: Training,
        turn: RecipeTurn,
        version: Version,
        before: TurnFacts,
        after: TurnFacts,
        *,
        first_group: int,
    ) -> None:
        self._training, self._turn, self._version = training, turn, version
        self._before, self._after, self._first_group = before, after, first_group
        self._of = f" of {turn.name}" if turn.name else ""
        self._texts: list[str] = []
        self._undos: list[Callable[[], str]] = []

    def make(self) -> list[str]:
        """What has changed, in words. Raises BadInput where something cannot be; then `undo` is to be called."""
        if is_pair_new(self._before, self._after):
            self._take_pair()
        else:
            self._take_options()
            self._take_schedule()
        return self._texts

    def undo(self) -> str:
        """What there is to say of it."""
        said = [text for undo in reversed(self._undos) if (text := undo())]
        self._undos.clear()
        return "; ".join(said)

    # ------------------------------------------------------------------------------------------ the same optimizer

    def _take_options(self) -> None:
        optimizer, new = self._turn.optimizer, self._version.optimizers[self._turn.name]
        for number, (group, other) in enumerate(zip(optimizer.param_groups, new.param_groups, strict=True)):
            before, after = self._before.groups[number].options, self._after.groups[number].options
            names = [name for name in after if name not in _RATES and before.get(name) != after[name]]
            for name in names:
                what = option_named(self._training, name, self._first_group + number)
                if name in ONLY_WHEN_MADE:
                    raise BadInput(f"{what} cannot be changed: {ONLY_WHEN_MADE[name]}; {OPEN_AGAIN}")
                self._set(group, name, _like(group.get(name), other[name]))
                self._tell(what, before.get(name, "none"), after[name])
            is_rate_new = self._take_rate(group, other, number)
            if (names or is_rate_new) and type(optimizer).__name__ != self._before.optimizer_name:
                name, expected = type(optimizer).__name__, self._before.optimizer_name
                raise BadInput(
                    f"The optimizer{self._of} was edited by hand ({name}), and the file changes options of {expected}; "
                    f"{OPEN_AGAIN}"
                )
            problem = problem_with_options(optimizer, group) if names or is_rate_new else None
            if problem is not None:
                name = type(optimizer).__name__
                raise BadInput(f"The options of {name} cannot be taken: {problem}; {OPEN_AGAIN}")

    def _take_rate(self, group: dict[str, Any], other: dict[str, Any], number: int) -> bool:
        """Where there is a schedule, its curve is scaled."""
        before, after = self._before.groups[number].options, self._after.groups[number].options
        own = [options.get("initial_lr", options.get("lr", "none")) for options in (before, after)]
        if own[0] == own[1] or "lr" not in group:
            return False
        value, scheduler = other.get("initial_lr", other["lr"]), self._after.scheduler
        if scheduler is None:
            self._set(group, "lr", _like(group["lr"], value))
            self._tell(option_named(self._training, "lr", self._first_group + number), *own)
            return True
        base, now = float(group.get("initial_lr", group["lr"])), float(group["lr"])
        scaled = now * (float(value) / base) if base else float(value)
        self._set_rate(group, _like(group["lr"], scaled))
        if "initial_lr" in group:
            self._set(group, "initial_lr", _like(group["initial_lr"], value))
        self._tell(f"{option_named(self._training, 'lr', self._first_group + number)}, where the schedule begins", *own)
        return True

    def _take_schedule(self) -> None:
        """What its scheduler goes by, as far as the file has changed it; what it has come to stays."""
        before, after, turn = self._before.scheduler, self._after.scheduler, self._turn
        if before is not None and after is None and turn.scheduler is not None:
            undo = set_attributes(turn, scheduler=None)
            self._undos.append(lambda: undo() or "")
            self._texts.append(f"scheduler{self._of}: {before.name} → none")
            return
        if before is None or after is None or before.attributes == after.attributes:
            return
        live, new = [*schedulers_in(turn.scheduler)], [*schedulers_in(self._version.schedulers.get(turn.name))]
        if len(live) != len(new) or [type(one).__name__ for one in live] != [type(one).__name__ for one in new]:
            name = "none" if turn.scheduler is None else type(turn.scheduler).__name__
            raise BadInput(
                f"The scheduler{self._of} was edited by hand ({name}), and the file changes {after.name}; {OPEN_AGAIN}"
            )
        memo = _memo(new, live, self._version.optimizers[turn.name], turn.optimizer)
        told: list[str] = []
        is_inner = False
        for one, other, old, changed in zip(live, new, before.attributes, after.attributes, strict=True):
            for name in [name for name, text in changed.items() if old.get(name) != text]:
                self._set(vars(one), name, copy.deepcopy(vars(other)[name], dict(memo)))
                if name.startswith("_"):
                    is_inner = True
                elif name != "base_lrs":
                    change = arrow(old.get(name, "none"), changed[name])
                    told.append(f"{name} {change}" if change else name)
        if told:
            self._texts.append(f"{after.name}{self._of}: {', '.join(dict.fromkeys(told))}")
        elif is_inner:
            self._texts.append(f"the course of {after.name}{self._of} is another")

    # ------------------------------------------------------------------------------------------ another one

    def _take_pair(self) -> None:
        turn, before, after = self._turn, self._before, self._after
        old, new = turn.optimizer, self._version.optimizers[turn.name]
        scheduler = self._version.schedulers.get(turn.name)
        is_kept = type(old).__name__ == type(new).__name__ and len(old.param_groups) == len(new.param_groups)
        goes_on = is_same_kind(before, after) and self._carry_schedule(scheduler)
        if is_kept:
            new.state.clear()
            for tensor, state in old.state.items():
                new.state[tensor] = copy.deepcopy(state)
            for group, other in zip(old.param_groups, new.param_groups, strict=True):
                # Some may have been added by hand.
                other["params"][:] = group["params"]
        for number, (group, other) in enumerate(zip(old.param_groups, new.param_groups, strict=False)):
            self._carry_options(group, other, number, is_kept=is_kept, goes_on=goes_on)
        if goes_on and scheduler is not None:
            for one in schedulers_in(scheduler):
                one._last_lr = [copy.deepcopy(group["lr"]) for group in new.param_groups]
        undo = set_attributes(turn, optimizer=new, scheduler=scheduler)
        self._undos.append(lambda: undo() or "")
        if not is_kept:
            self._texts.append(f"optimizer{self._of}: {type(old).__name__} → {type(new).__name__}, with no state yet")
        elif before.optimizer != after.optimizer:
            self._texts.append(f"the code of {type(new).__name__} is another; its state is carried over")
        if after.scheduler is not None and not goes_on:
            name = "none" if before.scheduler is None else before.scheduler.name
            self._texts.append(f"scheduler{self._of}: {name} → {after.scheduler.name}, which begins at its beginning")
        elif before.scheduler is not None and after.scheduler is None:
            self._texts.append(f"scheduler{self._of}: {before.scheduler.name} → none")

    def _carry_options(
        self, group: dict[str, Any], other: dict[str, Any], number: int, *, is_kept: bool, goes_on: bool
    ) -> None:
        """Into `other`, a group of the new optimizer: what the file has not changed."""
        before, after = self._before.groups[number].options, self._after.groups[number].options
        for name, text in after.items():
            is_same = before.get(name) == text and name in group
            if name in _RATES:
                continue
            if is_same:
                other[name] = copy.deepcopy(group[name])
            elif is_kept:
                self._tell(
                    option_named(self._training, name, self._first_group + number), before.get(name, "none"), text
                )
        own = [options.get("initial_lr", options.get("lr", "none")) for options in (before, after)]
        if own[0] != own[1]:
            self._tell(option_named(self._training, "lr", self._first_group + number), *own)
        if goes_on and "initial_lr" in group and "initial_lr" in other and float(group["initial_lr"]):
            scale = float(other["initial_lr"]) / float(group["initial_lr"])
            other["lr"] = _like(other["lr"], float(group["lr"]) * scale)
        elif self._after.scheduler is None and is_kept and own[0] == own[1] and "lr" in group:
            other["lr"] = copy.deepcopy(group["lr"])

    def _carry_schedule(self, scheduler: LRScheduler | None) -> bool:
        """Into the new scheduler: what the file has not changed of the one in use. False where that is another one by now."""
        before, after, turn = self._before.scheduler, self._after.scheduler, self._turn
        live, new = [*schedulers_in(turn.scheduler)], [*schedulers_in(scheduler)]
        if (
            before is None
            or after is None
            or [type(one).__name__ for one in live] != [type(one).__name__ for one in new]
        ):
            return False
        memo = _memo(live, new, turn.optimizer, self._version.optimizers[turn.name])
        for one, other, old, changed in zip(live, new, before.attributes, after.attributes, strict=True):
            for name, value in attributes_of_scheduler(one).items():
                if old.get(name) == changed.get(name):
                    vars(other)[name] = copy.deepcopy(value, dict(memo))
        return True

    # ------------------------------------------------------------------------------------------ private

    def _set(self, content: dict[str, Any], name: str, value: Any) -> None:
        undo = set_item(content, name, value)
        self._undos.append(lambda: undo() or "")

    def _set_rate(self, group: dict[str, Any], value: Any) -> None:
        """One that a scheduler moves."""
        before = group["lr"]
        group["lr"] = value

        def undo() -> str:
            now = float(group["lr"])
            if now == float(value) or not float(value):
                group["lr"] = before
                return ""
            group["lr"] = _like(before, now * (float(before) / float(value)))
            return "the scheduler has moved the rate since: it is scaled back"

        self._undos.append(undo)

    def _tell(self, what: str, before: str, after: str) -> None:
        self._texts.append(difference(what, before, after))


def _like(before: Any, value: Any) -> Any:
    """A tensor where the option is one."""
    if isinstance(before, Tensor) and not isinstance(value, Tensor):
        return before.detach().clone().fill_(value)
    if isinstance(value, Tensor) and not isinstance(before, Tensor) and before is not None:
        return value.item()
    return copy.deepcopy(value)


def _memo(some: list[LRScheduler], others: list[LRScheduler], one: Optimizer, other: Optimizer) -> Mapping[int, Any]:
    """For deepcopy: what stands in the place of what."""
    return {**{id(a): b for a, b in zip(some, others, strict=True)}, id(one): other}
