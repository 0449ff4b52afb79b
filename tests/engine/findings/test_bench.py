"""The bench: a training never knows that it was used, and runs again exactly as it ran."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import plain
import pytest
import torch
import zoo
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau, StepLR
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset
from zoo_parts import FEATURES, classifier, mlp, vectors

from gradscope import Recipe, Session, UserCodeFailed
from gradscope.engine.aside.walk import MOST_COPIED_BYTES
from gradscope.engine.findings import restore
from gradscope.engine.findings.bench import Bench, Change, CheckUpCancelled
from gradscope.engine.findings.draft import CannotJudge
from gradscope.engine.findings.record import Record
from gradscope.engine.findings.restore import State
from gradscope.protocol.failure import BadInput

Use = Callable[[Bench], object]
STEPS = 7


def bench_of(session: Session, start: State | None = None, **options: Any) -> Bench:
    recipe = session.recipe
    return Bench(
        session, Record(optimizers=dict(recipe.optimizers), accumulate=recipe.accumulate), start=start, **options
    )


def trained(make: Callable[[], Recipe], use: Use | None = None, *, before: tuple[int, ...] = ()) -> dict[str, Any]:
    """Everything that a training has come to, with `use` of a bench before some of its steps."""
    recipe = plain.seeded(make)
    session = Session(recipe, seed=0)
    start = State.take(session)
    losses: list[float | None] = []
    for number in range(STEPS):
        if number in before and use is not None:
            state, gradients = plain.state_of(recipe), gradients_of(recipe)
            use(bench_of(session, start))
            plain.assert_same(plain.state_of(recipe), state)
            assert gradients_of(recipe) == gradients
        session.next_batch()
        losses.append(session.history[-1].loss)
    session.close()
    return {"losses": losses, **plain.state_of(recipe)}


def gradients_of(recipe: Recipe) -> list[tuple[int, tuple[int, ...]] | None]:
    """Which tensors they are, and how they lie in memory."""
    model: Any = recipe.model
    tensors = model.parameters() if isinstance(model, nn.Module) else model.values()
    return [None if t.grad is None else (id(t.grad), () if t.grad.is_sparse else t.grad.stride()) for t in tensors]


def all_of_it(bench: Bench) -> None:
    batch = bench.batches[0]
    bench.train(4, Change())
    bench.train(3, Change(rate=1e3, weight_decay=1.0), from_start=False)
    bench.loss(batch, with_grad=False)
    loss, _ = bench.loss(batch)
    if bench.is_plain and callable(bench.model):
        bench.evaluate(bench.parts(batch)[0])
    bench.rates_ahead(20)
    bench.after(2, Change(clip=False), lambda: bench.loss(batch, with_grad=False))
    assert loss.requires_grad


def is_judged(use: Use) -> Use:
    def used(bench: Bench) -> None:
        try:
            use(bench)
        except (CannotJudge, UserCodeFailed, BadInput):
            # An odd model cannot be called with x alone, or has no shape yet: it is put back all the same.
            bench.train(2, Change())

    return used


# ---------------------------------------------------------------------------------------------------- kinds of state


def conv() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Dropout(0.4),
        nn.Linear(64, 3),
    )


def of_conv(optimizer: Callable[[Any], Any], scheduler: Callable[[Any], Any] | None = None, **changes: Any) -> Recipe:
    model = conv()
    own = optimizer(model.parameters())
    if scheduler is not None:
        changes["scheduler"] = scheduler(own)
    data = TensorDataset(torch.randn(50, 1, 4, 4), torch.randint(0, 3, (50,)))
    return classifier(model, optimizer=own, dataset=data, **changes)


def sgd(parameters: Any) -> Any:
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=1e-3, nesterov=True)


KINDS: dict[str, Callable[[], Recipe]] = {
    "adam": lambda: of_conv(lambda p: torch.optim.Adam(p, 1e-2)),
    "accumulated and clipped": lambda: of_conv(sgd, accumulate=3, clip_norm=0.5, clip_value=0.1),
    "lbfgs": lambda: of_conv(lambda p: torch.optim.LBFGS(p, 0.1, max_iter=4), accumulate=2, clip_norm=1.0),
    "rmsprop": lambda: of_conv(lambda p: torch.optim.RMSprop(p, 1e-3, momentum=0.5, centered=True)),
    "rate by epochs": lambda: of_conv(sgd, lambda o: StepLR(o, 1, 0.5), scheduler_unit="epoch"),
    "plateau": lambda: of_conv(sgd, lambda o: ReduceLROnPlateau(o, patience=0, threshold=0.5), scheduler_unit="epoch"),
    "one cycle": lambda: of_conv(sgd, lambda o: OneCycleLR(o, 0.1, total_steps=100)),
    "half precision": lambda: of_conv(sgd, lambda o: StepLR(o, 5, 0.5), precision="fp16", clip_norm=1.0),
    "bfloat16": lambda: of_conv(sgd, precision="bf16"),
    "gradients add up": lambda: of_conv(lambda p: torch.optim.SGD(p, 0.01), zero_grad="manual"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_does_not_know_that_the_bench_was_used(kind: str) -> None:
    alone = trained(KINDS[kind])
    plain.assert_same(trained(KINDS[kind], all_of_it, before=(0, 3, 6)), alone)


@pytest.mark.parametrize(
    "name", [name for name in zoo.ZOO if "compiled" not in name and name not in ("layers_600", "workers")]
)
def test_nor_does_any_odd_model(name: str) -> None:
    alone = trained(zoo.ZOO[name])
    plain.assert_same(trained(zoo.ZOO[name], is_judged(all_of_it), before=(1, 4)), alone)


@pytest.mark.parametrize("kind", KINDS)
def test_an_unchanged_run_from_the_start_is_the_training_itself_bit_for_bit(kind: str) -> None:
    recipe = plain.seeded(KINDS[kind])
    session = Session(recipe, seed=0)
    start = State.take(session)
    losses: list[float | None] = []
    for _ in range(12):
        session.forward()
        losses.append(session.loop.loss)
        session.next_batch()
    # Two passes and more, each in another order.
    assert bench_of(session, start).train(12, Change()).own == losses


def test_without_a_start_a_run_begins_now() -> None:
    recipe = plain.seeded(KINDS["adam"])
    session = Session(recipe, seed=0)
    for _ in range(3):
        session.next_batch()
    bench = bench_of(session)
    batch = bench.batches[0]
    assert not bench.has_start
    assert bench.train(1, Change()).own[0] == float(bench.loss(batch, with_grad=False)[0])


# ---------------------------------------------------------------------------------------------------- broken off


@pytest.mark.parametrize("forwards", [1, 2, 5])
@pytest.mark.parametrize("kind", ["adam", "lbfgs", "half precision"])
def test_a_cancelled_run_leaves_nothing_behind(kind: str, forwards: int) -> None:
    def cancelled(bench: Bench) -> None:
        def report(done: int) -> None:
            if done >= forwards:
                raise CheckUpCancelled

        bench.report = report
        with pytest.raises(CheckUpCancelled):
            bench.train(20, Change(rate=10.0))
        assert bench.forwards == forwards

    plain.assert_same(trained(KINDS[kind], cancelled, before=(0, 4)), trained(KINDS[kind]))


class Failing(nn.Linear):
    calls = 0
    fails_at = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == Failing.fails_at:
            raise ValueError("enough")
        return super().forward(x)


def failing() -> Recipe:
    Failing.fails_at = 0
    return classifier(nn.Sequential(Failing(FEATURES, 8), nn.Tanh(), nn.Linear(8, 3)))


def test_a_forward_that_fails_inside_is_told_and_leaves_nothing_behind() -> None:
    def used(bench: Bench) -> None:
        Failing.fails_at = bench.model[0].calls + 3
        with pytest.raises(UserCodeFailed, match="enough"):
            bench.train(9, Change(), from_start=False)
        assert bench.model[0].calls + 3 == Failing.fails_at
        Failing.fails_at = 0

    plain.assert_same(trained(failing, used, before=(0, 2)), trained(failing))


def test_a_model_that_refuses_what_is_not_finite_has_diverged() -> None:
    class Careful(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            if not bool(torch.isfinite(self.weight).all()):
                raise ValueError("these weights are no numbers")
            return super().forward(x)

    def make() -> Recipe:
        model = nn.Sequential(Careful(FEATURES, 8), nn.Linear(8, 1))
        data = TensorDataset(torch.randn(20, FEATURES), torch.randn(20, 1))
        return classifier(model, dataset=data, loss=nn.MSELoss(), optimizer=torch.optim.SGD(model.parameters(), 0.1))

    def used(bench: Bench) -> None:
        run = bench.train(30, Change(rate=1e30))
        assert len(run.own) == 30
        assert run.own[-1] == float("inf")

    trained(make, used, before=(0,))


def test_inside_a_step_there_is_no_check_up() -> None:
    session = Session(plain.seeded(zoo.plain_mlp), seed=0)
    session.forward()
    with pytest.raises(BadInput, match="between two steps"):
        bench_of(session)


# ---------------------------------------------------------------------------------------------------- the data


class Noisy(Dataset[tuple[Tensor, Tensor]]):
    """Draws numbers of its own, and counts."""

    def __init__(self) -> None:
        self.generator, self.count = np.random.default_rng(3), 0

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        self.count += 1
        x = torch.from_numpy(self.generator.normal(size=FEATURES)).float() + torch.randn(FEATURES)
        return x, torch.tensor((index + self.count) % 3)


class Stream(IterableDataset[tuple[Tensor, Tensor]]):
    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for index in range(20):
            yield torch.randn(FEATURES), torch.tensor(index % 3)


class Cycle(IterableDataset[tuple[Tensor, Tensor]]):
    """Goes on where the pass before it ended: by one of Python's own iterators, which can be copied."""

    def __init__(self) -> None:
        self.labels = itertools.cycle(range(3))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for label in itertools.islice(self.labels, 16):
            yield torch.full((FEATURES,), float(label)), torch.tensor(label)


