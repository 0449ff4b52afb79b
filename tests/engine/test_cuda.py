"""The same promises on an NVIDIA GPU: no bit changes, the numbers are right, nothing waits for the device before the end of
a phase, and an error that costs the device ends the engine in words."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import plain
import pytest
import torch
import zoo
from peer import Peer
from test_summaries import as_array, assert_row, expected_histogram, expected_row, layouts
from test_summaries_of_anything import NASTY
from torch import Tensor, nn

from gradscope import Recipe, Session
from gradscope.engine.capture import record
from gradscope.engine.capture.observer import Observer
from gradscope.engine.quantities import fused_check, summary
from gradscope.engine.quantities.exponents import SAMPLE_ABOVE, exponents, sampled_places
from gradscope.engine.quantities.fused_on_device import fused_summary, reason_for_torch
from gradscope.engine.quantities.on_device import packed_summary
from gradscope.engine.quantities.summary import SummaryBatch
from gradscope.engine.quantities.values import GPU_FLOATS, Readable, readable_in_place
from gradscope.protocol import messages
from gradscope.protocol.phases import Phase
from tests.patience import patient

pytestmark = pytest.mark.cuda
DEVICE = "cuda:0"
CAPTURES = ("full", "layers:*", "norms", "off")
MODELS = ("plain_mlp", "batchnorm_dropout_conv", "lstm", "multihead_attention", "in_place", "tied", "checkpoint_plain")


@pytest.fixture(autouse=True)
def _deterministic(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def train_plainly(recipe: Recipe, *, steps: int, precision: str | None = None) -> dict[str, Tensor]:
    """A tutorial's loop on the GPU; the parameters and buffers that it leaves."""
    model, loss_fn, optimizer = recipe.model, recipe.loss, recipe.optimizer
    assert isinstance(model, nn.Module) and loss_fn is not None and isinstance(optimizer, torch.optim.Optimizer)
    model.to(DEVICE).train()
    loader = plain.plain_loader(recipe, 0)
    scaler = torch.amp.GradScaler(DEVICE[:4]) if precision == "fp16" else None
    done = 0
    while done < steps:
        for x, y in loader:
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(DEVICE[:4], torch.float16, enabled=precision == "fp16"):
                loss = loss_fn(model(x.to(DEVICE)), y.to(DEVICE))
            if scaler is None:
                loss.backward()
                optimizer.step()
            else:
                scaler.scale(loss).backward()
                scaler.unscale_(optimizer)
                scaler.step(optimizer)
                scaler.update()
            done += 1
            if done == steps:
                break
    return {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}


def train_observed(recipe: Recipe, capture: str, *, steps: int) -> dict[str, Tensor]:
    with Session(recipe, DEVICE, capture=capture) as session:
        for _ in range(steps):
            session.next_batch()
        assert session.observer.errors == []
        assert isinstance(recipe.model, nn.Module)
        return {name: tensor.detach().cpu() for name, tensor in recipe.model.state_dict().items()}


@pytest.mark.parametrize("capture", CAPTURES)
@pytest.mark.parametrize("name", MODELS)
def test_observing_changes_no_bit(name: str, capture: str) -> None:
    expected = train_plainly(plain.seeded(zoo.ZOO[name]), steps=5)
    plain.assert_same(expected, train_observed(plain.seeded(zoo.ZOO[name]), capture, steps=5))


@pytest.mark.parametrize("capture", CAPTURES)
def test_mixed_precision_is_the_plain_loop(capture: str) -> None:
    def make() -> Recipe:
        return zoo.classifier(zoo.mlp(), precision="fp16")

    expected = train_plainly(plain.seeded(make), steps=5, precision="fp16")
    plain.assert_same(expected, train_observed(plain.seeded(make), capture, steps=5))


@pytest.mark.parametrize("name", layouts())
def test_numbers_of_any_layout(name: str) -> None:
    check(layouts()[name].detach().to(DEVICE))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [1, 33, SAMPLE_ABOVE, 5 * SAMPLE_ABOVE + 7])
def test_numbers_of_any_size(dtype: torch.dtype, size: int) -> None:
    tensor = torch.randn(size, generator=torch.Generator().manual_seed(size)).to(dtype)
    tensor[::7] = 0
    tensor[3::11] = math.nan
    tensor[5::13] = -math.inf
    check(tensor.to(DEVICE))


