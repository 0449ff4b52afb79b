"""Opening a recipe, and what is known of a session."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from gradscope.protocol.limits import (
    MAX_GROUPS,
    MAX_MODULES,
    AtMost,
    Count,
    CountFromOne,
    FilePath,
    MetricNames,
    Name,
    Names,
    NestedName,
    Path,
    Prose,
    Seed,
    Sentence,
    Sentences,
    Shape,
    Unfit,
)
from gradscope.protocol.messages.edits import MAX_CHOICES, Choosable
from gradscope.protocol.phases import OF_A_RECIPE, Position, SubStep
from gradscope.protocol.scripts import Ability, Script


@dataclass(frozen=True, kw_only=True)
class Open:
    """Load a recipe file and start its session. Reply: Opened or Failed; on Failed the previous session stays."""

    path: FilePath
    seed: int = 0
    device: str = "cpu"
    capture: str = "full"
    """As `Capture.parse` reads it."""
    budget_bytes: Count = 256 * 1024 * 1024
    """For copies of activations and their gradients, to look at their values."""
    findings: bool = False
    """The monitors ride along, and FoundNow tells what they see."""
    timeline_bytes: Count = 0
    """For the checkpoints by which one can go back; 0 keeps none."""


@dataclass(frozen=True, kw_only=True)
class SetCapture:
    """Capture more or less from the next step on; SessionChanged says so. Reply: Pong or Failed."""

    capture: str
    """As `Capture.parse` reads it."""


@dataclass(frozen=True, kw_only=True)
class Reset:
    """Load the recipe again from its file, with the same seed and device. Reply: Opened or Failed."""


@dataclass(frozen=True, kw_only=True)
class ModuleInfo:
    """One module of the model, in `named_modules()` order."""

    name: NestedName
    """Qualified name; "" is the model itself."""
    type: Name
    description: Sentence
    """torch's own `extra_repr()`: "784, 256, bias=True"."""
    aliases: Names = ()
    """Other names of the same module."""
    training: bool = True
    dropout: float | None = None
    """The probability of its own dropout, where it is one or has one."""


@dataclass(frozen=True, kw_only=True)
class ParameterInfo:
    """One parameter tensor; tied parameters are one tensor with several names."""

    name: NestedName
    shape: Shape
    dtype: Name
    requires_grad: bool
    group: Count | None
    """Index of its parameter group in the optimizer; None if no optimizer holds it."""
    aliases: Names = ()


@dataclass(frozen=True, kw_only=True)
class BufferInfo:
    """One buffer: a tensor that belongs to a module and is no parameter, such as a running mean."""

    name: NestedName
    shape: Shape
    dtype: Name
    is_persistent: bool = True
    """Whether it is in the state_dict."""
    aliases: Names = ()
    """The other names of the same tensor."""


@dataclass(frozen=True, kw_only=True)
class GroupInfo:
    """One parameter group of the optimizer."""

    parameters: Names
    options: Annotated[dict[str, str], AtMost(MAX_CHOICES)]
    """Every option but the parameters, as text: {"lr": "0.001", "momentum": "0.9"}."""
    optimizer: Name = ""
    """Name of the optimizer that it belongs to, where the recipe has several."""


_EVERY_STEP = frozenset({SubStep.BATCH, SubStep.FORWARD, SubStep.LOSS, SubStep.BACKWARD, SubStep.STEP})
"""What no training step goes without."""


@dataclass(frozen=True, kw_only=True)
class SessionInfo:
    """What is known of a session from the start, by its settings of now."""

    name: Name
    description: Prose
    path: Path
    sha256: Name
    seed: Seed
    device: Name
    modules: Annotated[tuple[ModuleInfo, ...], AtMost(MAX_MODULES)]
    parameters: Annotated[tuple[ParameterInfo, ...], AtMost(MAX_MODULES)]
    groups: Annotated[tuple[GroupInfo, ...], AtMost(MAX_GROUPS)]
    optimizer: Sentence
    scheduler: Sentence | None
    loss: Sentence
    scheduler_unit: Name
    batches_per_epoch: Count | None
    batch_size: Count | None = None
    """Samples in a batch; None where the loader has none, or batches of its own."""
    scheduler_metric: Name = ""
    """What a ReduceLROnPlateau is stepped with."""
    substeps: tuple[SubStep, ...] = OF_A_RECIPE
    """The stations that a step goes through, in order."""
    optimizers: Choosable = ("",)
    """The names of the optimizers, in the order of their turns; a single one has the name ""."""
    accumulate: CountFromOne = 1
    """Micro-batches in a full window."""
    zero_grad: Name = "auto"
    """ "auto": at the start of every window; "manual": only when somebody asks for it."""
    clip_norm: float | None = None
    clip_value: float | None = None
    precision: Name | None = None
    """ "bf16" or "fp16" where the forward runs under autocast."""
    has_validation: bool = False
    metrics: MetricNames = ()
    capture: str = "full"
    """What is captured, as `Capture.parse` reads it."""
    warnings: Sentences = ()
    buffers: Annotated[tuple[BufferInfo, ...], AtMost(MAX_MODULES)] = ()
    script: Script | None = None
    """What drives the session, where that is no recipe."""
    refused: Annotated[dict[str, Sentence], AtMost(len(Ability))] = field(default_factory=dict)
    """What this session cannot do, each as an `Ability`, and why."""

    def check(self) -> None:
        for parameter in self.parameters:
            if parameter.group is not None and parameter.group >= len(self.groups):
                raise Unfit(
                    f"has the parameter {parameter.name!r:.80} in group {parameter.group} of {len(self.groups)}"
                )
        if self.script is not None:
            # In its own order; and what its step is like is known after the first.
            return
        order = [substep for substep in SubStep if substep in self.substeps]
        if list(self.substeps) != order or not set(order) >= _EVERY_STEP:
            raise Unfit(f"cannot have the sub-steps {', '.join(self.substeps):.200}")


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A session has started; every earlier subject, place and report is void."""

    session: SessionInfo
    position: Position


@dataclass(frozen=True, kw_only=True)
class SessionChanged:
    """Event: the settings of the running session are different now (an edit)."""

    session: SessionInfo