def ready_loader() -> DataLoader[Any]:
    return DataLoader(vectors(), batch_size=6, shuffle=True)


@pytest.mark.parametrize("data", [Noisy, Stream, Cycle, ready_loader])
def test_the_data_of_the_training_is_not_touched(data: Callable[[], Any]) -> None:
    def make() -> Recipe:
        return classifier(mlp(), dataset=data())

    plain.assert_same(trained(make, all_of_it, before=(0, 2, 5)), trained(make))


def test_data_that_can_be_gone_through_only_once_is_left_to_the_training() -> None:
    def samples() -> Iterator[tuple[Tensor, Tensor]]:
        for index in range(80):
            yield torch.randn(FEATURES), torch.tensor(index % 3)

    def make() -> Recipe:
        return classifier(mlp(), dataset=samples())

    def used(bench: Bench) -> None:
        # The newest batch is all there is, and none before the first step.
        batches = bench.batches
        assert len(batches) <= 1
        if batches:
            bench.train(3, Change())
        else:
            with pytest.raises(CannotJudge, match="only once"):
                bench.train(3, Change())

    plain.assert_same(trained(make, used, before=(0, 3)), trained(make))


def test_a_generator_inside_the_dataset_is_not_consumed_either() -> None:
    class Lines(IterableDataset[tuple[Tensor, Tensor]]):
        def __init__(self) -> None:
            self.source = (torch.tensor(index % 3) for index in range(80))

        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            for label in self.source:
                yield torch.ones(FEATURES), label

    def make() -> Recipe:
        return classifier(mlp(), dataset=Lines())

    plain.assert_same(trained(make, lambda bench: bench.batches, before=(0, 3)), trained(make))


