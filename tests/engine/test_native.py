"""The compiled taps tell exactly what the observer tells without them, and keep nothing alive."""

from __future__ import annotations

import copy
import gc
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zoo
from plain import seeded
from torch import Tensor, nn

from gradscope import Recipe, Session
from gradscope.engine.capture.native import library
from gradscope.engine.model import structure
from gradscope.engine.quantities import summary
from gradscope.engine.quantities.kernel import building, extension
from gradscope.engine.reports.report import PhaseReport
from gradscope.protocol.phases import Moment
from gradscope.protocol.subjects import SubjectKind

FOLDER = Path(library.__file__).parent
needs_taps = pytest.mark.skipif(
    library.NATIVE is None or summary.KERNEL is None, reason="the compiled taps or the kernel were not built here"
)

ORDERLY = [name for name in zoo.ZOO if "compiled" not in name and "scripted" not in name]
"""What torch has compiled may reach its parameters in another order each time."""


def reports_of(make: Callable[[], Recipe], *, capture: str = "full", keeps_all: bool = False) -> list[dict[str, Any]]:
    """Of three steps."""
    with Session(seeded(make), capture=capture) as session:
        session.keeper.keeps_all = keeps_all
        reports = [report for _ in range(3) for report in (session.forward(), session.backward(), session.step())]
        assert session.observer.errors == []
        return [told(session, report) for report in reports]


def told(session: Session, report: PhaseReport) -> dict[str, Any]:
    """Everything that a report says but how long it took."""
    raw, tables = report.raw, session.observer.tables
    return {
        "subjects": [tables.subjects.rows[n] for n in raw.subjects],
        "summaries": raw.summaries.tobytes(),
        "histograms": raw.histograms.tobytes(),
        "sampled": raw.sampled.tobytes(),
        "places": [tables.places.rows[n] for n in raw.places],
        "bytes": raw.times[:, 2].tobytes(),
        "moments": np.isnan(raw.times[:, 1]).tobytes(),
        "absent": raw.absent,
        "loss": None if raw.loss is None else np.float64(raw.loss).tobytes(),
    }


