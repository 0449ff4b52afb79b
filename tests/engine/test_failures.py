"""The user's code raises: what is said, what is undone, and that training goes on as if it had not happened."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import plain
import pytest
import torch
import zoo
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ExponentialLR, LambdaLR, SequentialLR
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset
from torch.utils.data._utils import signal_handling

from gradscope import Recipe, Session, UserCodeFailed
from gradscope.engine.data.batches import without_signals
from gradscope.engine.surroundings.unwinding import Unwind
from gradscope.protocol.failure import Failure, FailureKind
from gradscope.protocol.phases import Moment, Phase, Rest, SubStep


class Fuse:
    """Raises the n-th time it is asked, then never again. `Fuse(None)` never."""

    def __init__(
        self, blows_at: int | None, error: Callable[[], BaseException] = lambda: ValueError("the fuse")
    ) -> None:
        self.left, self.error = blows_at, error

    def check(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left == 0:
                self.left = None
                raise self.error()


class Broken(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, fuse: Fuse) -> Tensor:
        ctx.fuse = fuse
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        ctx.fuse.check()
        return gradient, None


class FusedLayer(nn.Module):
    def __init__(self, forward: Fuse, backward: Fuse) -> None:
        super().__init__()
        self.forward_fuse, self.backward_fuse = forward, backward

    def forward(self, x: Tensor) -> Tensor:
        torch.rand(3)
        random.random()
        np.random.rand()
        self.forward_fuse.check()
        return Broken.apply(x, self.backward_fuse)


class HalfSGD(Optimizer):
    """Moves half of the parameters, counts its steps in its state, and then asks the fuse."""

    def __init__(self, parameters: Any, fuse: Fuse) -> None:
        super().__init__(parameters, {"lr": 0.1})
        self.fuse = fuse

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        parameters = self.param_groups[0]["params"]
        for i, p in enumerate(parameters):
            if i == len(parameters) // 2:
                self.fuse.check()
            state = self.state[p]
            state.setdefault("sum", torch.zeros_like(p)).add_(p.grad)
            p.add_(state["sum"], alpha=-self.param_groups[0]["lr"])
            torch.rand(1)


class FusedData(Dataset[tuple[Tensor, Tensor]]):
    def __init__(self, fuse: Fuse) -> None:
        self.fuse, self.data = fuse, zoo.vectors()

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        x, y = self.data[index]
        x = x + torch.rand(()) + random.random() + np.random.rand()
        self.fuse.check()
        return x, y


def fused_rate(fuse: Fuse) -> Callable[[int], float]:
    def rate(step: int) -> float:
        fuse.check()
        return 0.9**step

    return rate


PLACES = ["forward", "loss", "backward", "step", "schedule", "nested schedule", "data"]


def fused(place: str, blows_at: int | None, error: Callable[[], BaseException] | None = None) -> Recipe:
    """A recipe with everything that has state, and one fuse."""
    fuses = {name: Fuse(None) for name in PLACES}
    fuses[place] = Fuse(blows_at, error) if error else Fuse(blows_at)
    body = nn.Sequential(
        nn.Linear(zoo.FEATURES, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), FusedLayer(fuses["forward"], fuses["backward"])
    )
    model = nn.Sequential(body, nn.Linear(8, zoo.CLASSES))
    if place == "step":
        optimizer: Optimizer = HalfSGD(model.parameters(), fuses["step"])
    else:
        optimizer = zoo.adam(model)
    scheduler: Any = LambdaLR(optimizer, fused_rate(fuses["schedule"]))
    if place == "nested schedule":
        nested = LambdaLR(optimizer, fused_rate(fuses["nested schedule"]))
        scheduler = SequentialLR(optimizer, [ExponentialLR(optimizer, 0.5), nested], milestones=[1])

    def loss(output: Tensor, target: Tensor) -> Tensor:
        fuses["loss"].check()
        return nn.functional.cross_entropy(output, target)

    data = FusedData(fuses["data"])
    return zoo.classifier(model, dataset=data, loss=loss, optimizer=optimizer, scheduler=scheduler)


BLOWS_AT = {"forward": 4, "loss": 4, "backward": 4, "step": 4, "schedule": 5, "nested schedule": 7, "data": 23}
"""In the second epoch, or where the state is richest."""
SUBSTEPS = {"nested schedule": SubStep.SCHEDULE, "data": SubStep.BATCH}
LAYERS = {"forward": "0.3", "backward": None}


def run_to_failure(session: Session) -> tuple[Phase, dict[str, Any], UserCodeFailed]:
    """(the phase that failed, the state before it, the error)."""
    while True:
        before = plain.state_of(session.recipe)
        phase = {Rest.READY: Phase.FORWARD, Rest.FORWARD: Phase.BACKWARD, Rest.BACKWARD: Phase.STEP}[
            session.position.rest
        ]
        try:
            session.advance()
        except UserCodeFailed as error:
            return phase, before, error
        assert session.position.step < 20


@pytest.mark.parametrize("place", PLACES)
def test_what_is_said(place: str) -> None:
    with Session(plain.seeded(lambda: fused(place, BLOWS_AT[place]))) as session:
        phase, _, error = run_to_failure(session)
        failure, substep = error.failure, SUBSTEPS.get(place, SubStep(place) if place in list(SubStep) else None)
        assert failure.kind is FailureKind.USER_CODE
        assert failure.phase is phase is Moment(step=0, substep=substep).phase
        assert failure.substep is substep
        assert failure.layer == LAYERS.get(place)
        assert f"The {substep} of step {session.position.step} failed" in failure.sentence
        assert "ValueError: the fuse (test_failures.py, line" in failure.sentence
        assert ("in layer 0.3" in failure.sentence) == (place == "forward")
        assert "undone" in failure.undone
        assert_only_our_lines(failure)
        assert error.report is not None
        assert error.report.phase is phase and not error.report.raw.complete


def assert_only_our_lines(failure: Failure) -> None:
    files = {line.split('"')[1] for line in failure.traceback.splitlines() if line.lstrip().startswith("File ")}
    assert files == {__file__}
    assert failure.traceback.splitlines()[-1] == "ValueError: the fuse"


def test_the_partial_report_holds_what_was_captured() -> None:
    with Session(plain.seeded(lambda: fused("forward", 1))) as session:
        _, _, error = run_to_failure(session)
        assert [s.name for s in error.report.subjects if s.kind == "activation"] == ["0.0", "0.1", "0.2"]
        assert error.report.loss is None
    with Session(plain.seeded(lambda: fused("backward", 1))) as session:
        _, _, error = run_to_failure(session)
        assert [s.name for s in error.report.subjects if s.kind == "grad"] == ["1.bias", "1.weight"] or {
            s.name for s in error.report.subjects if s.kind == "grad"
        } == {"1.weight", "1.bias"}


@pytest.mark.parametrize("place", [p for p in PLACES if p != "data"])
def test_what_is_undone(place: str) -> None:
    with Session(plain.seeded(lambda: fused(place, BLOWS_AT[place]))) as session:
        phase, before, _ = run_to_failure(session)
        after = plain.state_of(session.recipe)
        if phase is Phase.STEP:
            assert session.position.rest is Rest.BACKWARD
            plain.assert_same(before, after)
            return
        # A backward uses its graph up, so its forward goes too; a forward's own beginning clears the gradients.
        assert session.position.rest is Rest.READY
        for part in ("tensors", "optimizer", "scheduler"):
            if phase is Phase.FORWARD:
                plain.assert_same(before[part], after[part], part)
        assert all(gradient is None for gradient in after["grads"].values())


@pytest.mark.parametrize("place", PLACES)
def test_a_failure_that_happens_once_leaves_no_trace(place: str) -> None:
    expected = plain.train_plainly(plain.seeded(lambda: fused(place, None)), steps=8)
    with Session(plain.seeded(lambda: fused(place, BLOWS_AT[place]))) as session:
        run_to_failure(session)
        while session.position.step < 8:
            session.advance()
        found = plain.outcome_of(session)
    plain.assert_same_outcome(expected, found)


def test_a_ready_loader_that_draws_from_the_global_generator_leaves_no_trace_either() -> None:
    def make(blows_at: int | None) -> Recipe:
        recipe = fused("forward", blows_at)
        loader = DataLoader(recipe.dataset, zoo.BATCH, shuffle=True)
        return zoo.classifier(recipe.model, dataset=loader, optimizer=recipe.optimizer)

    expected = plain.train_plainly(plain.seeded(lambda: make(None)), steps=8)
    with Session(plain.seeded(lambda: make(4))) as session:
        run_to_failure(session)
        while session.position.step < 8:
            session.advance()
        plain.assert_same_outcome(expected, plain.outcome_of(session))


def test_an_iterable_that_fails_ahead_of_time_is_told_when_its_batch_is_asked_for() -> None:
    class Stream(IterableDataset[tuple[Tensor, Tensor]]):
        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            for i in range(3 * zoo.BATCH):
                if i == zoo.BATCH:
                    raise ValueError("the fuse")
                yield torch.ones(zoo.FEATURES), torch.tensor(0)

    with Session(plain.seeded(lambda: zoo.classifier(zoo.mlp(), dataset=Stream()))) as session:
        session.next_batch()
        with pytest.raises(UserCodeFailed) as error:
            session.forward()
        assert error.value.failure.substep is SubStep.BATCH
        assert len(session.history) == 1


def test_sys_exit_is_a_failure_of_theirs() -> None:
    for error in (lambda: SystemExit(3), lambda: GeneratorExit()):
        with Session(plain.seeded(lambda: fused("forward", 2, error))) as session:  # noqa: B023
            _, _, failed = run_to_failure(session)
            assert type(error()).__name__ in failed.failure.sentence or "sys.exit(3)" in failed.failure.sentence
            session.next_batch()


def test_ctrl_c_is_not_a_failure_but_is_undone() -> None:
    expected = plain.train_plainly(plain.seeded(lambda: fused("forward", None)), steps=4)
    with Session(plain.seeded(lambda: fused("forward", 2, KeyboardInterrupt))) as session:
        session.next_batch()
        with pytest.raises(KeyboardInterrupt):
            session.forward()
        plain.train_observed(session, steps=4)
        plain.assert_same_outcome(expected, plain.outcome_of(session))


WRONG_LOSSES = {
    "not one number": (lambda out, y: out.sum(1), r"the loss has the shape \(8,\); expected one number"),
    "no gradient": (lambda out, y: out.detach().sum(), "depends on nothing that requires a gradient"),
    "a float": (lambda out, y: 1.0, "the loss is a float"),
    "complex": (lambda out, y: (out * 1j).sum(), "the loss is complex; expected a real number"),
    "nothing": (lambda out, y: None, "the loss is a NoneType"),
}


@pytest.mark.parametrize("name", WRONG_LOSSES)
def test_wrong_losses(name: str) -> None:
    loss, sentence = WRONG_LOSSES[name]
    with Session(plain.seeded(lambda: zoo.classifier(zoo.mlp(), loss=loss))) as session:
        with pytest.raises(UserCodeFailed, match=sentence) as failed:
            session.forward()
        assert failed.value.failure.substep is SubStep.LOSS
        assert session.position.rest is Rest.READY


def test_a_loss_of_one_element_is_one_number() -> None:
    with Session(
        plain.seeded(lambda: zoo.classifier(zoo.mlp(), loss=lambda out, y: out.sum().reshape(1, 1)))
    ) as session:
        assert session.next_batch()[0].loss is not None


def test_a_batch_that_is_no_pair() -> None:
    for data in (TensorDataset(torch.ones(4, 2)), [{"x": torch.ones(2)}] * 4, TensorDataset(*[torch.ones(4)] * 3)):
        with Session(plain.seeded(lambda: zoo.classifier(zoo.mlp(), dataset=data))) as session:  # noqa: B023
            with pytest.raises(UserCodeFailed, match=r"expected \(input, target\), or a recipe with a training_step"):
                session.forward()
            with pytest.raises(UserCodeFailed):
                session.forward()


def test_the_nested_layer_and_call_are_named() -> None:
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(zoo.FEATURES, zoo.FEATURES), FusedLayer(Fuse(3), Fuse(None)))

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(5):
                x = self.body(x)
            return x

    with Session(plain.seeded(lambda: zoo.classifier(nn.Sequential(Loop())))) as session:
        with pytest.raises(UserCodeFailed) as failed:
            session.forward()
        assert (failed.value.failure.layer, failed.value.failure.call) == ("0.body.1", 2)


def test_a_layer_that_failed_and_was_caught_is_not_blamed_for_what_follows() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.caught = FusedLayer(Fuse(1), Fuse(None))
            self.head = nn.Linear(zoo.FEATURES, zoo.CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            with contextlib.suppress(ValueError):
                self.caught(x)
            raise RuntimeError("in the model itself")

    with Session(plain.seeded(lambda: zoo.classifier(Model()))) as session:
        with pytest.raises(UserCodeFailed) as failed:
            session.forward()
        assert failed.value.failure.layer == ""


def test_an_error_inside_torch_alone_still_has_a_traceback() -> None:
    model = nn.Sequential(nn.Linear(zoo.FEATURES, 4), nn.Linear(5, zoo.CLASSES))
    with Session(plain.seeded(lambda: zoo.classifier(model))) as session:
        with pytest.raises(UserCodeFailed, match="in layer 1: RuntimeError: mat1 and mat2") as failed:
            session.forward()
        # None of the frames is the user's: all are shown.
        assert "File " in failed.value.failure.traceback


class ByHand(nn.Module):
    """A buffer changed through `.data`, as codebooks with moving averages do; and one that is replaced."""

    def __init__(self, fuse: Fuse) -> None:
        super().__init__()
        self.register_buffer("average", torch.zeros(zoo.FEATURES))
        self.register_buffer("replaced", torch.zeros(()))
        self.fuse = fuse

    def forward(self, x: Tensor) -> Tensor:
        self.average.data.mul_(0.9).add_(x.detach().mean(0))
        self.replaced = self.replaced + 1
        self.fuse.check()
        return x + self.average


def test_buffers_changed_by_hand_are_undone() -> None:
    def make(blows_at: int | None) -> Recipe:
        return zoo.classifier(nn.Sequential(ByHand(Fuse(blows_at)), nn.Linear(zoo.FEATURES, zoo.CLASSES)))

    expected = plain.train_plainly(plain.seeded(lambda: make(None)), steps=5)
    with Session(plain.seeded(lambda: make(3))) as session:
        run_to_failure(session)
        plain.train_observed(session, steps=5)
        plain.assert_same_outcome(expected, plain.outcome_of(session))


class StopAt:
    """A gate that unwinds at one moment, once."""

    def __init__(self, substep: SubStep, event: str) -> None:
        self.is_armed, self.where = True, (substep, event)

    def stop(self, moment: Moment) -> None:
        if moment.step == 3 and (moment.substep, moment.event) == self.where:
            self.is_armed = False
            raise Unwind("enough")


MOMENTS = [
    (SubStep.BATCH, ""),
    (SubStep.FORWARD, "enter"),
    (SubStep.FORWARD, "leave"),
    (SubStep.FORWARD, ""),
    (SubStep.LOSS, ""),
    (SubStep.BACKWARD, "gradient"),
    (SubStep.BACKWARD, ""),
    (SubStep.STEP, ""),
    (SubStep.SCHEDULE, ""),
]


def tensor_rate() -> Recipe:
    model = zoo.batchnorm_dropout_conv().model
    assert isinstance(model, nn.Module)
    optimizer = torch.optim.SGD(model.parameters(), lr=torch.tensor(0.1), momentum=0.9)
    data = TensorDataset(torch.randn(20, 1, 4, 4), torch.randint(0, zoo.CLASSES, (20,)))
    return zoo.classifier(model, dataset=data, optimizer=optimizer, scheduler=ExponentialLR(optimizer, 0.9))


def chained() -> Recipe:
    recipe = zoo.batchnorm_dropout_conv()
    optimizer = recipe.optimizer
    scheduler = SequentialLR(optimizer, [ExponentialLR(optimizer, 0.9), ExponentialLR(optimizer, 0.5)], [2])
    return zoo.classifier(recipe.model, dataset=recipe.dataset, optimizer=optimizer, scheduler=scheduler)


@pytest.mark.parametrize("make", [chained, tensor_rate])
@pytest.mark.parametrize(("substep", "event"), MOMENTS)
def test_a_phase_broken_off_at_any_moment_leaves_no_trace(
    make: Callable[[], Recipe], substep: SubStep, event: str
) -> None:
    expected = plain.train_plainly(plain.seeded(make), steps=6)
    gate = StopAt(substep, event)
    with Session(plain.seeded(make), gate=gate) as session:
        with pytest.raises(Unwind):
            plain.train_observed(session, steps=6)
        gate.is_armed = False
        while session.position.step < 6:
            session.advance()
        plain.assert_same_outcome(expected, plain.outcome_of(session))


def test_moments_have_an_order() -> None:
    class Listener:
        is_armed = True

        def __init__(self) -> None:
            self.seen: list[tuple[str, str, str]] = []

        def stop(self, moment: Moment) -> None:
            self.seen.append((moment.substep.value, moment.event, moment.layer))

    listener = Listener()
    with Session(plain.seeded(zoo.plain_mlp), gate=listener) as session:
        session.next_batch()
    assert listener.seen[:3] == [("batch", "", ""), ("zero grad", "before", ""), ("zero grad", "", "")]
    assert listener.seen[3:5] == [("forward", "enter", ""), ("forward", "enter", "0")]
    assert listener.seen[5:11] == [
        ("forward", "leave", "0"),
        ("forward", "enter", "1"),
        ("forward", "leave", "1"),
        ("forward", "enter", "2"),
        ("forward", "leave", "2"),
        ("forward", "leave", ""),
    ]
    assert listener.seen[11:13] == [("forward", "", ""), ("loss", "", "")]
    assert listener.seen[-4:-2] == [("backward", "", ""), ("step", "", "")]
    assert listener.seen[-2:] == [("schedule", "before", ""), ("schedule", "", "")]
    assert {event for _, event, _ in listener.seen[13:-4]} == {"gradient"}


def test_this_file_counts_as_the_users() -> None:
    assert Path(__file__).suffix == ".py" and "site-packages" not in __file__ and sys.prefix not in __file__


class Deadly(Dataset[tuple[Tensor, Tensor]]):
    """A worker process dies on sample 9, once."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __len__(self) -> int:
        return 16

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        if i == 9 and not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.full((zoo.FEATURES,), float(i)), torch.tensor(0)