def check(tensor: Tensor) -> None:
    batch = SummaryBatch()
    batch.set(0, readable_in_place(tensor))
    rows, histograms, sampled = batch.finish(1)
    array = as_array(tensor.cpu())
    assert_row(rows[0].tolist(), expected_row(array, is_float=True))
    assert sampled.tolist() == [min(array.size, SAMPLE_ABOVE)]
    if array.size > SAMPLE_ABOVE:
        array = array[sampled_places(array.size)]
    if tensor.dtype is not torch.float64:
        np.testing.assert_array_equal(histograms[0], expected_histogram(array))


@pytest.fixture
def _fused() -> None:
    """Triton is there, and the trial lets its kernel pass: anything else is a defect, but where Triton cannot be had."""
    pytest.importorskip("triton", reason="this torch comes without triton")
    for dtype in GPU_FLOATS:
        assert fused_summary(Readable(torch.ones(3, dtype=dtype, device=DEVICE))) is not None, reason_for_torch(
            torch.device(DEVICE)
        )


@pytest.mark.usefixtures("_fused")
@pytest.mark.parametrize("dtype", GPU_FLOATS, ids=str)
@pytest.mark.parametrize("size", [1, 1023, SAMPLE_ABOVE, SAMPLE_ABOVE + 1, 300_001, 30_000_001])
@pytest.mark.parametrize("nasty", sorted(NASTY))
def test_the_fused_kernel_and_torch_agree(nasty: str, size: int, dtype: torch.dtype) -> None:
    """As they are, behind an offset, and as differences at one offset and at two; twice, to the bit."""
    values = torch.from_numpy(NASTY[nasty](np.random.default_rng(size), size + 5)).to(dtype).to(DEVICE)
    now = values[5:]
    flipped = values.flip(0)
    pairs = [(values, None), (now, None), (values, flipped), (now, flipped[5:]), (now, flipped[5:].clone())]
    for tensor, before in pairs:
        readable = Readable(tensor, before=before)
        expected = packed_summary(readable.flat()).cpu().numpy()
        found, again = fused_summary(readable), fused_summary(readable)
        assert found is not None and again is not None
        row = found.cpu().numpy()
        np.testing.assert_array_equal(row, again.cpu().numpy())
        assert fused_check._wrong_columns(row, expected, tensor.numel()) == "", (row[:8], expected[:8])


@pytest.mark.usefixtures("_fused")
def test_the_fused_kernel_beyond_32_bits() -> None:
    size = 2**31 + 12_345
    if torch.cuda.mem_get_info(DEVICE)[0] < 3 * size:
        pytest.skip("needs 6.5 GB of GPU memory")
    values = torch.ones(size, dtype=torch.bfloat16, device=DEVICE)
    places = torch.from_numpy(sampled_places(size)).to(DEVICE)
    values[places[::5]] = 0.25
    values[2**31 + 7], values[-1], values[40] = -3, 4, math.nan
    row = fused_summary(Readable(values))
    assert row is not None
    numbers = row.cpu()
    assert numbers[:5].tolist() == [1, 0, 0, -3, 4]
    assert numbers[5].item() == pytest.approx((size - 2 - 0.75 * len(places[::5])) / (size - 1), rel=1e-8)
    np.testing.assert_array_equal(numbers[8:], exponents(values[places].float().cpu())[0])


@pytest.mark.usefixtures("_fused")
def test_a_summary_is_one_launch() -> None:
    values = torch.randn(100_000, device=DEVICE)
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for count in (1, 1000, 50_000, 100_000):
            fused_summary(Readable(values[:count]))
        torch.cuda.synchronize()
    launched = [event.name for event in profile.events() if event.device_type is torch.profiler.DeviceType.CUDA]
    if not launched:
        pytest.skip("the profiler sees no kernels here")
    kernels = [name for name in launched if not name.startswith("Mem")]
    # Deterministic algorithms fill what is allocated.
    assert [name for name in kernels if "summarise" in name] == ["summarise"] * 4
    assert all("summarise" in name or "fill" in name.lower() for name in kernels), kernels


@pytest.mark.usefixtures("_fused")
def test_streams_do_not_meet_in_the_fused_kernel() -> None:
    tensors = [torch.full((200_000 + i,), float(i), device=DEVICE) for i in range(40)]
    streams = [torch.cuda.Stream(DEVICE) for _ in range(4)]
    torch.cuda.synchronize()
    rows = []
    for i, tensor in enumerate(tensors):
        with torch.cuda.stream(streams[i % 4]):
            rows.append(fused_summary(Readable(tensor)))
    torch.cuda.synchronize()
    for i, row in enumerate(rows):
        assert row is not None and row[3:6].tolist() == [i] * 3 and row[8:].sum() == (SAMPLE_ABOVE if i else 0)


