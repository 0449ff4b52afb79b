"""Made-up training: the engine's messages for a model that does not exist, and a controller without an engine.

For speed, and for what no real model shows on demand. The end-to-end tests are the real twin.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PySide6.QtCore import QObject, Signal

from gradscope.protocol import messages
from gradscope.protocol.arrays import FloatArray
from gradscope.protocol.capture import CaptureLevel
from gradscope.protocol.phases import Phase, Position, Rest, SubStep
from gradscope.protocol.scripts import Ability, Script, ScriptKind
from gradscope.protocol.subjects import (
    COLUMNS,
    COUNT,
    HISTOGRAM_BINS,
    INF,
    L2,
    LAYER_KINDS,
    MAX,
    MEAN,
    MIN,
    NAN,
    STD,
    ZERO,
    SubjectKey,
    SubjectKind,
    SubjectRow,
)
from gradscope.state.app_state import AppState
from gradscope.state.engine import EngineState, EngineStatus
from gradscope.state.selection import Selection
from gradscope.state.topics import Topic
from gradscope.ui.look.colours import Theme
from gradscope.ui.look.settings import Settings
from gradscope.ui.look.theme import ThemeManager

BATCHES_PER_EPOCH = 29
SCRIPT_CAN = (Ability.EDIT_OPTIONS,)


@dataclass
class FakeTraining:
    """Makes the messages of a training run, phase by phase.

    `layers` maps a module's name to the shape of its output, `parameters` and `buffers` a tensor's name to its shape.
    """

    layers: dict[str, tuple[int, ...]]
    parameters: dict[str, tuple[int, ...]]
    buffers: dict[str, tuple[int, ...]] = field(default_factory=dict)
    name: str = "Made up"
    rates: tuple[float, ...] = (0.01,)
    scheduler: str | None = "StepLR(step_size=20, gamma=0.5)"
    schedule_reason: str = ""
    non_finite_from: dict[SubjectKey, int] = field(default_factory=dict)
    """From which step on a subject holds NaN and Inf."""
    zero: frozenset[SubjectKey] = frozenset()
    """Subjects that are all zero."""
    nan_losses: frozenset[int] = frozenset()
    settings: dict[str, object] = field(default_factory=dict)
    """Further fields of the session: clip_norm, accumulate, optimizers, metrics ..."""
    states: tuple[str, ...] = ()
    """What the optimizer remembers of each parameter."""
    scale: float | None = None
    skipped: frozenset[int] = frozenset()
    momenta: tuple[float, ...] = ()
    """Of each group, where the schedule moves them."""
    horizon: int | None = None
    notes: tuple[str, ...] = ()
    """Of every backward."""
    evaluations: int = 0
    level: CaptureLevel = CaptureLevel.FULL
    """FULL, NORMS or OFF; of the session and its reports, unless it is changed in between."""
    batches_per_epoch: int | None = BATCHES_PER_EPOCH
    micro: int = 0
    step: int = 0
    rows: dict[SubjectKey, int] = field(default_factory=dict)
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    # ------------------------------------------------------------------------------------------ messages

    def opened(self) -> Iterator[object]:
        root = [messages.ModuleInfo(name="", type="Sequential", description="")]
        modules = root if self.layers else []
        modules += [
            messages.ModuleInfo(name=name, type="Linear", description="8, 8, bias=True") for name in self.layers if name
        ]
        session = messages.SessionInfo(
            name=self.name,
            description="Numbers that nobody computed.",
            path=f"/made/up/{self.name}.py",
            sha256="0" * 64,
            seed=0,
            device="cpu",
            modules=tuple(modules),
            parameters=tuple(
                messages.ParameterInfo(name=name, shape=shape, dtype="float32", requires_grad=True, group=0)
                for name, shape in self.parameters.items()
            ),
            buffers=tuple(
                messages.BufferInfo(name=name, shape=shape, dtype="float32") for name, shape in self.buffers.items()
            ),
            groups=tuple(
                messages.GroupInfo(parameters=tuple(self.parameters) if i == 0 else (), options={"lr": repr(rate)})
                for i, rate in enumerate(self.rates)
            ),
            optimizer="SGD",
            scheduler=self.scheduler,
            loss="cross_entropy",
            scheduler_unit="step",
            batches_per_epoch=self.batches_per_epoch,
            capture=str(self.level),
            **self.settings,  # type: ignore[arg-type]
        )
        yield messages.Opened(session=session, position=self._position(Rest.READY))
        yield from self._initial()
        yield self._schedule()

    def forward(self) -> Iterator[object]:
        keys = [*self.keys(SubjectKind.ACTIVATION), *self.keys(SubjectKind.BUFFER)]
        yield from self._report(Phase.FORWARD, keys, Rest.FORWARD)

    def backward(self) -> Iterator[object]:
        keys = [*self.keys(SubjectKind.ACTIVATION_GRAD)[::-1], *self.keys(SubjectKind.GRAD)[::-1]]
        is_last = self.micro + 1 == self.window
        yield from self._report(Phase.BACKWARD, keys, Rest.BACKWARD if is_last else Rest.ACCUMULATING)

    def optimizer_step(self) -> Iterator[object]:
        kinds = (SubjectKind.PARAMETER, SubjectKind.UPDATE, SubjectKind.CLIPPED_GRAD, SubjectKind.OPTIMIZER_STATE)
        yield from self._report(Phase.STEP, [key for kind in kinds for key in self.keys(kind)], Rest.READY)
        yield self._schedule()

    def validated(self, **changes: object) -> messages.Validated:
        """A pass over the validation data after the newest step."""
        metrics = {name: 1 - 0.9 * math.exp(-self.step / 30 / (i + 1)) for i, name in enumerate(self._metrics)}
        loss = 2.5 * math.exp(-self.step / 80)
        made = messages.Validated(
            step=self.step - 1, epoch=0, loss=loss, metrics=metrics, batches=3, samples=96, seconds=0.1
        )
        return replace(made, **changes)  # type: ignore[arg-type]

    def steps(self, count: int) -> Iterator[object]:
        for _ in range(count):
            for _ in range(self.window):
                yield from self.forward()
                yield from self.backward()
            yield from self.optimizer_step()

    @property
    def window(self) -> int:
        return int(str(self.settings.get("accumulate", 1)))

    @property
    def turn(self) -> str:
        """Name of the optimizer that makes the next step."""
        optimizers = self.settings.get("optimizers", ("",))
        assert isinstance(optimizers, tuple)
        return str(optimizers[self.step % len(optimizers)])

    @property
    def _metrics(self) -> tuple[str, ...]:
        metrics = self.settings.get("metrics", ())
        assert isinstance(metrics, tuple)
        return metrics

    def rate_at(self, step: int) -> tuple[float, ...]:
        return tuple(rate * 0.5 ** (step // 20) for rate in self.rates)

    def keys(self, kind: SubjectKind) -> list[SubjectKey]:
        if kind is SubjectKind.CLIPPED_GRAD and "clip_norm" not in self.settings:
            return []
        if self.level is CaptureLevel.OFF or (self.level is CaptureLevel.NORMS and kind is SubjectKind.OPTIMIZER_STATE):
            return []
        leaves = tuple(f".{state}" for state in self.states) if kind is SubjectKind.OPTIMIZER_STATE else ("",)
        return [SubjectKey(kind, name, leaf=leaf) for name in self._shapes(kind) for leaf in leaves]

    # ------------------------------------------------------------------------------------------ private

    def _position(self, rest: Rest, *, running: bool = False) -> Position:
        epoch, batch = divmod(self.step, BATCHES_PER_EPOCH)
        return Position(
            rest=rest,
            step=self.step,
            epoch=epoch,
            batch=batch,
            batches_per_epoch=self.batches_per_epoch,
            micro=self.micro,
            window=self.window,
            optimizer=self.turn,
            running=running,
        )

    def _initial(self) -> Iterator[object]:
        keys = [*self.keys(SubjectKind.PARAMETER), *self.keys(SubjectKind.BUFFER)]
        yield from self._new_subjects(keys)
        yield messages.InitialParameters(
            subjects=np.array([self.rows[key] for key in keys], dtype=np.int64), **self._numbers(keys)
        )

    def _numbers(self, keys: list[SubjectKey]) -> dict[str, np.ndarray]:
        """Summaries with their histograms, as far as the level goes."""
        summaries = self.summaries(keys)
        histograms, sampled = self._histograms(summaries), summaries[:, COUNT].astype(np.int64)
        if self.level is CaptureLevel.NORMS:
            summaries[:, ZERO : STD + 1] = np.nan
            histograms[:], sampled[:] = 0, 0
        return {"summaries": summaries, "histograms": histograms, "sampled": sampled}

    def _schedule(self) -> messages.Schedule:
        if self.schedule_reason:
            return messages.Schedule(
                first_step=self.step, rates=np.zeros((len(self.rates), 0)), reason=self.schedule_reason
            )
        ahead = np.array([self.rate_at(self.step + k) for k in range(100)], dtype=np.float64).T
        momenta = np.array([self._momentum_at(self.step + k) for k in range(100)], dtype=np.float64).reshape(100, -1).T
        return messages.Schedule(
            first_step=self.step,
            rates=np.ascontiguousarray(ahead),
            momenta=np.ascontiguousarray(momenta),
            horizon=self.horizon,
        )

    def _momentum_at(self, step: int) -> tuple[float, ...]:
        return tuple(momentum - 0.1 * math.sin(step / 30) for momentum in self.momenta)

    def _new_subjects(self, keys: list[SubjectKey]) -> Iterator[object]:
        new = [key for key in keys if key not in self.rows]
        if not new:
            return
        first = len(self.rows)
        self.rows.update({key: first + i for i, key in enumerate(new)})
        yield messages.Subjects(first=first, rows=tuple(SubjectRow(key, self.shape_of(key), "float32") for key in new))

    def shape_of(self, key: SubjectKey) -> tuple[int, ...]:
        return self._shapes(key.kind)[key.name]

    def _shapes(self, kind: SubjectKind) -> dict[str, tuple[int, ...]]:
        if kind is SubjectKind.BUFFER:
            return self.buffers
        return self.layers if kind in LAYER_KINDS else self.parameters

    def summaries(self, keys: list[SubjectKey]) -> FloatArray:
        """Plausible summaries of this step, shape (len(keys), len(COLUMNS))."""
        counts = np.array([max(1, math.prod(self.shape_of(key))) for key in keys], dtype=np.float64)
        depth = np.linspace(0, 1, len(keys))
        size = np.array([_SIZE[key.kind] for key in keys]) * np.exp(0.5 * np.sin(6 * depth + self.step / 15))
        size = size * self.random.uniform(0.8, 1.25, len(keys)) * np.exp(-1.5 * depth)
        result = np.zeros((len(keys), len(COLUMNS)))
        result[:, COUNT] = counts
        result[:, STD] = np.where(counts > 1, size, 0)
        result[:, MEAN] = size * self.random.normal(0, 0.3, len(keys))
        result[:, MIN] = result[:, MEAN] - 3 * result[:, STD]
        result[:, MAX] = result[:, MEAN] + 3 * result[:, STD]
        result[:, L2] = np.sqrt(counts * (result[:, STD] ** 2 + result[:, MEAN] ** 2))
        result[:, ZERO] = np.floor(counts * self.random.uniform(0, 0.6, len(keys)))
        for key in self.zero & set(keys):
            i = keys.index(key)
            result[i, [MIN, MAX, MEAN, STD, L2]] = 0
            result[i, ZERO] = counts[i]
        for key, first in self.non_finite_from.items():
            if key in keys and self.step >= first:
                i = keys.index(key)
                result[i, NAN] = max(1, counts[i] // 3)
                result[i, INF] = counts[i] // 10
        return result

    def _histograms(self, summaries: FloatArray) -> np.ndarray:
        bins = np.arange(HISTOGRAM_BINS)
        shape = np.exp(-0.5 * ((bins - 20) / 4) ** 2) + np.exp(-0.5 * ((bins - 75) / 4) ** 2)
        shape = shape / shape.sum()
        rest = summaries[:, COUNT] - summaries[:, ZERO] - summaries[:, NAN] - summaries[:, INF]
        return np.round(np.maximum(rest, 0)[:, None] * shape).astype(np.int32)

    def _report(self, phase: Phase, keys: list[SubjectKey], rest: Rest) -> Iterator[object]:
        yield from self._new_subjects(keys)
        epoch, batch = divmod(self.step, BATCHES_PER_EPOCH)
        loss = 2.3 * float(np.exp(-self.step / 60)) + float(self.random.uniform(0, 0.2))
        yield messages.Report(
            phase=phase,
            step=self.step,
            epoch=epoch,
            batch=batch,
            loss=float("nan") if self.step in self.nan_losses else loss,
            lr=self.rate_at(self.step),
            subjects=np.array([self.rows[key] for key in keys], dtype=np.int64),
            **self._numbers(keys),
            places=np.zeros(0, dtype=np.int64),
            times=np.zeros((0, 3)),
            micro=self.micro,
            window=self.window,
            optimizer=self.turn,
            scale=None if phase is Phase.FORWARD else self.scale,
            skipped=phase is Phase.STEP and self.step in self.skipped,
            clip=self._clip() if phase is Phase.STEP else None,
            evaluations=self.evaluations if phase is Phase.STEP else 0,
            momentum=self._momentum_at(self.step),
            notes=self.notes if phase is Phase.BACKWARD else (),
        )
        if phase is Phase.BACKWARD and self.micro + 1 < self.window:
            self.micro += 1
        if phase is Phase.STEP:
            if self.step in self.skipped and self.scale is not None:
                self.scale /= 2
            self.step += 1
            self.micro = 0
        yield messages.Moved(position=self._position(rest))

    def _clip(self) -> messages.Clip | None:
        if "clip_norm" not in self.settings:
            return None
        norm, limit = 3 * math.exp(-self.step / 30), float(str(self.settings["clip_norm"]))
        coefficient = min(1.0, limit / norm)
        return messages.Clip(
            norm=norm,
            coefficient=coefficient,
            norm_after=norm * coefficient,
            dominant=list(self.parameters)[self.step % 2],
            dominant_share=0.8,
        )


_SIZE = {
    SubjectKind.ACTIVATION: 1.0,
    SubjectKind.ACTIVATION_GRAD: 1e-3,
    SubjectKind.PARAMETER: 0.1,
    SubjectKind.GRAD: 1e-2,
    SubjectKind.UPDATE: 1e-4,
    SubjectKind.CLIPPED_GRAD: 5e-3,
    SubjectKind.OPTIMIZER_STATE: 1e-3,
    SubjectKind.BUFFER: 0.5,
}


def small_training(**changes: object) -> FakeTraining:
    """Two layers and what lies between."""
    return FakeTraining(
        layers={"net.0": (32, 16), "net.1": (32, 16), "net.2": (32, 10), "": (32, 10)},
        parameters={"net.0.weight": (16, 8), "net.0.bias": (16,), "net.2.weight": (10, 16), "net.2.bias": (10,)},
        name="Small",
        **changes,  # type: ignore[arg-type]
    )


def full_training(**changes: object) -> FakeTraining:
    """The same with everything that a step can have: a window, clipping, a loss scale, validation, momentum cycles."""
    settings = {
        "accumulate": 2,
        "clip_norm": 1.0,
        "precision": "fp16",
        "substeps": tuple(SubStep),
        "has_validation": True,
        "metrics": ("accuracy", "top 2"),
    }
    wanted: dict[str, object] = {
        "states": ("exp_avg", "exp_avg_sq"),
        "scale": 65536.0,
        "skipped": frozenset({0, 3}),
        "momenta": (0.9,),
    }
    return small_training(**{**wanted, "settings": settings, **changes})


SCRIPT = Script(kind=ScriptKind.FILE, name="/home/me/train.py", arguments=("--lr", "0.1"), folder="/home/me")
REFUSED = {ability.value: f"The script does it: {ability.value}" for ability in Ability if ability not in SCRIPT_CAN}
OWN_ORDER = (SubStep.BATCH, SubStep.FORWARD, SubStep.LOSS, SubStep.ZERO_GRAD, SubStep.BACKWARD, SubStep.STEP)


def script_training(**changes: object) -> FakeTraining:
    """The small one, driven by a script whose loader has no length."""
    training = small_training(batches_per_epoch=None, scheduler=None, **changes)
    training.settings = {"script": SCRIPT, "refused": REFUSED, "substeps": OWN_ORDER, **training.settings}
    return training


def bare_training(**changes: object) -> FakeTraining:
    """Bare tensors w and b, no module."""
    return FakeTraining(layers={}, parameters={"w": (), "b": ()}, name="Bare", scheduler=None, **changes)  # type: ignore[arg-type]


def deep_training(depth: int = 600, **changes: object) -> FakeTraining:
    """A model of many layers with long names."""
    names = [f"transformer.encoder.layers.{i // 6}.block_{i % 6}.projection" for i in range(depth)]
    return FakeTraining(
        layers=dict.fromkeys(names, (4, 128, 64)),
        parameters={f"{name}.weight": (64, 64) for name in names},
        name="Deep",
        rates=(0.01, 0.001),
        **changes,  # type: ignore[arg-type]
    )


def fill_history(state: AppState, training: FakeTraining, steps: int) -> None:
    """Many steps at once: blocks and curves directly, and the last step by messages."""
    history = state.history
    by_kind = {kind: training.keys(kind) for kind in SubjectKind}
    first = {kind: training.summaries(keys) for kind, keys in by_kind.items()}
    for _ in range(steps - 1):
        wave = 1 + 0.5 * math.sin(training.step / 15)
        for kind, keys in by_kind.items():
            if keys:
                history.blocks[kind].add(training.step, keys, first[kind] * wave)
        history.loss.add(training.step, (2.3 * float(np.exp(-training.step / 400)),))
        history.lr.add(training.step, training.rate_at(training.step))
        training.step += 1
    for message in training.steps(1):
        state.apply(message)


class FakeController(QObject):
    """The controller's interface over an AppState, without an engine. Fetches wait until they are answered."""

    refreshed = Signal(object)
    panels_refreshed = Signal(object)
    failed = Signal(object)
    menu_filling = Signal(object, object)

    def __init__(self) -> None:
        super().__init__()
        self.state = AppState()
        self.state.set_engine(EngineState(status=EngineStatus.READY))
        self.fetches: list[tuple[object, Callable[[object], None]]] = []
        self.asked: list[tuple[object, Callable[[object], None]]] = []
        self.interruptions = 0
        self.answer: Callable[[object], object] | None = None
        """Answers fetches at once, where set."""

    def show_step(self, step: int | None) -> None:
        self.state.shown.show(step)
        self.flush()

    def select(self, selection: Selection) -> None:
        self.state.select(selection)
        self.flush()

    def toggle_pin(self, key: SubjectKey) -> None:
        self.state.toggle_pin(key)
        self.flush()

    def unpin_all(self) -> None:
        self.state.unpin_all()
        self.flush()

    def fetch(self, message: object, on_reply: Callable[[object], None]) -> None:
        if self.answer is not None:
            on_reply(self.answer(message))
        else:
            self.fetches.append((message, on_reply))

    def ask(self, message: object, on_reply: Callable[[object], None]) -> None:
        self.asked.append((message, on_reply))

    def interrupt(self) -> None:
        self.interruptions += 1

    def flush(self) -> None:
        changed = self.state.take_changes()
        if changed:
            self.refreshed.emit(changed)
            self.panels_refreshed.emit(changed)

    def refresh_all(self) -> None:
        self.state.touch(*Topic)
        self.flush()

    def play(self, stream: Iterator[object]) -> None:
        """Apply messages, then refresh once."""
        for message in stream:
            self.state.apply(message)
        self.flush()

    def set_running(self, running: bool) -> None:
        self.state.apply(messages.Moved(position=replace(self.state.position, running=running)))
        self.flush()


