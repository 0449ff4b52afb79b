"""Broken off at any moment, and gone on: the same training as one that was never broken off. And what is said is true."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import plain
import pytest
import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler, TensorDataset

from gradscope import Recipe, Session, UserCodeFailed
from gradscope.engine.book.values import ValuesUnavailable
from gradscope.engine.stepping import best
from gradscope.engine.surroundings.unwinding import Unwind, ctrl_c_told_apart
from gradscope.protocol.failure import BadInput
from gradscope.protocol.phases import Moment, Phase, SubStep
from gradscope.protocol.subjects import SubjectKey, SubjectKind


class Gate:
    """Breaks off at one moment."""

    is_armed = True

    def __init__(self, at: int) -> None:
        self.at = at
        self.seen: list[Moment] = []

    def stop(self, moment: Moment) -> None:
        self.seen.append(moment)
        if len(self.seen) - 1 == self.at:
            raise Unwind("on purpose")


class Stream(IterableDataset[tuple[Tensor, Tensor]]):
    """No length; draws from the global generator."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for _ in range(10):
            x = torch.randn(4)
            yield x, x.sum(0, keepdim=True) + torch.rand(1)


class Noisy(Dataset[tuple[Tensor, Tensor]]):
    def __len__(self) -> int:
        return 10

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        return torch.randn(4), torch.rand(1)


def recipe(data: Any, optimizer: Any = torch.optim.Adam, schedule: Any = None, **fields: Any) -> Callable[[], Recipe]:
    def make() -> Recipe:
        model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.3), nn.Linear(6, 1))
        made = optimizer(model.parameters(), lr=0.01)
        scheduler = schedule(made) if schedule else None
        return Recipe(
            model=model, dataset=data(), loss=nn.MSELoss(), optimizer=made, scheduler=scheduler, batch_size=2, **fields
        )

    return make


class Gan(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.g = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        self.d = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.2), nn.Linear(4, 1))


def train_d(model: Any, batch: Any) -> Tensor:
    fake = model.g(torch.randn(len(batch[0]), 4)).detach()
    return model.d(batch[0]).float().square().mean() + (model.d(fake).float() - 1).square().mean()


def train_g(model: Any, batch: Any) -> Tensor:
    return model.d(model.g(torch.randn(len(batch[0]), 4))).float().square().mean()


def gan(data: Any, schedule: Any = None, **fields: Any) -> Callable[[], Recipe]:
    def make() -> Recipe:
        model = Gan()
        optimizers = {
            "d": torch.optim.Adam(model.d.parameters(), 0.01),
            "g": torch.optim.SGD(model.g.parameters(), 0.1, momentum=0.9, nesterov=True),
        }
        schedulers = {name: schedule(optimizer) for name, optimizer in optimizers.items()} if schedule else None
        steps = {"d": train_d, "g": train_g}
        return Recipe(
            model=model,
            dataset=data(),
            optimizer=optimizers,
            training_step=steps,
            scheduler=schedulers,
            batch_size=2,
            **fields,
        )

    return make


def lbfgs(parameters: Any, lr: float) -> torch.optim.LBFGS:
    return torch.optim.LBFGS(parameters, lr=lr, max_iter=3, history_size=2)


def decay(optimizer: Any) -> Any:
    return lr_scheduler.StepLR(optimizer, 1, 0.9)


def plateau(optimizer: Any) -> Any:
    return lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)


HELD_OUT = TensorDataset(torch.randn(6, 4), torch.randn(6, 1))
EPOCH: dict[str, Any] = {"scheduler_unit": "epoch", "validation": HELD_OUT}
RECIPES = {
    "map": recipe(Noisy, schedule=decay, validation=HELD_OUT),
    "stream": recipe(Stream, schedule=decay),
    "stream in windows": recipe(Stream, schedule=decay, accumulate=2, **EPOCH),
    "stream, plateau, clip": recipe(Stream, schedule=plateau, accumulate=3, clip_norm=0.05, **EPOCH),
    "fp16 in windows": recipe(Noisy, precision="fp16", accumulate=3, clip_norm=0.05, schedule=decay),
    "fp16, manual": recipe(Stream, precision="fp16", zero_grad="manual", schedule=decay),
    "gan": gan(Stream, schedule=decay),
    "gan, fp16, clip": gan(Noisy, schedule=decay, precision="fp16", clip_norm=0.01),
    "gan, plateau": gan(Noisy, schedule=plateau, validation_step=train_g, **EPOCH),
    "gan, manual": gan(Noisy, zero_grad="manual"),
    "lbfgs": recipe(Noisy, lbfgs, schedule=decay, accumulate=2, clip_norm=0.1, **EPOCH),
    "lbfgs, manual": recipe(Noisy, lbfgs, zero_grad="manual"),
}


