"""Every message between app and engine: frozen dataclasses, encoded by `codec`.

Requests go from app to engine and are numbered; the reply (any message) carries the same number. Events come from the
engine unasked and carry number 0. numpy arrays travel as raw buffers beside the JSON header.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Annotated

import numpy as np

from gradscope.protocol.arrays import ByteArray, Dims, Float32Array, FloatArray, Int32Array, IntArray
from gradscope.protocol.checkpoints import (
    CheckpointLoaded,
    CheckpointMismatch,
    CheckpointSaved,
    LoadCheckpoint,
    SaveCheckpoint,
)
from gradscope.protocol.checks import check_counts, check_numbers, check_samples
from gradscope.protocol.edits import EDITS, MAX_CHOICES, Choices, Choosable, Edited, EditMade, ListChoices, UndoEdit
from gradscope.protocol.failure import Failure
from gradscope.protocol.limits import (
    MAX_GROUPS,
    MAX_METRICS,
    MAX_MODULES,
    AtMost,
    Count,
    CountFromOne,
    FilePath,
    Index,
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
    StepDone,
    Unfit,
)
from gradscope.protocol.nonfinite import FirstNonFinite
from gradscope.protocol.parts import Part
from gradscope.protocol.phases import Phase, Position, RunUntil, SubStep, Verb
from gradscope.protocol.subjects import COLUMNS, HISTOGRAM_BINS, SubjectKey, SubjectRow
from gradscope.protocol.why import CheckGradient, Explain, Explained, GradientChecked

VALIDATION_LOSS = "loss"
"""The validation's loss, where a metric is asked for by name."""
MAX_WATCHED = 10_000
OfGroups = Annotated[tuple[float, ...], AtMost(MAX_GROUPS)]
"""One number for each parameter group."""


# ---------------------------------------------------------------------------------------------------- handshake


@dataclass(frozen=True, kw_only=True)
class Hello:
    """The engine's first frame, before torch is imported. Anything else first, or a wrong token, ends the connection."""

    token: Name
    protocol_version: int
    gradscope_version: Name
    python_version: Name
    executable: Path
    pid: Count


@dataclass(frozen=True, kw_only=True)
class Welcome:
    """The app's answer to a good Hello."""

    app_version: str


@dataclass(frozen=True, kw_only=True)
class Refused:
    """The app's answer to a Hello that it cannot work with; the engine prints `reason` and ends."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class DeviceInfo:
    name: Name
    """As torch takes it: "cpu", "cuda:0", "mps"."""
    label: Name
    """For people: "CPU", "cuda:0: NVIDIA H200"."""


@dataclass(frozen=True, kw_only=True)
class EngineReady:
    """Event: torch is imported and requests are answered."""

    torch_version: Name
    numpy_version: Name
    devices: Annotated[tuple[DeviceInfo, ...], AtMost(1000)]


@dataclass(frozen=True, kw_only=True)
class EngineUnfit:
    """Event: this interpreter cannot run the engine (torch is missing, Python too old ...); says the fixing command."""

    reason: Sentence


# ---------------------------------------------------------------------------------------------------- requests


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


@dataclass(frozen=True, kw_only=True)
class SetCapture:
    """Capture more or less from the next step on; SessionChanged says so. Reply: Pong or Failed."""

    capture: str
    """As `Capture.parse` reads it."""


@dataclass(frozen=True, kw_only=True)
class Go:
    """Use a verb (all but pause and reset). Reply when it has ended or was paused: Done or Failed."""

    verb: Verb
    until: RunUntil = RunUntil.PAUSED
    steps: int = 1
    """For RunUntil.STEPS: how many steps to complete."""
    keep_going: bool = False
    """Run and Next batch do not stop where the first NaN or Inf is found."""
    traced: bool = False
    """In torch's anomaly mode: where a backward fails, the failure names the line of the forward. Several times as slow."""


@dataclass(frozen=True, kw_only=True)
class Reset:
    """Load the recipe again from its file, with the same seed and device. Reply: Opened or Failed."""


@dataclass(frozen=True, kw_only=True)
class Pause:
    """Stop at the next moment. Answered by the reader thread (Pong); the running Go replies when it has stopped."""


@dataclass(frozen=True, kw_only=True)
class Interrupt:
    """Break off the phase that is running, also inside user code, and undo it. Answered by the reader thread."""


@dataclass(frozen=True, kw_only=True)
class Ping:
    """Answered by the reader thread with Pong, whatever the main thread does (unless the user's code holds the GIL)."""


@dataclass(frozen=True, kw_only=True)
class Shutdown:
    """End the engine process."""


