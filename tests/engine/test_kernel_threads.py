"""The C kernel with the threads that torch has: the same numbers, whatever their number."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from gradscope.engine.capture.keeper import Keeper
from gradscope.engine.capture.record import Collected, PhaseRecord, Slot, Tables
from gradscope.engine.model.copies import copy_all
from gradscope.engine.quantities import summary
from gradscope.engine.quantities.values import change_between, readable
from gradscope.protocol.phases import Phase
from gradscope.protocol.subjects import SubjectKey, SubjectKind

SHARE = 32 * 2048
"""Numbers that a thread takes at least; from two of them on there are several threads."""
SIZES = [SHARE, 2 * SHARE - 1, 2 * SHARE, 2 * SHARE + 1, 3 * SHARE + 4097, 40 * SHARE + 33]

pytestmark = [
    pytest.mark.skipif(summary.KERNEL is None, reason="the C library was not built here"),
    pytest.mark.skipif(
        summary.KERNEL is not None and summary.KERNEL.team is None, reason="torch has no libgomp on this machine"
    ),
]


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def numbers(size: int, kind: str) -> Tensor:
    generator = torch.Generator().manual_seed(size)
    tensor = torch.randn(size, generator=generator)
    if kind == "nasty":
        tensor[::5] = 0
        tensor[3::1001] = 1e-41
        tensor[[7, size // 2, size - 1]] = torch.tensor([torch.nan, torch.inf, -torch.inf])
    elif kind == "far from zero":
        tensor = 1e6 + tensor
    elif kind == "equal":
        tensor.fill_(-2.5)
    elif kind == "ends at the border":
        tensor[2 * SHARE - 1 : 2 * SHARE + 1] = torch.tensor([100.0, -100.0])[: size - 2 * SHARE + 1]
    return tensor


def summarised(threads: int, values: list[tuple[Tensor, Tensor | None]], *, norms_only: bool) -> Collected:
    torch.set_num_threads(threads)
    batch = summary.SummaryBatch()
    batch.clear(norms_only=norms_only)
    record = PhaseRecord(Phase.STEP, Tables(), Keeper(budget_bytes=0), batch)
    record.take_parameters(
        (
            Slot(SubjectKey(SubjectKind.PARAMETER, str(i))),
            tensor,
            Slot(SubjectKey(SubjectKind.UPDATE, str(i))),
            before,
        )
        for i, (tensor, before) in enumerate(values)
    )
    collected = record.finish()
    alone = summary.SummaryBatch()
    alone.clear(norms_only=norms_only)
    position = 0
    for tensor, before in values:
        alone.set(position, readable(tensor))
        position += 1
        if before is not None:
            alone.set(position, change_between(tensor, before))
            position += 1
    rows, histograms, sampled = alone.finish(position)
    # One at a time or all together, up to the order in which float32 is summed within a block.
    np.testing.assert_allclose(rows, collected.summaries, rtol=1e-6, atol=1e-6)
    assert (histograms == collected.histograms).all() and (sampled == collected.sampled).all()
    return collected


@pytest.mark.parametrize("norms_only", [False, True])
@pytest.mark.parametrize("kind", ["ordinary", "nasty", "far from zero", "equal", "ends at the border"])
def test_any_number_of_threads_tells_the_same(kind: str, norms_only: bool) -> None:
    values: list[tuple[Tensor, Tensor | None]] = [(torch.tensor([1.5, -2.0]), torch.zeros(2))]
    for size in SIZES:
        tensor = numbers(size, kind)
        values += [(tensor, None), (tensor, numbers(size, "ordinary").flip(0)), (tensor, tensor.clone())]
    alone = summarised(1, values, norms_only=norms_only)
    for threads in (2, 3, 7):
        several = summarised(threads, values, norms_only=norms_only)
        np.testing.assert_array_equal(several.summaries[:, :6], alone.summaries[:, :6])
        np.testing.assert_allclose(several.summaries, alone.summaries, rtol=1e-12, atol=1e-12)
        assert (several.histograms == alone.histograms).all()
        assert (several.sampled == alone.sampled).all()


def test_the_threads_follow_those_of_torch() -> None:
    assert summary.KERNEL is not None
    for threads in (3, 1, 2):
        torch.set_num_threads(threads)
        summary.SummaryBatch().clear(norms_only=False)
        assert summary.KERNEL.threads == threads


@pytest.mark.parametrize("threads", [2, 3])
def test_copies_are_shared_out(threads: int) -> None:
    torch.set_num_threads(threads)
    assert summary.KERNEL is not None
    summary.KERNEL.follow_threads()
    sources = [torch.randn(size, generator=torch.Generator().manual_seed(size)) for size in (1, 300_001, 2_500_003, 5)]
    targets = [torch.zeros_like(source) for source in sources]
    copy_all(zip(sources, targets, strict=True))
    assert all(torch.equal(source, target) for source, target in zip(sources, targets, strict=True))


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="the system does not list the threads of a process")
def test_fewer_tasks_than_threads_end_no_thread_of_torch() -> None:
    torch.set_num_threads(5)
    batch = summary.SummaryBatch()
    batch.clear(norms_only=False)
    torch.ones(40 * SHARE).add_(1)
    before = set(Path("/proc/self/task").iterdir())
    batch.set(0, readable(torch.ones(2 * SHARE)))
    copy_all([(torch.ones(700_000), torch.empty(700_000))])
    torch.ones(40 * SHARE).add_(1)
    assert set(Path("/proc/self/task").iterdir()) == before


IN_A_FORK = f"""
import os, signal
import torch
from gradscope.engine.model.copies import copy_all
from gradscope.engine.quantities import summary
from gradscope.engine.quantities.values import readable

torch.set_num_threads(2)
numbers, copy, batch = torch.ones({40 * SHARE}), torch.zeros({40 * SHARE}), summary.SummaryBatch()
batch.clear(norms_only=False)
batch.set(0, readable(numbers))
child = os.fork()
if child == 0:
    signal.alarm(20)
    batch.set(0, readable(numbers))
    batch.clear(norms_only=False)
    batch.set(1, readable(numbers))
    copy_all([(numbers, copy)])
    os._exit(0)
raise SystemExit(os.waitpid(child, 0)[1])
"""


def test_a_forked_process_does_without_the_threads() -> None:
    """A worker of a DataLoader may call a layer that is observed."""
    assert subprocess.run([sys.executable, "-c", IN_A_FORK], check=False).returncode == 0
