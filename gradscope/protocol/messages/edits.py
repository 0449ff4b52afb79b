"""The edits that a person can make between two phases, and the classes that there are to choose from.

Every edit is a request of its own; the reply is Edited or Failed. An argument is text: a Python literal ("0.01", "True",
"None", "(0.9, 0.99)"), which is parsed and never evaluated.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from gradscope.protocol.limits import AtMost, Count, MetricNames, Name, Prose, Sentence
from gradscope.protocol.phases import INSIDE, Rest

MAX_CHOICES = 1000
"""Classes, or arguments of one, or texts for one, that there are to choose from."""
Choosable = Annotated[tuple[Name, ...], AtMost(MAX_CHOICES)]

# ---------------------------------------------------------------------------------------------------- edits


@dataclass(frozen=True, kw_only=True)
class EditOption:
    """One option of a parameter group: rate, momentum, weight decay, betas ..."""

    group: int
    """As numbered in `SessionInfo.groups`."""
    option: str
    value: str


@dataclass(frozen=True, kw_only=True)
class EditClipping:
    """Both limits, as they are to be from now on; None: not clipped."""

    norm: float | None
    value: float | None


@dataclass(frozen=True, kw_only=True)
class EditAccumulation:
    micro_batches: int


@dataclass(frozen=True, kw_only=True)
class EditZeroGrad:
    mode: str
    """ "auto" or "manual"."""


@dataclass(frozen=True, kw_only=True)
class EditSchedulerMetric:
    """What a ReduceLROnPlateau is stepped with."""

    metric: str


@dataclass(frozen=True, kw_only=True)
class EditLoss:
    """A class of torch.nn, and those of its arguments that are not left at their defaults."""

    loss: str
    arguments: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class EditOptimizer:
    """A class of torch.optim over the same groups of parameters; its state begins empty."""

    optimizer: str
    arguments: dict[str, str] = field(default_factory=dict)
    turn: str = ""
    """Name of the optimizer that it replaces, where the recipe has several."""
    keep_scheduler: bool = True
    """Make the scheduler anew for it, where its arguments are known; otherwise it is dropped."""


@dataclass(frozen=True, kw_only=True)
class EditScheduler:
    """A class of torch.optim.lr_scheduler for the optimizer as it is now; "" for none."""

    scheduler: str
    arguments: dict[str, str] = field(default_factory=dict)
    turn: str = ""
    unit: str = "step"
    """ "step" or "epoch": when it is stepped."""
    metric: str = ""
    """What a ReduceLROnPlateau is stepped with; "": as before."""


@dataclass(frozen=True, kw_only=True)
class EditDropout:
    """The probability of every dropout in a layer ("" is the model)."""

    layer: str
    p: float


@dataclass(frozen=True, kw_only=True)
class EditRequiresGrad:
    """Freeze or unfreeze a parameter, or all parameters of a layer."""

    name: str
    is_parameter: bool
    requires_grad: bool


@dataclass(frozen=True, kw_only=True)
class EditMode:
    """Train or eval mode of a layer and all that is in it."""

    layer: str
    training: bool


@dataclass(frozen=True, kw_only=True)
class EditMembership:
    """Add a parameter, or the parameters of a layer, that no optimizer holds to a parameter group."""

    name: str
    is_parameter: bool
    group: int


@dataclass(frozen=True, kw_only=True)
class EditFile:
    """Go on with the recipe's file as it was edited: what it says otherwise than when it was loaded is taken, and all else
    goes on. Reply: Edited, Failed or, where loading it was interrupted, Cancelled."""

    version: Count = 0
    """Of those that were loaded so far, from 1 on, as the engine numbers them when it does it again; 0: as on disk now."""


@dataclass(frozen=True, kw_only=True)
class UndoEdit:
    """Undo the newest edit that is not undone yet. Reply: Edited or Failed."""


Edit = (
    EditOption
    | EditClipping
    | EditAccumulation
    | EditZeroGrad
    | EditSchedulerMetric
    | EditLoss
    | EditOptimizer
    | EditScheduler
    | EditDropout
    | EditRequiresGrad
    | EditMode
    | EditMembership
    | EditFile
)
EDITS: tuple[type[Edit], ...] = (
    EditOption,
    EditClipping,
    EditAccumulation,
    EditZeroGrad,
    EditSchedulerMetric,
    EditLoss,
    EditOptimizer,
    EditScheduler,
    EditDropout,
    EditRequiresGrad,
    EditMode,
    EditMembership,
    EditFile,
)

_NOT_WHILE_A_GRAPH_WAITS = (EditDropout, EditMode)
_ONLY_BETWEEN_STEPS = (EditRequiresGrad, EditMembership)


def edit_refusal(rest: Rest, edit: type[Edit], *, running: bool = False) -> str | None:
    """Why an edit (or its undoing) is not possible at `rest` now, as a short sentence; None if it is.

    A waiting graph may run layers again (checkpointing), so they stay as they were in its forward; and gradients that
    wait for a step belong to the parameters as they are.
    """
    if rest is Rest.EMPTY:
        return "Open a script or a recipe first"
    if running:
        return "The session is running: press Pause first"
    if rest is Rest.ENDED:
        return "The script has ended: Reset starts it again"
    if rest in INSIDE.values():
        return f"Stopped {rest.value}: finish that phase first"
    if rest is not Rest.READY and edit is EditFile:
        return "The gradients of this step belong to the file as it was: finish the step first"
    if rest is Rest.FORWARD and edit in _NOT_WHILE_A_GRAPH_WAITS:
        return "A graph waits for its backward, which may run layers again: press Backward first"
    if rest is not Rest.READY and edit in _ONLY_BETWEEN_STEPS:
        return "The gradients of this step belong to the parameters as they are: finish the step first"
    return None


# ---------------------------------------------------------------------------------------------------- choices


class ArgumentKind(StrEnum):
    """What can be given for an argument of a class."""

    NUMBER = "number"
    INTEGER = "integer"
    NUMBERS = "numbers"
    """A list of numbers."""
    NUMBER_OR_NUMBERS = "number or numbers"
    BOOL = "bool"
    CHOICE = "choice"
    TEXT = "text"


@dataclass(frozen=True, kw_only=True)
class ArgumentInfo:
    """One argument of a class, from its signature."""

    name: Name
    kind: ArgumentKind
    default: str | None = None
    """As a Python literal; None where a value has to be given."""
    can_be_none: bool = False
    choices: Choosable = ()
    """For a CHOICE: the texts to choose from."""
    doc: Sentence = ""
    """What torch's documentation says of it, in one line."""