@dataclass(frozen=True, kw_only=True)
class Watch:
    """The subjects whose tensors are wanted at every step, also in a run; the first ones first, where the budget is short.

    Reply: Pong.
    """

    subjects: Annotated[tuple[SubjectKey, ...], AtMost(MAX_WATCHED)]


@dataclass(frozen=True, kw_only=True)
class FetchPage:
    """Values of a subject: the rows x columns of its last two dimensions at `index` of the others. Reply: Page.

    A 0-d tensor is 1 x 1; a 1-d tensor of n elements is n x 1.
    """

    subject: SubjectKey
    index: Index = ()
    row: int = 0
    rows: int = 64
    column: int = 0
    columns: int = 64


@dataclass(frozen=True, kw_only=True)
class FetchPicture:
    """A subject's whole 2-d slice at `index`, shrunk by averaging so that no side is longer than `side`. Reply: Picture."""

    subject: SubjectKey
    index: Index = ()
    side: int = 256


@dataclass(frozen=True, kw_only=True)
class FetchHistogram:
    """A linear histogram of all finite values of a subject, `bins` equal bins from min to max. Reply: Histogram."""

    subject: SubjectKey
    bins: int = 80


@dataclass(frozen=True, kw_only=True)
class FetchDifferences:
    """Compare the values of subjects, element by element, with those in the snapshot at `path`.

    Reply: Differences, or Failed if the snapshot cannot be read.
    """

    path: FilePath
    subjects: tuple[SubjectKey, ...]


@dataclass(frozen=True, kw_only=True)
class FetchDifferencePicture:
    """A subject's 2-d slice at `index` minus the same slice in the snapshot at `path`. Reply: Picture or Unavailable.

    Where a pixel takes several elements, it is the difference of the largest magnitude among them.
    """

    path: FilePath
    subject: SubjectKey
    index: Index = ()
    side: int = 256


@dataclass(frozen=True, kw_only=True)
class Attachment:
    """A file that the app adds to a snapshot, a plot as PNG for example."""

    name: str
    data: ByteArray = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Attach:
    """A file for the next Export, or its next piece: what has the same name is joined. Reply: Pong or Failed."""

    attachment: Attachment


@dataclass(frozen=True, kw_only=True)
class MeasureSnapshot:
    """How large each part of a snapshot would be now. Reply: SnapshotSizes or Failed."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a snapshot at `path` (it must not exist): a folder, or one file if the name ends with .zip.

    ExportProgress on the way; reply: Exported, Cancelled or Failed. Nothing is left behind but by an Exported.
    """

    path: FilePath
    parts: tuple[Part, ...] = tuple(Part)


@dataclass(frozen=True, kw_only=True)
class CancelExport:
    """Break off the Exports that were asked for before. Answered by the reader thread; the Export replies Cancelled."""


# ---------------------------------------------------------------------------------------------------- replies


