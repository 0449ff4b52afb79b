"""The C library: built with the machine's compiler, harmless to the process, chosen and left out as asked."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import zoo
from plain import seeded

from gradscope import Session
from gradscope.engine.capture.keeper import Keeper
from gradscope.engine.capture.record import PhaseRecord, Slot, Tables
from gradscope.engine.quantities import summary
from gradscope.engine.quantities.exponents import SAMPLE_ABOVE
from gradscope.engine.quantities.kernel import building
from gradscope.engine.quantities.values import Readable, change_between, readable
from gradscope.protocol.phases import Phase
from gradscope.protocol.subjects import SubjectKey, SubjectKind

FOLDER = Path(building.__file__).parent
needs_kernel = pytest.mark.skipif(summary.KERNEL is None, reason="the C library was not built here")


def copy_of_the_source(tmp_path: Path) -> Path:
    folder = tmp_path / "kernel"
    folder.mkdir()
    for path in [*FOLDER.glob("*.c"), *FOLDER.glob("*.h")]:
        shutil.copy(path, folder)
    return folder


@pytest.mark.skipif(building.compiler() is None, reason="needs a C compiler")
def test_it_compiles_without_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copy_of_the_source(tmp_path)
    sources = {path.name for path in folder.iterdir()}
    command = building.compiler()
    assert command is not None
    monkeypatch.setenv("CC", shlex.join([*command, "-Wall", "-Wextra", "-Werror"]))
    assert building.compile_kernel(folder) == ""
    assert {path.name for path in folder.iterdir()} == {*sources, building.library_path(folder).name}


def test_no_compiler_and_a_failing_one_are_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copy_of_the_source(tmp_path)
    sources = {path.name for path in folder.iterdir()}
    monkeypatch.setenv("CC", "false")
    assert building.compile_kernel(folder) == "false failed: no message"
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert building.compile_kernel(folder) == "no C compiler was found"
    assert {path.name for path in folder.iterdir()} == sources


@needs_kernel
def test_it_can_be_left_out() -> None:
    code = "from gradscope.engine.quantities.summary import KERNEL; print(KERNEL is None)"
    for switch, expected in (("off", "True"), ("", "False")):
        environment = {**os.environ, building.SWITCH: switch}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected
    assert building.active_path().startswith("C kernel")


@needs_kernel
def test_subnormal_numbers_of_the_process_are_left_alone() -> None:
    summarise(readable(torch.full((9000,), 1e-20)))
    assert float(torch.tensor(1e-40) * 1.0) != 0.0 and float(torch.tensor(1e-20).square()) != 0.0


def summarise(values: Readable) -> tuple[list[float], list[int]]:
    batch = summary.SummaryBatch()
    batch.set(0, values)
    rows, histograms, _ = batch.finish(1)
    return rows[0].tolist(), histograms[0].tolist()


@needs_kernel
@pytest.mark.parametrize("size", [1, 7, 4096, 4097, 40_000])
def test_a_change_is_summarised_without_its_tensor(size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    before = torch.randn(size, generator=generator)
    now = before + 1e-3 * torch.randn(size, generator=generator)
    now[::3] = before[::3]
    found, histogram = summarise(change_between(now, before))
    expected, same = summarise(readable(now - before))
    assert found == pytest.approx(expected, rel=1e-9, abs=0)
    assert histogram == same


@needs_kernel
@pytest.mark.parametrize("size", [1, 100, 9000])
def test_a_subnormal_change_is_no_zero(size: int) -> None:
    before = torch.full((size,), 1.5e-38)
    now = before + 1e-40
    row, histogram = summarise(change_between(now, before))
    exact = float((now.double() - before.double())[0])
    assert 0 < exact < 1.2e-38
    assert row == pytest.approx([size, 0, 0, 0, exact, exact, exact, 0, exact * size**0.5], rel=1e-6, abs=0)
    assert histogram[48] == min(size, SAMPLE_ABOVE)


@needs_kernel
@pytest.mark.parametrize("first", [-1.0, 0.0, 1e-40, 2e-38])
@pytest.mark.parametrize("sign", [-1, 1])
def test_the_range_of_changes_ends_with_a_subnormal_one(first: float, sign: int) -> None:
    now = torch.full((5000,), 3e-40)
    now[0], now[77], now[4500] = first, 0, 7e-40
    now *= sign
    row, _ = summarise(change_between(now, torch.zeros(5000)))
    assert row[:6] == [5000, 0, 0, int((now == 0).sum()), float(now.min()), float(now.max())]
    record = PhaseRecord(Phase.STEP, Tables(), Keeper(budget_bytes=0), summary.SummaryBatch())
    parameter, change = Slot(SubjectKey(SubjectKind.PARAMETER, "w")), Slot(SubjectKey(SubjectKind.UPDATE, "w"))
    record.take_parameters([(parameter, now, change, torch.zeros(5000))])
    collected = record.finish()
    assert collected.summaries[0].tolist() == pytest.approx(collected.summaries[1].tolist(), rel=1e-12, abs=0)


@needs_kernel
def test_a_change_that_is_not_finite_or_hardly_varies() -> None:
    now, before = torch.tensor([1.0, torch.inf, torch.nan, 4.0]), torch.tensor([1.0, 1.0, 1.0, 1.0])
    row, _ = summarise(change_between(now, before))
    assert row == pytest.approx([4, 1, 1, 1, 0, 3, 1.5, 1.5, 3])
    base = torch.linspace(0, 1e-3, 5000) + 1e3
    row, _ = summarise(change_between(base, torch.zeros(5000)))
    assert row[7] == pytest.approx(float(base.double().std(unbiased=False)), rel=1e-6)


@needs_kernel
@pytest.mark.parametrize("scale", [1e-44, 1e-38, 1e-20, 1e18, 1e38])
def test_squares_neither_vanish_nor_overflow(scale: float) -> None:
    tensor = torch.randn(5000, generator=torch.Generator().manual_seed(0)).clamp(-3, 3) * scale
    row, _ = summarise(readable(tensor))
    exact = tensor.double()
    assert row[6:] == pytest.approx(
        [float(exact.mean()), float(exact.std(unbiased=False)), float(exact.norm())], rel=1e-9, abs=0
    )


@needs_kernel
@pytest.mark.parametrize("norms_only", [False, True])
def test_many_small_numbers_beside_a_large_one_count(norms_only: bool) -> None:
    """Each of their squares vanishes in float32; all together they do not."""
    tensor = torch.full((1 << 22,), 1e-19)
    tensor[::4096] = 1.1e-15 / 8
    tensor[5] = 1.1e-15
    batch = summary.SummaryBatch()
    batch.clear(norms_only=norms_only)
    batch.set(0, readable(tensor))
    (row,), _, _ = batch.finish(1)
    assert row[8] == pytest.approx(float(tensor.double().norm()), rel=1e-6)


def test_room_is_made_for_any_number_of_tensors() -> None:
    batch = summary.SummaryBatch()
    for i in range(500):
        batch.set(i, readable(torch.full((3,), float(i))))
    rows, histograms, sampled = batch.finish(500)
    assert rows[:, 4].tolist() == list(range(500)) and histograms[1:].sum() == 3 * 499 and set(sampled) == {3}


@needs_kernel
def test_both_paths_tell_the_same_of_a_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def rows() -> list[tuple[object, ...]]:
        with Session(seeded(zoo.batchnorm_dropout_conv)) as session:
            reports = [report for _ in range(3) for report in session.next_batch()]
        return [
            (s.kind, s.name, s.count, s.zero, s.min, s.max, s.mean, s.std, s.l2) for r in reports for s in r.subjects
        ]

    fast = rows()
    monkeypatch.setattr(summary, "KERNEL", None)
    for one, other in zip(fast, rows(), strict=True):
        assert one[:6] == other[:6]
        for number, same in zip(one[6:], other[6:], strict=True):
            # A buffer that is one number has no mean where it is not floating-point.
            assert number == (None if same is None else pytest.approx(same, rel=1e-5, abs=1e-6))
