"""Which way a GPU's summaries go: what the trial of the fused kernel finds, and what becomes of it. Without a GPU."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from test_summaries import Numbers, check
from test_summaries_of_anything import NASTY
from torch import Tensor

from gradscope.engine.book import notes
from gradscope.engine.quantities import fused_check, fused_on_device
from gradscope.engine.quantities.kernel.building import SWITCH, gpu_path
from gradscope.engine.quantities.on_device import packed_norm, packed_summary, unpacked
from gradscope.engine.quantities.values import GPU_FLOATS, Readable, readable, readable_in_place
from gradscope.protocol.subjects import COLUMNS

CPU, GPU = torch.device("cpu"), torch.device("cuda:0")


def right(values: Tensor, before: Tensor | None, _: int | None) -> Tensor:
    return packed_summary(values if before is None else values - before)


@pytest.mark.parametrize("dtype", GPU_FLOATS, ids=str)
def test_right_rows_pass(dtype: torch.dtype) -> None:
    assert fused_check.disagreement(right, CPU, dtype, tile=256) == ""


@pytest.mark.parametrize("column", range(1, len(COLUMNS) + 1))
def test_a_wrong_number_is_told_by_its_name(column: int) -> None:
    def wrong(values: Tensor, before: Tensor | None, programs: int | None) -> Tensor:
        row = right(values, before, programs)
        row[column - 1] += 1 if column < 4 or column == len(COLUMNS) else 1e-3 * row[column - 1].abs() + 1e-30
        return row

    name = "histogram" if column == len(COLUMNS) else COLUMNS[column]
    assert fused_check.disagreement(wrong, CPU, torch.float32, tile=256).startswith(f"the kernel's {name} is wrong (")


def test_what_is_wrong_in_differences_only_is_found() -> None:
    def wrong(values: Tensor, before: Tensor | None, programs: int | None) -> Tensor:
        return right(values, None if before is None else before.double().to(before.dtype) * 0, programs)

    assert ", differences)" in fused_check.disagreement(wrong, CPU, torch.bfloat16, tile=256)


def test_what_is_another_number_each_time_is_found() -> None:
    calls: list[int] = []

    def unsteady(values: Tensor, before: Tensor | None, programs: int | None) -> Tensor:
        calls.append(1)
        return right(values, before, programs) * (1 + 1e-12 * (len(calls) % 2))

    assert "not deterministic" in fused_check.disagreement(unsteady, CPU, torch.float32, tile=256)


class Stub:
    """In the place of `FusedSummary`; what it gives is what `works` says."""

    works: Any = staticmethod(right)
    tile = 256
    modes: ClassVar[list[Any]] = []
    """Of looking out for what waits for the device, as they were set."""

    def __init__(self, *_: Any) -> None:
        if isinstance(self.works, Exception):
            raise self.works

    def row(self, values: Tensor, before: Tensor | None, programs: int | None = None) -> Tensor:
        row: Tensor = self.works(values, before, programs)
        return row


@pytest.fixture
def stubbed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[Stub]:
    """The GPU is the CPU, the kernel a Stub."""
    monkeypatch.delenv(SWITCH, raising=False)
    monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", Stub.modes.append)
    monkeypatch.setattr(torch.cuda, "device", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Some GPU")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(fused_on_device, "_fused", {})
    monkeypatch.setattr(fused_on_device, "FusedSummary", Stub)
    monkeypatch.setattr(Stub, "works", staticmethod(right))
    return Stub


def test_a_kernel_that_is_right_is_used(stubbed: type[Stub]) -> None:
    assert isinstance(fused_on_device._tried(CPU, torch.float32), Stub)


@pytest.mark.parametrize(
    ("works", "reason"),
    [
        (ModuleNotFoundError("No module named 'triton'"), "ModuleNotFoundError: No module named 'triton'"),
        (RuntimeError("Failed to find C compiler.\n  Please"), "RuntimeError: Failed to find C compiler. Please"),
        (staticmethod(lambda values, before, programs: right(values, before, programs) * 2), "is wrong"),
    ],
    ids=["no triton", "no compiler", "wrong numbers"],
)
def test_a_kernel_that_is_not_is_left_alone_and_why_is_told(
    stubbed: type[Stub], monkeypatch: pytest.MonkeyPatch, works: Any, reason: str
) -> None:
    monkeypatch.setattr(Stub, "works", works)
    Stub.modes.clear()
    found = fused_on_device._tried(CPU, torch.float32)
    assert isinstance(found, str) and reason in found
    assert Stub.modes == ["default", 2]
    fused_on_device._fused[0, torch.float32] = found
    assert notes.slow_summaries(GPU) == [
        f"Summaries on cuda:0 take many operations a tensor, which slows training down: {found}"
    ]
    assert notes.slow_summaries(CPU) == notes.slow_summaries(torch.device("cuda:1")) == []


def test_a_trial_that_loses_the_gpu_is_the_last_one(stubbed: type[Stub], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stub, "works", RuntimeError("CUDA error: an illegal memory access was encountered"))
    monkeypatch.setattr(fused_on_device, "still_answers", lambda device: False)
    assert "illegal memory access" in str(fused_on_device._tried(CPU, torch.float32))
    monkeypatch.setattr(Stub, "works", staticmethod(right))
    assert "did not survive" in str(fused_on_device._tried(CPU, torch.float32))
    assert isinstance(fused_on_device._tried(CPU, torch.bfloat16), Stub)


def test_the_switch_leaves_it_alone_too(stubbed: type[Stub], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "off")
    assert fused_on_device._tried(CPU, torch.float32) == f"{SWITCH} is off"


def test_what_a_gpu_may_use_is_told_without_importing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SWITCH, raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert gpu_path() == ""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "triton")
    assert gpu_path() == "Triton"
    monkeypatch.setenv(SWITCH, "off")
    assert gpu_path() == ""


class Launches:
    """A kernel module of which the launches are written down: (compiled or not, grid, arguments, options)."""

    WARPS = 4

    def __init__(self, *, constants_are_compiled_in: bool) -> None:
        self.CONSTANTS_ARE_COMPILED_IN = constants_are_compiled_in
        self.seen: list[Any] = []
        self.summarise = self._launcher("jit")

    def _launcher(self, name: str) -> Any:
        launches = self

        class OfGrid:
            def __getitem__(self, grid: tuple[int, ...]) -> Any:
                def launch(*arguments: Any, **options: Any) -> Any:
                    launches.seen.append((name, grid, arguments, options))
                    return launches._launcher("compiled")

                return launch

        return OfGrid()


@pytest.mark.parametrize("constants_are_compiled_in", [False, True])
def test_only_the_first_launch_looks_for_the_compiled_kernel(constants_are_compiled_in: bool) -> None:
    module: Any = Launches(constants_are_compiled_in=constants_are_compiled_in)
    launch = fused_on_device._Launcher(module, "fp32", True)
    for programs in (3, 7, 7):
        launch(programs, 99, (16, 32))
    constants = () if constants_are_compiled_in else ("fp32", True)
    assert module.seen == [
        ("jit", (3, 1, 1), (16, 32, "fp32", True), {"num_warps": 4}),
        ("compiled", (7, 1, 1), (16, 32, *constants), {"stream": 99}),
        ("compiled", (7, 1, 1), (16, 32, *constants), {"stream": 99}),
    ]


def test_nothing_is_tried_on_the_cpu() -> None:
    assert fused_on_device.fused_summary(readable(torch.ones(3))) is None
    assert fused_on_device.fused_summary(Readable(torch.ones(3, dtype=torch.float64))) is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("nasty", sorted(NASTY))
def test_torch_takes_half_floats_as_they_are(dtype: torch.dtype, nasty: str) -> None:
    """As they come to it where a GPU has no fused kernel."""
    tensor = torch.from_numpy(NASTY[nasty](np.random.default_rng(0), 9000)).to(dtype)

    def summarise(values: Tensor) -> Numbers:
        rows, histograms, sampled = unpacked(packed_summary(values).numpy()[None], np.array([9000.0]), norms_only=False)
        return rows[0].tolist(), histograms[0], int(sampled[0])

    check(tensor, summarise)
    assert packed_norm(tensor)[7].item() == pytest.approx(packed_summary(tensor)[7].item(), rel=1e-9, nan_ok=True)


def test_half_floats_on_the_cpu_are_read_as_float32() -> None:
    assert readable_in_place(torch.ones(3, dtype=torch.bfloat16)).values.dtype is torch.float32


def test_the_engine_imports_no_triton(tmp_path: Path) -> None:
    (tmp_path / "triton.py").write_text("raise SystemExit('triton was imported')")
    done = subprocess.run(
        [sys.executable, "-c", "import gradscope.engine.session, gradscope.engine.quantities.summary"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