def train(make: Callable[[], Recipe], at: int) -> tuple[list[Moment], plain.Outcome]:
    gate = Gate(at)
    with Session(plain.seeded(make), gate=gate) as session:
        while session.position.epoch < 2:
            try:
                session.advance()
            except Unwind:
                assert not session.is_broken
        return gate.seen, plain.outcome_of(session)


@pytest.mark.parametrize("name", RECIPES)
def test_broken_off_and_gone_on(name: str) -> None:
    make = RECIPES[name]
    expected = plain.train_plainly(plain.seeded(make), epochs=2)
    moments, found = train(make, -1)
    expected.scales = found.scales
    plain.assert_same_outcome(expected, found)
    chosen = [i for i, moment in enumerate(moments) if moment.phase is Phase.STEP][:8]
    for at in {*chosen, *random.Random(1).sample(range(len(moments)), 4)}:
        _, found = train(make, at)
        plain.assert_same_outcome(expected, found)


# -------------------------------------------------------------------------------------------------- what is said


def linear(optimizer: Any = None, **fields: Any) -> Recipe:
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 1))
    data = TensorDataset(torch.randn(8, 4), torch.randn(8, 1))
    made = optimizer(model) if optimizer else torch.optim.SGD(model.parameters(), lr=0.1)
    return Recipe(model=model, optimizer=made, **{"dataset": data, "loss": nn.MSELoss(), "batch_size": 2, **fields})


def test_a_failing_schedule_is_not_called_a_validation() -> None:
    def make() -> Recipe:
        made = recipe(Noisy, schedule=lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=2), validation=HELD_OUT)
        return made()

    with Session(plain.seeded(make)) as session:
        session.next_batch()
        session.next_batch()
        with pytest.raises(UserCodeFailed, match="The schedule of step 2 failed") as caught:
            session.next_batch()
        assert caught.value.failure.substep is SubStep.SCHEDULE
        assert session.reports[Phase.STEP].step == 1, "the newest step that there is"


def test_clipped_gradients_are_those_of_the_newest_step() -> None:
    key = SubjectKey(SubjectKind.CLIPPED_GRAD, "0.weight")
    with Session(plain.seeded(lambda: linear(clip_norm=0.01))) as session:
        session.next_batch()
        assert float(session.values(key).norm()) <= 0.01
        session.forward()
        session.backward()
        with pytest.raises(ValuesUnavailable, match="no clipped gradient"):
            session.values(key)


def test_clipped_before_an_optimizer_that_changes_gradients() -> None:
    def nesterov(model: nn.Module) -> torch.optim.SGD:
        return torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, nesterov=True, foreach=True)

    with Session(plain.seeded(lambda: linear(nesterov, clip_norm=0.01))) as session:
        session.next_batch()
        _, backward, step = session.next_batch()
        clipped, gradient = step.get("clipped_grad", "0.weight"), backward.get("grad", "0.weight")
        assert clipped is not None and gradient is not None and step.clip is not None
        assert clipped.l2 == pytest.approx((gradient.l2 or 0) * (step.clip.coefficient or 0), rel=1e-5)
        assert float(session.values(SubjectKey(SubjectKind.GRAD, "0.weight")).norm()) == pytest.approx(
            gradient.l2, rel=1e-5
        )
        with pytest.raises(ValuesUnavailable, match="has changed the clipped gradients"):
            session.values(SubjectKey(SubjectKind.CLIPPED_GRAD, "0.weight"))


@pytest.mark.parametrize("precision", [None, "fp16"])
def test_one_turn_does_not_show_the_gradients_of_another(precision: Any) -> None:
    with Session(plain.seeded(gan(Noisy, precision=precision))) as session:
        session.next_batch()
        before = session.recipe.model.g[0].weight.grad.clone()  # type: ignore[union-attr, index]
        session.forward()
        report = session.backward()
        assert report.get("grad", "g.0.weight") is None
        reasons = {absence.name: absence.reason for absence in report.absent if absence.kind == "grad"}
        assert "another optimizer's" in reasons["g.0.weight"]
        # What is still there is neither scaled nor this turn's.
        assert torch.equal(session.values(SubjectKey(SubjectKind.GRAD, "g.0.weight")), before)
        session.step()
        if precision is None:
            own = [s.l2 for s in report.subjects if s.kind == "grad"]
            assert session.history[-1].grad_l2 == pytest.approx(torch.tensor(own).norm().item(), rel=1e-5)