def started(training: FakeTraining, *, steps: int = 0) -> FakeController:
    """A controller whose session is open and has made some steps."""
    controller = FakeController()
    for message in training.opened():
        controller.state.apply(message)
    controller.play(training.steps(steps))
    return controller


def light_themes(folder: Path) -> ThemeManager:
    """A theme manager that leaves the application as it is."""
    return ThemeManager(Settings(folder / "settings.ini"))


def switch_theme(themes: ThemeManager, theme: Theme) -> None:
    """As if a person had chosen it."""
    themes.theme = theme
    themes.changed.emit(theme)


def answer_fetch(message: object) -> object:
    """What an engine would reply, for a (rows, columns) tensor of 3,000 x 500 whose value is row + column / 1000."""
    rows, columns = 3000, 500
    match message:
        case messages.FetchPage():
            row = np.arange(message.row, min(message.row + message.rows, rows))
            column = np.arange(message.column, min(message.column + message.columns, columns))
            values = row[:, None] + column[None, :] / 1000
            return messages.Page(
                subject=message.subject,
                shape=(rows, columns),
                dtype="float32",
                index=message.index,
                row=message.row,
                column=message.column,
                values=values.astype(np.float64),
            )
        case messages.FetchPicture():
            y, x = np.mgrid[0:60, 0:40]
            return messages.Picture(
                subject=message.subject,
                shape=(rows, columns),
                index=message.index,
                block=(50, 13),
                values=(np.sin(x / 6) * np.cos(y / 9) * 0.7).astype(np.float32),
            )
        case messages.FetchHistogram():
            edges = np.linspace(-1, 1, message.bins + 1)
            counts = np.round(1000 * np.exp(-8 * edges[:-1] ** 2)).astype(np.int64)
            return messages.Histogram(subject=message.subject, edges=edges, counts=counts, nan=0, inf=0)
    raise TypeError(message)