@pytest.fixture
def without_taps(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    return lambda: monkeypatch.setattr(library, "NATIVE", None)


@needs_taps
@pytest.mark.parametrize("name", ORDERLY)
def test_the_reports_are_the_same(name: str, without_taps: Callable[[], None]) -> None:
    with_taps = reports_of(zoo.ZOO[name])
    without_taps()
    assert with_taps == reports_of(zoo.ZOO[name])


@needs_taps
@pytest.mark.parametrize("options", [{"capture": "norms"}, {"capture": "layers:0,2"}, {"keeps_all": True}])
def test_the_reports_are_the_same_at_every_level(options: dict[str, Any], without_taps: Callable[[], None]) -> None:
    with_taps = reports_of(zoo.plain_mlp, **options)
    without_taps()
    assert with_taps == reports_of(zoo.plain_mlp, **options)


def counting() -> Recipe:
    """One of its parameters is a whole number, which no step moves."""
    model = nn.Sequential(nn.Linear(zoo.FEATURES, 8), nn.Tanh(), nn.Linear(8, zoo.CLASSES))
    model[0].register_parameter("count", nn.Parameter(torch.tensor(3), requires_grad=False))
    return zoo.classifier(model)


@needs_taps
def test_a_parameter_that_is_a_whole_number_is_in_its_place(without_taps: Callable[[], None]) -> None:
    with_taps = reports_of(counting)
    without_taps()
    assert with_taps == reports_of(counting)
    order = [row.key.name for row in with_taps[2]["subjects"] if row.key.kind is SubjectKind.PARAMETER]
    assert order == ["0.weight", "0.bias", "0.count", "2.weight", "2.bias"]


@needs_taps
def test_another_phase_may_begin_while_a_layer_is_entered() -> None:
    """What is told of the running layer is Python, in the middle of the compiled way."""
    with Session(zoo.plain_mlp()) as session:
        session.keeper.keeps_all = False
        for _ in range(3):
            session.next_batch()
        running, around = session.observer.running, []

        def tell(name: str | None) -> None:
            if name == "":
                # As `begin` does, on another thread.
                running._stacks.clear()
            elif name == "0":
                around.append(running.around())

        running.tell = tell
        session.forward()
        running.tell = None
        assert around == [[("", 0)]] and session.observer.errors == []


@pytest.mark.parametrize("has_taps", [pytest.param(True, marks=needs_taps), False])
def test_an_output_is_saved_without_a_warning(has_taps: bool, without_taps: Callable[[], None]) -> None:
    """One that only a session would bring; with warnings as errors, training would fail."""
    if not has_taps:
        without_taps()
    model = nn.Sequential(nn.Linear(zoo.FEATURES, 8), nn.Tanh(), nn.Linear(8, zoo.CLASSES))
    model[0].register_forward_hook(lambda _module, _args, output: outputs.append(output))
    outputs: list[Tensor] = []
    with Session(zoo.classifier(model)) as session, warnings.catch_warnings():
        warnings.simplefilter("error")
        session.keeper.keeps_all = False
        session.next_batch(), session.forward()
        assert outputs[-1]._backward_hooks
        torch.save(outputs[-1], io.BytesIO())
        copy.copy(outputs[-1])


class Overflowing(nn.Module):
    """From its second forward on, NaN comes out of its middle layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(zoo.FEATURES, 8), nn.Linear(8, zoo.CLASSES)
        self.middle = nn.Identity()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        hidden = self.first(x)
        return self.last(self.middle(hidden / 0 * 0 if self.calls > 1 else hidden))


@needs_taps
def test_the_layer_where_nan_begins_is_found(without_taps: Callable[[], None]) -> None:
    found = []
    for _ in range(2):
        with Session(seeded(lambda: zoo.classifier(Overflowing()))) as session:
            session.keeper.keeps_all = False
            session.forward(), session.backward(), session.step()
            found.append(session.forward().raw.first_nonfinite)
        without_taps()
    assert found[0] is not None and found[0] == found[1]


class Noting:
    """A gate that stops nowhere, and notes every moment."""

    is_armed = True

    def __init__(self) -> None:
        self.moments: list[Moment] = []

    def stop(self, moment: Moment) -> None:
        self.moments.append(moment)
        # Every other one is missed: it can be armed and disarmed at any time.
        self.is_armed = len(self.moments) < 40


@needs_taps
def test_every_moment_can_be_stopped_at(without_taps: Callable[[], None]) -> None:
    noted = []
    for _ in range(2):
        gate = Noting()
        with Session(seeded(zoo.plain_mlp), gate=gate) as session:
            session.keeper.keeps_all = False
            for _ in range(5):
                session.forward(), session.backward(), session.step()
        noted.append(gate.moments)
        without_taps()
    assert noted[0] == noted[1] and len(noted[0]) == 40


@needs_taps
def test_gradients_are_not_kept_alive_and_hooks_are_taken_off() -> None:
    model = nn.Sequential(nn.Linear(zoo.FEATURES, 8), nn.Tanh(), nn.Linear(8, zoo.CLASSES))
    outputs: list[Tensor] = []
    model[1].register_forward_hook(lambda _module, _args, output: outputs.append(output))
    with Session(zoo.classifier(model)) as session:
        session.keeper.keeps_all = False
        for _ in range(3):
            outputs.clear()
            session.forward()
            assert outputs[0]._backward_hooks is not None and len(outputs[0]._backward_hooks) == 1
            session.backward()
            session.step()
        session.forward()
    assert not outputs[-1]._backward_hooks
    # Neither the taps nor what they have noted last hold the graph.
    graph = weakref.ref(outputs.pop())
    assert graph() is None


@needs_taps
def test_a_session_that_is_dropped_is_freed() -> None:
    session = Session(zoo.plain_mlp())
    session.keeper.keeps_all = False
    for _ in range(3):
        session.forward(), session.backward(), session.step()
    model, observer = session.book.model, weakref.ref(session.observer)
    assert isinstance(model, nn.Module)
    del session
    gc.collect()
    assert observer() is None
    assert model(torch.zeros(2, zoo.FEATURES)).requires_grad


@needs_taps
def test_references_are_counted_right() -> None:
    """Nothing is left of a step: neither objects, nor references to what lives for ever."""
    with Session(zoo.plain_mlp()) as session:
        session.keeper.keeps_all = False

        def step() -> None:
            session.forward(), session.backward(), session.step()

        for _ in range(10):
            step()
        eternal = [
            None,
            True,
            False,
            torch.float32,
            torch.strided,
            Tensor,
            session.observer,
            *session.observer.modules().values(),
        ]
        session.history.clear()
        gc.collect()
        before = [sys.getrefcount(known) for known in eternal], len(gc.get_objects())
        for _ in range(200):
            step()
        session.history.clear()
        gc.collect()
        after = [sys.getrefcount(known) for known in eternal], len(gc.get_objects())
    # A step is recorded in the history, with some objects of its own.
    assert [new - old for old, new in zip(before[0][1:], after[0][1:], strict=True)] == [0] * (len(eternal) - 1)
    assert after[1] - before[1] < 200


@pytest.mark.skipif(building.compiler() is None, reason="needs a C compiler")
def test_it_compiles_without_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in [*FOLDER.glob("*.c"), *FOLDER.glob("*.h")]:
        shutil.copy(path, tmp_path)
    command = building.compiler()
    assert command is not None
    monkeypatch.setenv("CC", shlex.join([*command, "-Wall", "-Wextra", "-Werror"]))
    reason = building.compile_taps(tmp_path)
    if "Python.h" in reason:
        pytest.skip(reason)
    assert reason == "" and building.taps_path(tmp_path).is_file()


@needs_taps
def test_they_can_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert building.wanted_taps(FOLDER) is not None
    monkeypatch.setenv(building.SWITCH, "off")
    assert building.wanted_taps(FOLDER) is None and extension.load() is None


def _replaced(model: nn.Sequential) -> None:
    model[1][0].weight = nn.Parameter(torch.zeros(2, 2))


def _taken_out(model: nn.Sequential) -> None:
    model[1][0].register_parameter("bias", None)


def _renamed(model: nn.Sequential) -> None:
    own = model[1][0]._parameters
    own["other"] = own.pop("weight")


def _reordered(model: nn.Sequential) -> None:
    own = model[1][0]._parameters
    own["weight"] = own.pop("weight")


def _exchanged(model: nn.Sequential) -> None:
    own = model[1][0]._parameters
    own["weight"], own["bias"] = own["bias"], own["weight"]


def _of_another_module(model: nn.Sequential) -> None:
    model[1][0] = nn.Linear(2, 2)


def _appended(model: nn.Sequential) -> None:
    model[1].append(nn.Linear(2, 2))


def _ordered_dict(model: nn.Sequential) -> None:
    own = OrderedDict(model[1][0]._parameters)
    own.move_to_end("weight")
    model[1][0]._parameters = own  # type: ignore[assignment]


@pytest.mark.parametrize(
    "change",
    [_replaced, _taken_out, _renamed, _reordered, _exchanged, _of_another_module, _appended, _ordered_dict],
)
@pytest.mark.parametrize("is_compiled", [True, False])
def test_whatever_moves_in_a_model_is_noticed(
    change: Callable[[nn.Sequential], None], is_compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_compiled:
        monkeypatch.setattr(structure, "NATIVE", None)
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
    known = structure.Structure(model)
    assert known.tensors() is known.tensors()
    before = known.tensors()
    change(model)
    after = known.tensors()
    assert after is not before and list(after.items()) == list(model.named_parameters())
    assert known.tensors() is after and dict(known.modules()) == dict(model.named_modules())


def test_equal_names_that_are_other_objects_are_no_change() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    known = structure.Structure(model)
    before, own = known.tensors(), model[0]._parameters
    tensors = [own.pop("weight"), own.pop("bias")]
    own["".join(["wei", "ght"])], own["".join(["bi", "as"])] = tensors
    assert known.tensors() is before


def test_the_version_says_whether_the_taps_are_there_and_why_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The engine falls back without a word; `gradscope --version` has it."""

    def said(folder: Path = building.TAPS_FOLDER, **environment: str) -> str:
        code = (
            "import sys, pathlib; from gradscope.engine.quantities.kernel import building\n"
            f"building.TAPS_FOLDER = pathlib.Path({str(folder)!r})\n"
            "print(building.active_taps()); assert 'torch' not in sys.modules"
        )
        environment = {**os.environ, building.SWITCH: "", **environment}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    assert said(tmp_path) == "Python (not built)"
    building.taps_path(tmp_path).write_bytes(b"no library")
    assert said(tmp_path) == "Python (the compiled taps cannot be loaded)"
    assert said(tmp_path, **{building.SWITCH: "off"}) == f"Python ({building.SWITCH}=off)"
    if library.NATIVE is not None and summary.KERNEL is not None:
        assert said() == "compiled taps"
        folder = tmp_path / "older"
        folder.mkdir()
        for part in FOLDER.glob("*.[ch]"):
            text = part.read_text(encoding="utf-8")
            older = re.sub(r"#define VERSION \d+", "#define VERSION 1", text)
            folder.joinpath(part.name).write_text(older, encoding="utf-8")
        assert building.compile_taps(folder) == ""
        assert said(folder) == "Python (the compiled taps are of another version)"