def test_a_worker_that_dies_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A loop of the user's own has made torch put in its handler, which raises wherever the main thread happens to be.
    monkeypatch.setattr(signal_handling, "_SIGCHLD_handler_set", False)
    signal_handling._set_SIGCHLD_handler()
    loader = DataLoader(Deadly(tmp_path / "mark"), 4, num_workers=1)
    with Session(plain.seeded(lambda: zoo.classifier(zoo.mlp(), dataset=loader))) as session:
        with pytest.raises(UserCodeFailed, match=r"The batch of step \d failed: .*DataLoader worker ") as caught:
            plain.train_observed(session, epochs=1)
        assert "a worker process of the DataLoader has died" in caught.value.failure.undone
        assert session.position.rest is Rest.READY
        session.next_batch()
        assert float(session.batch[0][0, 0]) == 0.0
        assert getattr(signal.getsignal(signal.SIGCHLD), "__module__", "") != signal_handling.__name__


def test_torchs_handler_of_dead_children_is_taken_out_and_the_users_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def users(number: int, frame: object) -> None: ...

    before = signal.signal(signal.SIGCHLD, users)
    try:
        monkeypatch.setattr(signal_handling, "_SIGCHLD_handler_set", False)
        signal_handling._set_SIGCHLD_handler()
        assert signal.getsignal(signal.SIGCHLD) is not users
        with without_signals():
            assert signal.getsignal(signal.SIGCHLD) is not users
        assert signal.getsignal(signal.SIGCHLD) is users
    finally:
        signal.signal(signal.SIGCHLD, before)