def test_batches_are_those_of_the_first_epoch_in_its_order() -> None:
    recipe = plain.seeded(zoo.plain_mlp)
    session = Session(recipe, seed=0)
    own = []
    for _ in range(3):
        session.next_batch()
        own.append(session.batch[0].clone())
    batches = bench_of(session).batches
    assert len(batches) == 3
    assert all(torch.equal(x, y[0]) for x, y in zip(own, batches, strict=True))


# ---------------------------------------------------------------------------------------------------- what it gives


def test_gradients_of_a_loss_can_be_taken_after_everything_was_put_back() -> None:
    session = Session(plain.seeded(KINDS["adam"]), seed=0)
    bench = bench_of(session)
    x, y = bench.batches[0]
    x = x.clone().requires_grad_()
    loss, output = bench.loss((x, y))
    (gradient,) = torch.autograd.grad(loss, x)
    assert output is not None
    assert gradient.abs().sum() > 0
    assert all(p.grad is None for p in bench.model.parameters())


def test_an_evaluation_is_in_eval_mode_and_always_the_same() -> None:
    session = Session(plain.seeded(KINDS["adam"]), seed=0)
    bench = bench_of(session)
    x = bench.batches[0][0]
    first, second = bench.evaluate(x), bench.evaluate(x)
    assert first.output is not None
    assert second.output is not None
    assert torch.equal(first.output, second.output)
    assert torch.equal(first.layers["4"], first.layers["3"]), "dropout does nothing in eval mode"
    assert set(bench.evaluate(x, keeps_layers=False).layers) == set()
    assert all(module.training for module in bench.model.modules())


def test_what_is_looked_at_after_a_run_is_the_trained_model() -> None:
    session = Session(plain.seeded(zoo.plain_mlp), seed=0)
    bench = bench_of(session)
    batch, before = bench.batches[0], session.recipe.model[0].weight.clone()  # type: ignore[index]
    run, loss = bench.after(20, Change(batches=1), lambda: float(bench.loss(batch, with_grad=False)[0]))
    assert loss < run.own[0]
    assert torch.equal(session.recipe.model[0].weight, before)  # type: ignore[index]