@dataclass(frozen=True, kw_only=True)
class ClassInfo:
    """A class to choose from."""

    name: Name
    doc: Sentence = ""
    arguments: Annotated[tuple[ArgumentInfo, ...], AtMost(MAX_CHOICES)] = ()
    reason: Sentence = ""
    """Why it cannot be made here; "" where it can."""


Classes = Annotated[tuple[ClassInfo, ...], AtMost(MAX_CHOICES)]


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What is in use now."""

    name: Name
    """Of its class, or of a function."""
    arguments: dict[str, str] = field(default_factory=dict)
    """Those that are known, as Python literals."""


@dataclass(frozen=True, kw_only=True)
class TurnChoice:
    """The optimizer of one turn, and its scheduler."""

    turn: Name
    optimizer: Chosen
    scheduler: Chosen | None = None
    can_keep_scheduler: bool = False
    """Another optimizer could have it, made anew with the same arguments."""


@dataclass(frozen=True, kw_only=True)
class ListChoices:
    """Ask for the classes that there are, and for what is in use. Reply: Choices or Failed."""


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Every class of torch that a loss, an optimizer or a scheduler can be, and what is in use."""

    losses: Classes
    optimizers: Classes
    schedulers: Classes
    turns: Annotated[tuple[TurnChoice, ...], AtMost(MAX_CHOICES)]
    loss: Chosen | None
    """None where training steps compute the loss."""
    metrics: MetricNames = ()
    """What a ReduceLROnPlateau can be stepped with."""


# ---------------------------------------------------------------------------------------------------- replies, events


@dataclass(frozen=True, kw_only=True)
class Edited:
    """The edit is made (or undone): what has changed, in words."""

    text: Prose


@dataclass(frozen=True, kw_only=True)
class EditMade:
    """Event: an edit for the history. It comes again, with the same number, when the edit is undone."""

    number: Count
    step: Count
    """The step that was next (or under way) when it was made."""
    text: Sentence
    undone_at: Count | None = None
    """The step that was next (or under way) when it was undone."""