class Picky(Dataset[tuple[Tensor, Tensor]]):
    """Raises on sample 5, in whatever process it is asked."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __len__(self) -> int:
        return 8

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        if i == 5:
            raise self.error
        return torch.zeros(zoo.FEATURES), torch.tensor(0)


class Awkward(Exception):
    """Cannot be made anew from a text alone."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code}: {reason}")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("sample 5 is bad"), "ValueError: sample 5 is bad"),
        (ValueError("first line\n    second line"), "ValueError: first line"),
        (KeyError("label"), "KeyError: 'label'"),
        (Awkward(7, "no file"), "Awkward: 7: no file"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_worker_raises_is_told_in_its_own_words(error: BaseException, told: str) -> None:
    loader = DataLoader(Picky(error), 4, num_workers=1)
    with Session(plain.seeded(lambda: zoo.classifier(zoo.mlp(), dataset=loader))) as session:
        session.next_batch()
        with pytest.raises(UserCodeFailed) as caught:
            session.next_batch()
    sentence = caught.value.failure.sentence
    place = (
        rf"\(test_failures.py, line {Picky.__getitem__.__code__.co_firstlineno + 2}\), in DataLoader worker process 0"
    )
    assert re.search(rf"The batch of step 1 failed: .*({told}) {place}$", sentence), sentence
