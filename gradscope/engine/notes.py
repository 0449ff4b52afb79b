"""Sentences about a phase that a person should know: gradients that are not finite, or that nobody meant to add up."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gradscope.engine.quantities.fused_on_device import reason_for_torch
from gradscope.engine.record import Collected, Tables
from gradscope.engine.training import Training, Turn
from gradscope.protocol.subjects import INF, NAN, SubjectKind


def listed(names: Iterable[str], *, most: int = 3) -> str:
    """ "a, b, c and 4 more"."""
    known = list(names)
    return ", ".join(known[:most]) + (f" and {len(known) - most} more" if len(known) > most else "")


def slow_summaries(device: torch.device) -> list[str]:
    """After a phase: that the device's fused kernel is not used, and why."""
    reason = reason_for_torch(device)
    return (
        [f"Summaries on {device} take many operations a tensor, which slows training down: {reason}"] if reason else []
    )


def stale_gradients(
    training: Training, turn: Turn, tensors: dict[str, Tensor], *, of_this_forward: Collection[str]
) -> list[str]:
    """Before a window's first backward: whose `.grad` it will be added to. `of_this_forward`: whose was not there when the
    forward began."""
    tensors = {name: tensor for name, tensor in tensors.items() if tensor.grad is not None}
    if not tensors:
        return []
    own = _ids(turn)
    others = {i for other in training.turns if other is not turn for i in _ids(other)}
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
    def of(training: Training, parameters: Mapping[str, Tensor]) -> Holdings:
        """`parameters` are the model's."""
        held = {i for turn in training.turns for i in _ids(turn)}
        own = {id(tensor) for tensor in parameters.values()}
        missing = (name for name, tensor in parameters.items() if tensor.requires_grad and id(tensor) not in held)
        return Holdings(frozenset(missing), frozenset(held - own))

    def changes(self, since: Holdings) -> list[str]:
        """What has come apart since then: parameters were replaced or added in mid-training."""
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
    return {id(tensor) for tensor in turn.parameters}


def non_finite(
    collected: Collected, tables: Tables, *, scaled: Callable[[], Iterable[str]], is_partial: bool = False
) -> list[str]:
    """After a backward: the first parameter whose gradient is not finite, and where in backward order that began.

    `scaled`: the parameters for which a gradient scaler looks out. `is_partial`: not all layers were looked at.
    """
    summaries, rows = collected.summaries, tables.subjects.rows
    if not summaries[:, NAN : INF + 1].any():
        return []
    found = np.flatnonzero((summaries[:, NAN] > 0) | (summaries[:, INF] > 0))
    bad = [(rows[collected.subjects[i]].key, summaries[i]) for i in found]
    parameters = [(key, summary) for key, summary in bad if key.kind is SubjectKind.GRAD]
    if not parameters:
        return []
    key, summary = parameters[0]
    counts = ", ".join(
        f"{int(summary[column])} {name}" for column, name in ((NAN, "NaN"), (INF, "Inf")) if summary[column]
    )
    others, of = len(parameters) - 1, "captured parameter" if is_partial else "parameter"
    more = {0: " is", 1: f" and that of 1 more {of} are"}.get(others, f" and those of {others} more {of}s are")
    text = f"The gradient of {key.name} ({counts} of {int(summary[0])}){more} not finite"
    layer = next((key for key, _ in bad if key.kind is SubjectKind.ACTIVATION_GRAD), None)
    if layer is not None:
        seen = " that was captured" if is_partial else ""
        text += f"; going backward, the first{seen} is the gradient of the output of {layer.label()}"
    if {key.name for key, _ in parameters} & set(scaled()):
        text += "; the gradient scaler will leave this step out and lower its scale"
    return [text]