@pytest.mark.usefixtures("_fused")
def test_nothing_fused_is_captured_in_a_graph() -> None:
    values, graph = torch.randn(1000, device=DEVICE), torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        row = fused_summary(Readable(values))
    assert row is None


def test_nothing_waits_for_the_device_before_the_end_of_a_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bringing something over, or asking for a value, raises while the hooks summarise; then one transfer a phase."""
    take, fetch, fetched = record.PhaseRecord._take, summary._fetch, []

    def watched(*arguments: Any) -> None:
        torch.cuda.set_sync_debug_mode("error")
        try:
            take(*arguments)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    def counted(packed: list[Tensor]) -> Any:
        fetched.append(len(packed))
        return fetch(packed)

    with Session(plain.seeded(zoo.batchnorm_dropout_conv), DEVICE) as session:
        # Where the samples of large tensors lie is brought over once.
        session.next_batch()
        monkeypatch.setattr(record.PhaseRecord, "_take", watched)
        monkeypatch.setattr(summary, "_fetch", counted)
        reports = session.next_batch()
        assert session.observer.errors == []
    assert fetched == [len(report.subjects) for report in reports]


def test_gradients_come_on_a_thread_of_autograd_and_are_all_there(monkeypatch: pytest.MonkeyPatch) -> None:
    threads, arrived = set(), Observer.gradient_arrived

    def noted(*arguments: Any) -> None:
        threads.add(threading.current_thread())
        arrived(*arguments)

    monkeypatch.setattr(Observer, "gradient_arrived", noted)
    found = {}
    for device in ("cpu", DEVICE):
        with Session(plain.seeded(zoo.plain_mlp), device) as session:
            session.next_batch()
            found[device] = session.reports[Phase.BACKWARD].subjects
    assert threads - {threading.main_thread()}
    assert [s.key for s in found["cpu"]] == [s.key for s in found[DEVICE]]
    for one, other in zip(*found.values(), strict=True):
        assert one.l2 == pytest.approx(other.l2, rel=1e-3) and one.count == other.count


def test_a_layer_in_a_stream_of_its_own() -> None:
    class Aside(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            stream, here = torch.cuda.Stream(), torch.cuda.current_stream()
            stream.wait_stream(here)
            with torch.cuda.stream(stream):
                output = super().forward(x)
            here.wait_stream(stream)
            output.record_stream(here)
            return output

    model = nn.Sequential(Aside(zoo.FEATURES, 64), nn.ReLU(), nn.Linear(64, zoo.CLASSES))
    with Session(zoo.classifier(model), DEVICE) as session:
        forward, _, _ = session.next_batch()
        for subject in forward.subjects:
            assert subject.l2 == pytest.approx(float(session.values(subject.key).double().norm()), rel=1e-5)


def test_what_is_kept_on_the_device_stays_in_its_budget() -> None:
    budget = 1 << 20
    model = nn.Sequential(nn.Linear(zoo.FEATURES, 20_000), nn.ReLU(), nn.Linear(20_000, zoo.CLASSES))
    with Session(zoo.classifier(model), DEVICE, budget_bytes=budget) as session:
        session.next_batch()
        kept = list(session.keeper._kept.values())
        assert kept and all(tensor.is_cuda for tensor in kept)
        assert sum(tensor.nbytes for tensor in kept) <= budget


ASSERTING = """
import torch
from torch import nn
from gradscope import Recipe

def recipe():
    model = nn.Sequential(nn.Embedding(4, 3), nn.Flatten(), nn.Linear(6, 2))
    data = [(torch.tensor([i, 1]), torch.tensor(0)) for i in range(8)]
    return Recipe(model=model, dataset=data, loss=nn.CrossEntropyLoss(), batch_size=1, shuffle=False,
                  optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
"""


def test_a_device_side_assert_ends_the_engine_in_words(write_recipe: Callable[..., Path]) -> None:
    peer = Peer()
    try:
        peer.open(write_recipe(ASSERTING), device=DEVICE)
        failed = peer.run_steps(8)
        assert isinstance(failed, messages.Failed) and "assert" in failed.failure.sentence
        assert "cannot be used any more" in peer.event(messages.DeviceLost).reason
        assert peer.process.wait(patient(30)) == 0 and os.name == "posix"
    finally:
        peer.close()