@dataclass(frozen=True, kw_only=True)
class Pong:
    """Done, nothing to say."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """A Go has ended (its goal was met) or was paused on its way."""

    position: Position
    paused: bool = False


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The request failed. `position` is where the session stands now."""

    failure: Failure
    position: Position


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
    scheduler_metric: Name = ""
    """What a ReduceLROnPlateau is stepped with."""
    substeps: tuple[SubStep, ...] = tuple(SubStep)
    """The stations that a step of this recipe goes through, in order."""
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

    def check(self) -> None:
        for parameter in self.parameters:
            if parameter.group is not None and parameter.group >= len(self.groups):
                raise Unfit(
                    f"has the parameter {parameter.name!r:.80} in group {parameter.group} of {len(self.groups)}"
                )
        order = [substep for substep in SubStep if substep in self.substeps]
        if list(self.substeps) != order or not set(order) >= _EVERY_STEP:
            raise Unfit(f"cannot have the sub-steps {', '.join(self.substeps):.200}")


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A session has started; every earlier subject, place and report is void."""

    session: SessionInfo
    position: Position


def plane_sides(shape: tuple[int, ...]) -> tuple[int, int]:
    """(rows, columns) of a slice of a tensor: those of its last two dimensions; -1 where a nested tensor is ragged."""
    if len(shape) > 2 and 0 in shape[:-2]:
        return 0, 0
    rows, columns = (*shape, 1, 1)[:2] if len(shape) < 2 else shape[-2:]
    return rows, columns


@dataclass(frozen=True, kw_only=True)
class Page:
    """Values as float64 (complex ones as their magnitude), shape (rows, columns), beginning at (row, column).

    `integer` says that they are whole numbers; float64 holds every float32 and every integer up to 2**53 exactly.
    """

    subject: SubjectKey
    shape: Shape
    dtype: Name
    index: Index
    row: Count
    column: Count
    values: Annotated[FloatArray, Dims("rows", "columns")]
    integer: bool = False

    def check(self) -> None:
        # What was asked for may lie beyond what there is: then there are no values.
        ends = (self.row + self.values.shape[0], self.column + self.values.shape[1])
        if self.values.size and any(end > side >= 0 for end, side in zip(ends, plane_sides(self.shape), strict=True)):
            raise Unfit(f"has {self.values.shape} values, which go beyond a tensor of {self.shape!r:.80}")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A 2-d slice as float32 (rows, columns), each pixel the largest magnitude of block[0] x block[1] elements;
    NaN where there is one.

    Where float64 numbers are beyond float32, a value stands for so many times `unit`, a power of two.
    """

    subject: SubjectKey
    shape: Shape
    index: Index
    block: tuple[CountFromOne, CountFromOne]
    values: Annotated[Float32Array, Dims("rows", "columns")]
    unit: float = 1.0

    def check(self) -> None:
        for pixels, of, size in zip(self.values.shape, self.block, plane_sides(self.shape), strict=True):
            if size >= 0 and pixels != -(-size // of):
                raise Unfit(f"has {self.values.shape} pixels for a tensor of {self.shape!r:.80}")
        if not 0 < self.unit < math.inf:
            raise Unfit(f"has numbers of {self.unit} each")


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """edges has one element more than counts. Empty arrays where nothing is finite."""

    subject: SubjectKey
    edges: Annotated[FloatArray, Dims("edges")]
    counts: Annotated[IntArray, Dims("counts")]
    nan: Count
    inf: Count

    def check(self) -> None:
        if len(self.edges) != (len(self.counts) + 1 if len(self.counts) else 0):
            raise Unfit(f"has {len(self.edges)} edges for {len(self.counts)} counts")
        if self.counts.min(initial=0) < 0 or not np.isfinite(self.edges).all() or (np.diff(self.edges) < 0).any():
            raise Unfit("has bins that cannot be drawn")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How one subject's values, A, differ from those in a snapshot, B.

    NaN at the same place in both, or the same infinity, is no difference; where only one has them it is infinite.
    """

    subject: SubjectKey
    count: Count = 0
    differing: Count = 0
    """How many of the `count` elements are not the same."""
    absolute: float = 0.0
    """The largest |A - B|."""
    relative: float = 0.0
    """The largest |A - B| / max(|A|, |B|) of one element: 0 to 2, or infinite."""
    at: Index = ()
    """Where the largest absolute difference is, and the numbers there (of complex ones, their magnitudes)."""
    ours: float = 0.0
    theirs: float = 0.0
    problem: Sentence = ""
    """Why the values cannot be compared, if they cannot; nothing else counts then."""


@dataclass(frozen=True, kw_only=True)
class Differences:
    """One for each subject that was asked for, in that order."""

    items: tuple[Difference, ...]


@dataclass(frozen=True, kw_only=True)
class Unavailable:
    """The values of a subject cannot be had now; `reason` says why and what to do."""

    subject: SubjectKey
    reason: Sentence


@dataclass(frozen=True, kw_only=True)
class PartSize:
    part: Part
    size_bytes: Count


@dataclass(frozen=True, kw_only=True)
class SnapshotSizes:
    """What the engine writes of a snapshot; what the app attaches is not in it."""

    parts: tuple[PartSize, ...]
    always_bytes: Count
    """What belongs to every snapshot."""


@dataclass(frozen=True, kw_only=True)
class Cancelled:
    """The request was broken off because a person wanted it so; nothing has changed."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    path: str
    files: Names
    size_bytes: Count


# ---------------------------------------------------------------------------------------------------- events


@dataclass(frozen=True, kw_only=True)
class Moved:
    """The session stands elsewhere (also while running, a few times a second)."""

    position: Position


@dataclass(frozen=True, kw_only=True)
class Subjects:
    """New rows of the subject table, numbered from `first`. Never dropped; always before a report that uses them."""

    first: Count
    rows: tuple[SubjectRow, ...]


@dataclass(frozen=True)
class Place:
    """One kind of event in a phase: a layer call, the loss, a parameter's gradient arriving."""

    substep: SubStep
    layer: Name
    call: Count
    event: Name
    """ "call" for a layer call, "gradient" for a parameter's gradient, "" for a sub-step itself."""
    detail: Name
    """The shapes that came out, as text: "(32, 256)"."""


@dataclass(frozen=True, kw_only=True)
class Places:
    """New rows of the place table, numbered from `first`. Never dropped; always before a report that uses them."""

    first: Count
    rows: tuple[Place, ...]


@dataclass(frozen=True, kw_only=True)
class Absence:
    """A subject that could have been there and is not, and why."""

    name: Name
    kind: Name
    reason: Sentence


@dataclass(frozen=True, kw_only=True)
class Clip:
    """What clipping did in one step."""

    norm: float
    """L2 norm of all gradients together before."""
    coefficient: float | None
    """What every gradient was multiplied with, at most 1; None where only single values were clipped."""
    norm_after: float | None
    dominant: Name = ""
    """The parameter with the largest gradient norm."""
    dominant_share: float = 0.0
    """Its part of the squared norm, 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class ReportHead:
    """What a phase has to tell, but for its subjects and places."""

    step: Count
    epoch: Count
    batch: Count
    loss: float | None
    """NaN and Inf are values; None before a loss is known."""
    lr: OfGroups
    """Per parameter group: in a step report the rates that this very step used."""
    seconds: float = 0.0
    """How long the phase took, capture included."""
    complete: bool = True
    """False: the phase failed or was broken off; this is what was captured up to there."""
    micro: Count = 0
    """Index of the micro-batch in its window, from 0."""
    window: CountFromOne = 1
    """Micro-batches in the window: the divisor of the loss."""
    optimizer: Name = ""
    """Whose turn it was, where the recipe has several optimizers."""
    scale: float | None = None
    """The loss scale of this step; gradients are shown divided by it."""
    skipped: bool = False
    """The gradient scaler found a gradient that is not finite and left the step out."""
    clip: Clip | None = None
    evaluations: Count = 0
    """How often the closure was evaluated in a step, for an optimizer that needs one (LBFGS)."""
    momentum: OfGroups = ()
    """Per parameter group: momentum, or the first beta; NaN for a group that has none."""
    notes: Sentences = ()
    """Sentences about what a person should know of this phase."""
    first_nonfinite: FirstNonFinite | None = None
    """Where NaN or Inf began, in the report of the phase in which that was found: once in a training."""


@dataclass(frozen=True, kw_only=True)
class Report(ReportHead):
    """All summaries of one phase."""

    phase: Phase
    subjects: Annotated[IntArray, Dims("subjects")]
    """Row numbers in the subject table, shape (n,)."""
    summaries: Annotated[FloatArray, Dims("subjects", len(COLUMNS))]
    """Shape (n, len(COLUMNS))."""
    histograms: Annotated[Int32Array, Dims("histograms", HISTOGRAM_BINS)]
    """Shape (n, HISTOGRAM_BINS): counts by sign and power of two. (0, HISTOGRAM_BINS) where a frame had no room for them."""
    sampled: Annotated[IntArray, Dims("subjects")]
    """How many elements each histogram looked at, shape (n,); less than the count where a large tensor was sampled."""
    places: Annotated[IntArray, Dims("places")]
    """Row numbers in the place table, in order of time, shape (m,)."""
    times: Annotated[FloatArray, Dims("places", 3)]
    """Shape (m, 3): start in seconds since the phase began, duration in seconds, output bytes. NaN where unknown."""
    absent: tuple[Absence, ...] = ()

    def check(self) -> None:
        check_counts(self.summaries)
        check_samples(self.histograms, self.sampled)


@dataclass(frozen=True, kw_only=True)
class ReportStack:
    """The numbers of several reports of one phase that have the same subjects."""

    phase: Phase
    subjects: Annotated[IntArray, Dims("subjects")]
    """As in Report, shape (n,)."""
    summaries: Annotated[FloatArray, Dims("reports", "subjects", len(COLUMNS))]
    """Shape (reports, n, len(COLUMNS))."""

    def check(self) -> None:
        check_counts(self.summaries)


@dataclass(frozen=True, kw_only=True)
class Reports:
    """Several reports, in the order of time, without histograms and places: they had to wait, and newer ones of the same kind
    follow."""

    heads: tuple[ReportHead, ...]
    numbers: Annotated[IntArray, Dims("heads")]
    """Which of `stacks` each has its numbers in; there they lie in the same order. Shape (len(heads),)."""
    stacks: tuple[ReportStack, ...]

    def check(self) -> None:
        check_numbers(self.numbers, len(self.stacks), "stack")
        counts = np.bincount(self.numbers, minlength=len(self.stacks))
        if len(self.heads) != len(self.numbers) or counts.tolist() != [len(stack.summaries) for stack in self.stacks]:
            raise Unfit("does not have the numbers of each of its reports")


@dataclass(frozen=True, kw_only=True)
class InitialParameters:
    """Event after Opened: summaries of the parameters and buffers before any step. Fields as in Report."""

    subjects: Annotated[IntArray, Dims("subjects")]
    summaries: Annotated[FloatArray, Dims("subjects", len(COLUMNS))]
    histograms: Annotated[Int32Array, Dims("histograms", HISTOGRAM_BINS)]
    sampled: Annotated[IntArray, Dims("subjects")]

    def check(self) -> None:
        check_counts(self.summaries)
        check_samples(self.histograms, self.sampled)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Learning rates ahead, simulated: rates[g, k] is group g's rate at step `first_step` + k."""

    first_step: Count
    rates: Annotated[FloatArray, Dims("groups", "steps")]
    reason: Sentence = ""
    """Why nothing can be foretold, where `rates` has the next step only (in a snapshot: no step)."""
    momenta: Annotated[FloatArray, Dims("momenta", "their steps")] = field(default_factory=lambda: np.zeros((0, 0)))
    """Momentum (or first beta) of each group ahead, in the shape of `rates`; empty where no schedule moves it."""
    horizon: Count | None = None
    """The step at which the schedule ends (OneCycleLR): stepping it further is an error."""

    def check(self) -> None:
        if self.momenta.size and self.momenta.shape != self.rates.shape:
            raise Unfit(f"has momenta of the shape {self.momenta.shape} for rates of {self.rates.shape}")

    def from_step(self, step: int) -> Schedule:
        """What it says of step `step` and those after it."""
        passed = step - self.first_step
        if passed <= 0:
            return self
        return replace(self, first_step=step, rates=self.rates[:, passed:], momenta=self.momenta[:, passed:])


@dataclass(frozen=True, kw_only=True)
class Validated:
    """Event: one pass over the validation data. Means, weighted by samples; NaN and Inf are values."""

    step: StepDone
    """The newest step that was done before it; -1 before the first."""
    epoch: Count
    loss: float | None
    metrics: Annotated[dict[str, float], AtMost(MAX_METRICS)]
    batches: Count
    samples: Count
    seconds: float
    is_best: bool = False
    """The best so far by the recipe's `best_metric`; its weights are kept."""
    notes: Sentences = ()
    """What the validation has left otherwise than it was, and cannot be put back. Where it ended an epoch, the report of that
    step says it."""

    def value(self, metric: str) -> float:
        """The loss ("loss") or a metric; NaN where it is unknown."""
        if metric == VALIDATION_LOSS:
            return math.nan if self.loss is None else self.loss
        return self.metrics.get(metric, math.nan)


@dataclass(frozen=True, kw_only=True)
class SessionChanged:
    """Event: the settings of the running session are different now (an edit)."""

    session: SessionInfo


@dataclass(frozen=True, kw_only=True)
class DeviceLost:
    """Event: an error has made the device useless to this process. The engine ends, and can be started again."""

    reason: Sentence


@dataclass(frozen=True, kw_only=True)
class ExportProgress:
    """How far the Export has come, a few times a second."""

    done_bytes: Count
    total_bytes: Count


@dataclass(frozen=True, kw_only=True)
class Note:
    """Something a person should know that is no failure."""

    text: Prose
    warning: bool = False


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """Reports that are not sent: the app has not taken in anything for so long that there was no room to keep them."""

    reports: Count


REQUESTS: tuple[type, ...] = (
    *(
        Open,
        SetCapture,
        Go,
        Reset,
        Pause,
        Interrupt,
        Ping,
        Shutdown,
        Watch,
        FetchPage,
        FetchPicture,
        FetchHistogram,
        Export,
    ),
    *(UndoEdit, ListChoices, *EDITS),
    *(Explain, CheckGradient),
    *(SaveCheckpoint, LoadCheckpoint),
    *(Attach, MeasureSnapshot, CancelExport),
    *(FetchDifferences, FetchDifferencePicture),
)
REPLIES = (
    *(Pong, Done, Failed, Opened, Page, Picture, Histogram, Unavailable, Exported, Edited, Choices),
    *(Explained, GradientChecked),
    *(CheckpointSaved, CheckpointLoaded, CheckpointMismatch),
    *(SnapshotSizes, Cancelled),
    Differences,
)
EVENTS = (
    EngineReady,
    EngineUnfit,
    Moved,
    Subjects,
    Places,
    Report,
    Reports,
    InitialParameters,
    Schedule,
    Validated,
    SessionChanged,
    EditMade,
    DeviceLost,
    ExportProgress,
    Note,
    Skipped,
)
HANDSHAKE = (Hello, Welcome, Refused)