def test_each_change_changes_what_it_says() -> None:
    def make() -> Recipe:
        model = mlp()
        model[0].weight.requires_grad_(False)
        return classifier(model, optimizer=torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1))

    recipe = plain.seeded(make)
    bench = bench_of(Session(recipe, seed=0))
    model: Any = recipe.model
    same = bench.train(6, Change()).own
    changes = (
        Change(rate=0.5),
        Change(group=0, rate=2.0),
        Change(weight_decay=0.5),
        Change(inputs=lambda x: 2 * x),
        Change(thawed=(model[0].weight,)),
        Change(adam=0.1),
        Change(batches=1),
    )
    runs = [bench.train(6, change).own for change in changes]
    assert all(run != same for run in runs)
    assert all(len(run) == 6 for run in runs)
    assert bench.train(6, Change(group=1, rate=2.0)).own == same
    assert not model[0].weight.requires_grad
    assert bench.train(6, Change()).own == same


def test_clipping_can_be_left_out_and_a_schedule_be_ended() -> None:
    bench = bench_of(Session(plain.seeded(KINDS["accumulated and clipped"]), seed=0))
    assert bench.train(4, Change(clip=False)).own != bench.train(4, Change()).own
    session = Session(plain.seeded(lambda: of_conv(sgd, lambda o: StepLR(o, 1, 1e-3))), seed=0)
    bench = bench_of(session, State.take(session))
    held, as_it_is = bench.train(6, Change(schedule_ends=0)).own, bench.train(6, Change()).own
    assert held[:2] == as_it_is[:2]
    assert held[3:] != as_it_is[3:]
    assert bench.rates_ahead(3) == pytest.approx([0.1, 1e-4, 1e-7])


def test_rates_ahead_are_told_from_the_start_wherever_training_is() -> None:
    session = Session(plain.seeded(lambda: of_conv(sgd, lambda o: StepLR(o, 1, 0.5), scheduler_unit="epoch")), seed=0)
    start = State.take(session)
    for _ in range(9):
        session.next_batch()
    assert bench_of(session, start).rates_ahead(15) == pytest.approx([0.1] * 7 + [0.05] * 7 + [0.025])
    assert bench_of(session).rates_ahead(1) == pytest.approx([0.05])


# ---------------------------------------------------------------------------------------------------- the start


def test_a_start_that_is_too_large_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(plain.seeded(zoo.plain_mlp), seed=0)
    assert State.take(session) is not None
    monkeypatch.setattr(restore, "MOST_BYTES", MOST_COPIED_BYTES)
    assert State.take(session) is None


def test_after_an_edit_the_start_is_another_training() -> None:
    session = Session(plain.seeded(zoo.plain_mlp), seed=0)
    start = State.take(session, edits=0)
    assert bench_of(session, start).has_start
    assert not bench_of(session, start, edits=1).has_start
    session.training.clip_norm = 1.0
    assert not bench_of(session, start).has_start


def test_leaves_outside_the_model_are_put_back() -> None:
    outside = torch.ones(FEATURES, requires_grad=True)

    class Hidden(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x * outside)

    recipe = plain.seeded(lambda: classifier(Hidden(FEATURES, 3)))
    bench = bench_of(Session(recipe, seed=0))
    bench.foreign = (outside,)
    bench.train(3, Change())
    assert outside.grad is None
    bench.after(1, Change(), lambda: outside.data.mul_(2))
    assert torch.equal(outside, torch.ones(FEATURES))


def test_what_cannot_be_put_back_is_told() -> None:
    numbers = (float(number) for number in range(1000))

    class Drawing(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + next(numbers)

    bench = bench_of(Session(plain.seeded(lambda: classifier(Drawing(FEATURES, 3))), seed=0))
    bench.train(2, Change())
    assert any("generator" in note and "cannot be put back" in note for note in bench.notes)


class Others(torch.optim.SGD):
    """As of a library that gradscope does not know."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, lr=0.1, momentum=0.9)
        self.steps, self.seen = 0, [0]

    def step(self, closure: Any = None) -> Any:  # type: ignore[override]
        self.steps += 1
        self.seen.append(self.steps)
        for group in self.param_groups:
            group["lr"] = 0.1 / len(self.seen)
        return super().step(closure)


Others.__module__ = "somebodys.optimizers"


def test_an_optimizer_of_somebody_elses_is_put_back_too() -> None:
    def make() -> Recipe:
        return of_conv(Others, lambda o: StepLR(o, 2, 0.5))

    notes: list[str] = []

    def used(bench: Bench) -> None:
        all_of_it(bench)
        notes.extend(bench.notes)

    plain.assert_same(trained(make, used, before=(0, 3)), trained(make))
    assert notes == []
