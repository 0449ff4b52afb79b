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
from torch import Tensor, nn

from gradscope import Recipe, Session
from gradscope.engine import record
from gradscope.engine.observer import Observer
from gradscope.engine.quantities import summary
from gradscope.engine.quantities.exponents import SAMPLE_ABOVE, sampled_places
from gradscope.engine.quantities.summary import SummaryBatch
from gradscope.engine.quantities.values import readable
from gradscope.protocol import messages
from gradscope.protocol.phases import Phase

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
    batch.set(0, readable(tensor))
    rows, histograms, sampled = batch.finish(1)
    array = as_array(tensor.cpu())
    assert_row(rows[0].tolist(), expected_row(array, is_float=True))
    assert sampled.tolist() == [min(array.size, SAMPLE_ABOVE)]
    if array.size > SAMPLE_ABOVE:
        array = array[sampled_places(array.size)]
    if tensor.dtype is not torch.float64:
        np.testing.assert_array_equal(histograms[0], expected_histogram(array))


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
        assert peer.process.wait(30) == 0 and os.name == "posix"
    finally:
        peer.close()
