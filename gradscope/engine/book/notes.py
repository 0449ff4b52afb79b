"""Sentences about a phase that a person should know: gradients that are not finite, or that nobody meant to add up."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gradscope.engine.book.turns import Turn
from gradscope.engine.nonfinite.counts import Counts
from gradscope.engine.quantities.fused_on_device import reason_for_torch
from gradscope.engine.wording import listed
from gradscope.protocol.subjects import SubjectKey, SubjectKind


def slow_summaries(device: torch.device) -> list[str]:
    """After a phase: that the device's fused kernel is not used, and why."""
    reason = reason_for_torch(device)
    return (
        [f"Summaries on {device} take many operations a tensor, which slows training down: {reason}"] if reason else []
    )


def stale_gradients(
    turns: Sequence[Turn], turn: Turn, tensors: dict[str, Tensor], *, of_this_forward: Collection[str]
) -> list[str]:
    """Before a window's first backward: whose `.grad` it will be added to. `of_this_forward`: whose was not there when the
    forward began."""
    tensors = {name: tensor for name, tensor in tensors.items() if tensor.grad is not None}
    if not tensors:
        return []
    own = _ids(turn)
    others = {i for other in turns if other is not turn for i in _ids(other)}
    new: list[str] = []
    kept: list[str] = []
    lost: list[str] = []
    for name, tensor in tensors.items():
        if id(tensor) in own:
            (new if name in of_this_forward else kept).append(name)
        elif id(tensor) not in others:
            lost.append(name)
    notes = []
    if new:
        notes.append(
            f"The forward has called backward() itself ({listed(new)} had a gradient after it), and this backward adds to "
            "that"
        )
    if kept:
        notes.append(
            f"This backward adds to gradients of an earlier step ({listed(kept)}): zero_grad was not called in between"
        )
    if lost:
        notes.append(
            f"The gradients of {listed(lost)} add up from step to step: no optimizer holds them, so zero_grad never "
            "clears them"
        )
    return notes


def nothing_reached(turn: Turn) -> str:
    name = type(turn.optimizer).__name__
    return (
        f"No gradient has reached any parameter that {name} holds: the loss does not depend on them, or only through "
        "detach(), no_grad() or .item()"
    )


@dataclass(frozen=True)
class Holdings:
    """Where the optimizers and the model do not hold the same tensors."""

    missing: frozenset[str]
    """Parameters that require a gradient, and that no optimizer holds."""
    strangers: frozenset[int]
    """Ids of what optimizers hold that is not (or no longer) the model's."""

    @staticmethod
    def of(turns: Sequence[Turn], parameters: Mapping[str, Tensor]) -> Holdings:
        """`parameters` are the model's."""
        held = set[int]().union(*map(_ids, turns))
        own = {*map(id, parameters.values())}
        if held == own:
            return _NOTHING_APART
        missing = (name for name, tensor in parameters.items() if tensor.requires_grad and id(tensor) not in held)
        return Holdings(frozenset(missing), frozenset(held - own))

    def changes(self, since: Holdings) -> list[str]:
        """What has come apart since then: parameters were replaced or added in mid-training."""
        if self is _NOTHING_APART:
            return []
        missing, strangers = sorted(self.missing - since.missing), self.strangers - since.strangers
        notes = []
        if missing:
            notes.append(
                f"No optimizer holds {listed(missing)}, new in the model (or unfrozen) since the start: no step moves it"
            )
        if strangers:
            notes.append(
                f"The optimizer holds {len(strangers)} tensors that have left the model since the start: moving them "
                "changes nothing"
            )
        return notes


def _ids(turn: Turn) -> set[int]:
    return {*map(id, turn.parameters)}


_NOTHING_APART = Holdings(frozenset(), frozenset())


def left_to_scaler(bad: list[tuple[SubjectKey, Counts]]) -> list[str]:
    """After a backward with a gradient scaler: the parameters whose gradients have become too large for their type."""
    parameters = [(key, counts) for key, counts in bad if key.kind is SubjectKind.GRAD]
    if not parameters:
        return []
    (key, counts), *others = parameters
    more = f" and those of {len(others)} more parameters are" if len(others) > 1 else " is"
    more = " and that of 1 more parameter are" if len(others) == 1 else more
    return [
        f"The gradient of {key.name} ({counts.words()}){more} not finite; the gradient scaler will leave this step out and "
        "lower its scale"
    ]