def test_a_scaler_looks_only_at_what_it_steps() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.c = nn.Linear(4, 1), nn.Parameter(torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            return self.a(x) + torch.sqrt(self.c.abs() * 0)

    def make() -> Recipe:
        model = Odd()
        data = TensorDataset(torch.randn(8, 4), torch.randn(8, 1))
        optimizer = torch.optim.SGD(model.a.parameters(), 0.1)
        return Recipe(model=model, dataset=data, loss=nn.MSELoss(), optimizer=optimizer, batch_size=2, precision="fp16")

    with Session(plain.seeded(make)) as session:
        _, backward, step = session.next_batch()
        first = backward.first_nonfinite
        assert first is not None and first.title == "First NaN: step 0, backward, gradient of c"
        assert not backward.notes and not step.is_skipped


def test_the_weights_that_cannot_be_copied_do_not_count_a_step_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(model: Any) -> Any:
        raise torch.OutOfMemoryError("no room")

    with Session(plain.seeded(lambda: linear(batch_size=8, validation=HELD_OUT, best_metric="loss"))) as session:
        session.forward()
        session.backward()
        before = plain.state_of(session.recipe)
        with monkeypatch.context() as patch:
            patch.setattr(best, "_copy_of_state", fail)
            with pytest.raises(UserCodeFailed, match="The validation of step 0 failed: OutOfMemoryError"):
                session.step()
        plain.assert_same(before, plain.state_of(session.recipe))
        session.step()
        assert [record.step for record in session.history] == [0] and session.best is not None


def test_buffers_of_the_loss_are_put_back_too() -> None:
    class Centred(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("centre", torch.zeros(1))

        def forward(self, output: Tensor, target: Tensor) -> Tensor:
            with torch.no_grad():
                self.centre.mul_(0.9).add_(output.mean() * 0.1)
            return (output - self.centre - target).square().mean()

    losses = []
    for validation in (None, HELD_OUT):
        with Session(
            plain.seeded(lambda validation=validation: linear(loss=Centred(), validation=validation))
        ) as session:
            plain.train_observed(session, epochs=2)
            losses.append([record.loss for record in session.history])
    assert losses[0] == losses[1]


def test_a_nan_in_a_buffer_does_not_break_the_graph() -> None:
    with Session(plain.seeded(recipe(Noisy, validation=HELD_OUT))) as session:
        session.recipe.model[1].running_mean.fill_(float("nan"))  # type: ignore[index]
        session.forward()
        session.validate()
        session.backward()


def test_a_lazy_model_is_not_validated_before_its_first_forward() -> None:
    def make() -> Recipe:
        model = nn.Sequential(nn.LazyLinear(3), nn.Linear(3, 1))
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        return Recipe(model=model, dataset=HELD_OUT, loss=nn.MSELoss(), optimizer=optimizer, validation=HELD_OUT)

    with Session(plain.seeded(make)) as session:
        with pytest.raises(BadInput, match=r"0\.weight, 0\.bias has no shape yet; expected a Forward"):
            session.validate()
        session.forward()
        session.validate()


class Estimating(Sampler[list[int]]):
    """A batch sampler that does not know how many batches it gives."""

    def __init__(self, batches: int, says: int) -> None:
        self.batches, self.says = batches, says

    def __len__(self) -> int:
        return self.says

    def __iter__(self) -> Iterator[list[int]]:
        return iter([[i] for i in range(self.batches)])


@pytest.mark.parametrize(("batches", "says"), [(6, 4), (4, 6)])
def test_a_sampler_that_miscounts(batches: int, says: int) -> None:
    def make() -> Recipe:
        model = nn.Linear(4, 1)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        loader = DataLoader(HELD_OUT, batch_sampler=Estimating(batches, says))
        scheduler = lr_scheduler.StepLR(optimizer, 1, 0.5)
        return Recipe(
            model=model,
            dataset=loader,
            loss=nn.MSELoss(),
            optimizer=optimizer,
            scheduler=scheduler,
            scheduler_unit="epoch",
        )

    expected = plain.train_plainly(plain.seeded(make), epochs=3)
    with Session(plain.seeded(make)) as session:
        found = plain.train_observed(session, epochs=3)
    plain.assert_same_outcome(expected, found)


def test_a_look_ahead_that_is_broken_off_is_told() -> None:
    class Interrupted(IterableDataset[tuple[Tensor, Tensor]]):
        def __init__(self) -> None:
            self.is_first = True

        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            for i in range(6):
                if i == 2 and self.is_first:
                    self.is_first = False
                    raise KeyboardInterrupt
                yield torch.randn(4), torch.randn(1)

    with Session(plain.seeded(lambda: linear(dataset=Interrupted(), batch_size=1))) as session:
        session.next_batch()
        with pytest.raises(KeyboardInterrupt):
            session.next_batch()
        assert "the pass over the data was broken off with it, and ends with this batch" in session.undone
        session.step()
        assert session.position.epoch == 1


class Exiting(IterableDataset[tuple[Tensor, Tensor]]):
    """Calls sys.exit() before its third sample, in its first pass."""

    def __init__(self) -> None:
        self.is_first = True

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for i in range(6):
            if i == 2 and self.is_first:
                self.is_first = False
                sys.exit("no more")
            yield torch.randn(4), torch.randn(1)


def test_an_exit_while_looking_ahead_is_told_when_its_batch_is_asked_for() -> None:
    with Session(plain.seeded(lambda: linear(dataset=Exiting(), batch_size=1))) as session:
        session.next_batch()
        session.next_batch()
        assert session.position.step == 2 and session.position.epoch == 0
        with pytest.raises(UserCodeFailed, match=r"sys\.exit\('no more'\) was called"):
            session.next_batch()
        for _ in range(6):
            session.next_batch()
        assert session.position.step == 8


def test_a_keyboard_interrupt_of_the_datas_own_is_told_like_that(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt("no more")

    monkeypatch.setattr(sys, "exit", interrupt)
    with Session(plain.seeded(lambda: linear(dataset=Exiting(), batch_size=1))) as session, ctrl_c_told_apart():
        session.next_batch()
        session.next_batch()
        with pytest.raises(UserCodeFailed, match="KeyboardInterrupt: no more"):
            session.next_batch()
        assert session.position.step == 2


def test_a_place_before_an_exit_is_found_again(tmp_path: Path) -> None:
    losses = []
    for file in (tmp_path / "saved.pt", None):
        with Session(plain.seeded(lambda: linear(dataset=Exiting(), batch_size=1))) as session:
            if file is not None:
                session.next_batch()
                session.next_batch()
                session.save_checkpoint(file)
            else:
                session.load_checkpoint(tmp_path / "saved.pt")
            with pytest.raises(UserCodeFailed, match=r"sys\.exit\('no more'\) was called"):
                session.next_batch()
            session.next_batch()
            losses.append((session.position, session.history[-1].loss))
    assert losses[0] == losses[1]


def test_the_losses_of_a_lost_pass_are_not_in_the_epochs_mean() -> None:
    class Bad(IterableDataset[tuple[Tensor, Tensor]]):
        def __init__(self) -> None:
            self.is_first = True

        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            for i in range(3):
                if i == 2 and self.is_first:
                    self.is_first = False
                    raise ValueError("a bad line")
                yield torch.randn(4), torch.randn(1)

    seen = []

    class Listening(lr_scheduler.ReduceLROnPlateau):
        def step(self, metrics: Any, epoch: Any = None) -> None:
            seen.append(metrics)

    def make() -> Recipe:
        made = linear(dataset=Bad(), batch_size=1)
        return replace(made, scheduler=Listening(made.optimizer), scheduler_unit="epoch")  # type: ignore[arg-type]

    with Session(plain.seeded(make)) as session:
        while not seen:
            with suppress(UserCodeFailed):
                session.next_batch()
        losses = [record.loss for record in session.history if record.epoch == session.history[-1].epoch]
        assert seen == [sum(losses) / len(losses)]  # type: ignore[arg-type]


def test_a_loader_that_keeps_its_workers_is_not_shared() -> None:
    loader = DataLoader(HELD_OUT, batch_size=2, num_workers=1, persistent_workers=True)
    with pytest.raises(BadInput, match="a validation would end the pass"):
        linear(dataset=loader, validation=loader)


def test_gradients_of_a_loss_with_weights_are_given_back() -> None:
    class Weighted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.ones(1))

        def forward(self, output: Tensor, target: Tensor) -> Tensor:
            return (output - target).square().mean() * self.w

    loss = Weighted()

    def both(model: nn.Module) -> torch.optim.SGD:
        return torch.optim.SGD([*model.parameters(), *loss.parameters()], 0.1)

    def fail(gradient: Tensor) -> None:
        raise ValueError("on purpose")

    with Session(plain.seeded(lambda: linear(both, loss=loss, accumulate=2))) as session:
        session.forward()
        session.backward()
        before = loss.w.grad.clone()  # type: ignore[union-attr]
        session.forward()
        handle = session.recipe.model[0].weight.register_hook(fail)  # type: ignore[index]
        with pytest.raises(UserCodeFailed):
            session.backward()
        handle.remove()
        assert torch.equal(loss.w.grad, before)  # type: ignore[arg-type]


def test_a_parameter_of_two_optimizers_has_two_states() -> None:
    def shared(model: nn.Module) -> dict[str, torch.optim.Optimizer]:
        return {"a": torch.optim.Adam(model.parameters(), 0.1), "b": torch.optim.Adam([model[0].weight], 0.1)}  # type: ignore[index]

    steps = {"a": lambda m, b: m(b[0]).square().mean(), "b": lambda m, b: m(b[0]).sum() * 10}
    with Session(plain.seeded(lambda: linear(shared, loss=None, training_step=steps))) as session:
        report = session.next_batch()[-1]
        optimizers, weight = session.recipe.optimizers, session.recipe.model[0].weight  # type: ignore[index]
        for name in ("a", "b"):
            key = SubjectKey(SubjectKind.OPTIMIZER_STATE, "0.weight", leaf=f"[{name}].exp_avg")
            assert torch.equal(session.values(key), optimizers[name].state[weight]["exp_avg"])
            assert report.get("optimizer_state", "0.weight", leaf=key.leaf) is not None


def test_an_infinite_norm_clips_to_nothing() -> None:
    def huge(output: Tensor, target: Tensor) -> Tensor:
        return (output - target).sum() * 1e30

    with Session(plain.seeded(lambda: linear(loss=huge, clip_norm=1.0))) as session:
        clip = session.next_batch()[-1].clip
        assert clip is not None and clip.norm == float("inf") and clip.coefficient == 0.0


def test_gradients_cleared_before_the_step() -> None:
    with Session(plain.seeded(lambda: linear(clip_norm=1.0))) as session:
        session.forward()
        session.backward()
        session.zero_grad()
        session.step()
        assert session.history[0].grad_l2 is None and session.history[0].update_l2 == 0.0


class SparseParts(nn.Module):
    """Its gradient is sparse, and so is a buffer that each forward in training changes."""

    graph: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(6, 3, sparse=True)
        self.register_buffer("graph", torch.eye(3).to_sparse())

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.graph.mul_(2.0)
        return torch.mm(self.graph, self.embedding(x).mean(1).t()).sum(0)[:, None]


def test_sparse_tensors_are_put_back() -> None:
    torch.manual_seed(0)
    model = SparseParts()
    data = TensorDataset(torch.randint(0, 6, (12, 2)), torch.randn(12, 1))
    with Session(
        Recipe(
            model=model,
            dataset=data,
            validation=data,
            loss=nn.MSELoss(),
            optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
            batch_size=2,
            accumulate=2,
        )
    ) as session:
        session.forward()
        session.backward()
        gradient = model.embedding.weight.grad
        assert gradient is not None
        before, graph = gradient.to_dense(), model.graph.to_dense()
        session.forward()
        session.book.gate = EndOfBackward()
        with pytest.raises(Unwind):
            session.backward()
        assert model.embedding.weight.grad is gradient
        assert torch.equal(gradient.to_dense(), before)
        assert torch.equal(model.graph.to_dense(), graph)
        session.book.gate = None
        session.next_batch()
        graph = model.graph.to_dense()
        session.validate()
        assert torch.equal(model.graph.to_dense(), graph)


class EndOfBackward:
    is_armed = True

    def stop(self, moment: Moment) -> None:
        if moment.substep is SubStep.BACKWARD and not moment.event:
            raise Unwind("on purpose")
