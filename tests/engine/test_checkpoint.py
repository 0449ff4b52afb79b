"""Saved, loaded in another session, and trained on: bit for bit the plain loop that was never interrupted."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import plain
import pytest
import torch
import zoo
from torch import Tensor, nn
from torch.optim import lr_scheduler
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, RandomSampler, Sampler

from gradscope import Recipe, Session, UserCodeFailed
from gradscope.engine.data import passes
from gradscope.engine.surroundings.unwinding import Unwind

STEPS = 13
"""5 batches an epoch: into the third."""


def resumed(
    make: Callable[[], Recipe], file: Path, *, after: int, is_continued: bool = True, **until: int
) -> tuple[plain.Outcome, tuple[str, ...]]:
    """`after` steps, a checkpoint, and the rest in a session that begins with other random numbers; the load's notes."""
    with Session(plain.seeded(make)) as session:
        plain.train_observed(session, steps=after)
        session.save_checkpoint(file)
    recipe = plain.seeded(make)
    plain.seed_all(999)
    with Session(recipe, seed=77) as session:
        loaded = session.load_checkpoint(file)
        assert loaded.is_continued is is_continued and loaded.position.step == after, loaded.notes
        return plain.train_observed(session, **until), loaded.notes


def check(make: Callable[[], Recipe], file: Path, *, stops: tuple[int, ...], **until: int) -> None:
    until = until or {"steps": STEPS}
    expected = plain.train_plainly(plain.seeded(make), **until)
    for after in stops:
        found, notes = resumed(make, file, after=after, **until)
        assert notes == ()
        for name in ("losses", "rates", "skipped", "scales"):
            plain.assert_same(getattr(expected, name)[after:], getattr(found, name), f"{name} after {after}")
        plain.assert_same(expected.state, found.state, f"state after {after}")


class Drawing(Dataset[tuple[Tensor, Tensor]]):
    """Draws from all three generators for every sample."""

    def __len__(self) -> int:
        return zoo.SAMPLES

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        return torch.randn(zoo.FEATURES) + random.random() + float(np.random.rand()), torch.tensor(i % zoo.CLASSES)


class Stream(IterableDataset[tuple[Tensor, Tensor]]):
    """Goes on by what it draws: from torch's global generator, between the model's own draws."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        level = 0.0
        for label in range(zoo.SAMPLES):
            level = 0.9 * level + float(torch.randn(()))
            yield torch.full((zoo.FEATURES,), level), torch.tensor(label % zoo.CLASSES)


class LongStream(Stream):
    def __len__(self) -> int:
        return zoo.SAMPLES


class Wanderer(Sampler[int]):
    """A sampler that draws from Python's generator at every index."""

    def __init__(self) -> None:
        self._at = 0

    def __iter__(self) -> Iterator[int]:
        at = 0
        for _ in range(zoo.SAMPLES):
            at = (at + random.randrange(1, 7)) % zoo.SAMPLES
            random.random()
            yield at

    def __len__(self) -> int:
        return zoo.SAMPLES


class Shaken(nn.Module):
    """Draws from Python's and torch's generators in its forward; a running mean that no state_dict has."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(zoo.FEATURES, 8), nn.BatchNorm1d(8), nn.Dropout(0.3))
        self.head = nn.Linear(8, zoo.CLASSES)
        self.register_buffer("mean", torch.zeros(8), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        with torch.no_grad():
            self.mean.mul_(0.9).add_(y.mean(0))
        return self.head(y + self.mean) * (1 + 0.1 * random.random())


def shaken(**fields: Any) -> Recipe:
    model = Shaken()
    optimizer = fields.pop("optimizer", None) or torch.optim.Adam(model.parameters(), lr=0.01)
    schedule = fields.pop("schedule", lambda optimizer: lr_scheduler.ExponentialLR(optimizer, 0.9))
    dataset = fields.pop("dataset", None)
    recipe = zoo.classifier(model, optimizer=optimizer, scheduler=schedule(optimizer), **{"batch_size": 4, **fields})
    return recipe if dataset is None else replace(recipe, dataset=dataset)


def loader_of(dataset: Any, **options: Any) -> Callable[[], Recipe]:
    return lambda: shaken(dataset=DataLoader(dataset, **{"batch_size": 4, **options}))


def seeded_loader(dataset: Any, **options: Any) -> Callable[[], Recipe]:
    def make() -> Recipe:
        generator = torch.Generator().manual_seed(5)
        return shaken(dataset=DataLoader(dataset, 4, generator=generator, **options))

    return make


def shared_generator() -> Recipe:
    generator = torch.Generator().manual_seed(5)
    data = zoo.vectors()
    sampler = RandomSampler(data, replacement=True, generator=generator)
    return shaken(
        dataset=DataLoader(data, batch_sampler=BatchSampler(sampler, 4, drop_last=False), generator=generator)
    )


DATA: dict[str, Callable[[], Recipe]] = {
    "shuffled": shaken,
    "in order": lambda: shaken(shuffle=False),
    "the last batch is short": lambda: shaken(batch_size=8, dataset=zoo.vectors(37)),
    "dataset that draws": lambda: shaken(dataset=Drawing()),
    "own generator": lambda: seeded_loader(zoo.vectors(), shuffle=True)(),
    "global generator": lambda: loader_of(zoo.vectors(), shuffle=True)(),
    "global generator, dataset that draws": loader_of(Drawing(), shuffle=True),
    "batch sampler with replacement": shared_generator,
    "sampler that draws": lambda: loader_of(zoo.vectors(), sampler=Wanderer())(),
    "iterable": lambda: shaken(dataset=Stream()),
    "iterable with a length": lambda: shaken(dataset=LongStream()),
}


@pytest.mark.parametrize("name", DATA)
def test_any_data(name: str, tmp_path: Path) -> None:
    # Inside the first epoch, before its last step, between two epochs, inside the second.
    check(DATA[name], tmp_path / "c.pt", stops=(2, 4, 5, 8), epochs=2)


WORKERS: dict[str, Callable[[], Recipe]] = {
    "map-style": lambda: seeded_loader(Drawing(), shuffle=True, num_workers=2)(),
    "global generator": lambda: loader_of(Drawing(), shuffle=True, num_workers=1)(),
    "iterable": lambda: loader_of(Stream(), num_workers=1)(),
}


@pytest.mark.parametrize("name", WORKERS)
def test_workers(name: str, tmp_path: Path) -> None:
    check(WORKERS[name], tmp_path / "c.pt", stops=(3, 5, 7), epochs=2)


@pytest.mark.parametrize("after", [3, 5, 7])
def test_persistent_workers(after: int, tmp_path: Path) -> None:
    def make() -> Recipe:
        generator = torch.Generator().manual_seed(5)
        options: dict[str, Any] = {"shuffle": True, "num_workers": 1, "persistent_workers": True}
        return shaken(dataset=DataLoader(zoo.vectors(), 4, generator=generator, **options))

    expected = plain.train_plainly(plain.seeded(make), steps=STEPS)
    found, notes = resumed(make, tmp_path / "c.pt", after=after, steps=STEPS, is_continued=after < 5)
    assert bool(notes) == (after >= 5) and all("persistent" in note for note in notes)
    plain.assert_same(expected.losses[after:], found.losses)
    plain.assert_same(expected.state, found.state)


# -------------------------------------------------------------------------------------------------- the step


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def plateau(optimizer: torch.optim.Optimizer) -> Any:
    return lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5, threshold=1e-1)


class Cosine:
    """A schedule with a state of its own."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, epoch: int) -> float:
        self.calls += 1
        return 1 / (1 + self.calls)


SCHEDULES: dict[str, Callable[[torch.optim.Optimizer], Any]] = {
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=STEPS),
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda epoch: 0.9**epoch),
    "LambdaLR with state": lambda o: lr_scheduler.LambdaLR(o, Cosine()),
    "MultiplicativeLR": lambda o: lr_scheduler.MultiplicativeLR(o, lambda epoch: 0.9),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [3, 6, 6, 9]),
    "StepLR": lambda o: lr_scheduler.StepLR(o, 3),
    "ConstantLR": lr_scheduler.ConstantLR,
    "LinearLR": lr_scheduler.LinearLR,
    "PolynomialLR": lr_scheduler.PolynomialLR,
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 8),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 4),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(o, 0.001, 0.1, 3, 4, cycle_momentum=False),
    "CyclicLR with a function": lambda o: lr_scheduler.CyclicLR(
        o, 0.001, 0.1, 3, 4, cycle_momentum=False, scale_fn=lambda x: 0.5**x
    ),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o), lr_scheduler.MultiStepLR(o, [2, 4])], [5]
    ),
    "ChainedScheduler": lambda o: lr_scheduler.ChainedScheduler(
        [lr_scheduler.LinearLR(o), lr_scheduler.LambdaLR(o, Cosine())]
    ),
    "SWALR": lambda o: torch.optim.swa_utils.SWALR(o, 0.05, anneal_epochs=6),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_any_schedule(name: str, tmp_path: Path) -> None:
    check(lambda: shaken(schedule=SCHEDULES[name]), tmp_path / "c.pt", stops=(6,))


@pytest.mark.parametrize("after", [2, 5, 7])
def test_a_plateau_knows_the_losses_of_its_epoch(after: int, tmp_path: Path) -> None:
    check(lambda: shaken(schedule=plateau, scheduler_unit="epoch"), tmp_path / "c.pt", stops=(after,), steps=21)


def lbfgs() -> Recipe:
    model = nn.Sequential(nn.Linear(zoo.FEATURES, 8), nn.Dropout(0.2), nn.BatchNorm1d(8), nn.Linear(8, zoo.CLASSES))
    options = {"lr": 0.1, "max_iter": 4, "line_search_fn": "strong_wolfe"}
    return zoo.classifier(model, optimizer=torch.optim.LBFGS(model.parameters(), **options))


def overflowing() -> Recipe:
    """The first steps are left out: the scale comes down."""
    model = nn.Sequential(nn.Linear(zoo.FEATURES, 8), nn.Dropout(0.2), nn.Linear(8, zoo.CLASSES))

    def loss(output: Tensor, target: Tensor) -> Tensor:
        return (output.float() - target[:, None]).square().mean() * 3

    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    return zoo.classifier(model, optimizer=optimizer, loss=loss, precision="fp16", batch_size=4)


def sparse() -> Recipe:
    recipe = zoo.sparse_embedding()
    return zoo.classifier(recipe.model, dataset=recipe.dataset, optimizer=recipe.optimizer, batch_size=4)  # type: ignore[arg-type]


class Gan(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, zoo.FEATURES))
        self.discriminator = nn.Sequential(nn.Linear(zoo.FEATURES, 8), nn.LeakyReLU(), nn.Linear(8, 1))


def gan(**fields: Any) -> Recipe:
    """The discriminator's loss reaches the generator too."""

    def fake(model: Any, batch: Any) -> Tensor:
        return model.discriminator(model.generator(torch.randn(len(batch[0]), 4)))

    def train_discriminator(model: Any, batch: Any) -> Tensor:
        real = model.discriminator(batch[0])
        return nn.functional.softplus(-real).mean() + nn.functional.softplus(fake(model, batch)).mean()

    def train_generator(model: Any, batch: Any) -> Tensor:
        return nn.functional.softplus(-fake(model, batch)).mean()

    model = Gan()
    d = torch.optim.Adam(model.discriminator.parameters(), lr=0.01)
    g = torch.optim.SGD(model.generator.parameters(), lr=0.02, momentum=0.5)
    return Recipe(
        model=model,
        dataset=zoo.vectors(),
        optimizer={"discriminator": d, "generator": g},
        training_step={"discriminator": train_discriminator, "generator": train_generator},
        scheduler={"generator": lr_scheduler.ExponentialLR(g, 0.9)},
        batch_size=4,
        **fields,
    )


class WeightedLoss(nn.Module):
    """A loss that is trained too."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(()))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        self.calls += 1
        scale = self.log_scale.exp() * (1 + 0.1 * self.calls)
        return nn.functional.cross_entropy(output, target) / scale + scale.log()


def trained_loss() -> Recipe:
    model, loss = zoo.mlp(), WeightedLoss()
    optimizer = torch.optim.Adam([*model.parameters(), *loss.parameters()], lr=0.01)
    return zoo.classifier(model, loss=loss, optimizer=optimizer, batch_size=4)


def tensor_beside_the_model() -> Recipe:
    model, scale = zoo.mlp(), torch.ones((), requires_grad=True)
    optimizer = torch.optim.Adam([*model.parameters(), scale], lr=0.01)
    loss = nn.CrossEntropyLoss()
    return zoo.classifier(
        model, optimizer=optimizer, batch_size=4, training_step=lambda m, b: loss(m(b[0]) * scale, b[1])
    )


def leaking_gradients() -> Recipe:
    """The first layer is in no optimizer: its gradients add up, and clipping sees them."""
    model = zoo.mlp()
    return zoo.classifier(model, optimizer=sgd(model[2]), clip_norm=0.1, batch_size=4)


def wide_state() -> Recipe:
    """bfloat16 weights with float32 state."""

    class Master(torch.optim.Optimizer):
        def __init__(self, parameters: Any) -> None:
            super().__init__(parameters, {"lr": 0.05})

        @torch.no_grad()
        def step(self, closure: Any = None) -> None:
            for parameter in self.param_groups[0]["params"]:
                state = self.state[parameter]
                master = state.setdefault("master", parameter.float())
                master -= self.param_groups[0]["lr"] * parameter.grad.float()
                parameter.copy_(master)

    model = zoo.mlp().bfloat16()
    loss = nn.CrossEntropyLoss()
    return zoo.classifier(
        model,
        optimizer=Master(model.parameters()),
        batch_size=4,
        training_step=lambda m, b: loss(m(b[0].bfloat16()), b[1]),
    )


STEPPED: dict[str, Callable[[], Recipe]] = {
    "accumulation": lambda: shaken(accumulate=2),
    "accumulation of an iterable": lambda: shaken(accumulate=3, dataset=Stream()),
    "manual gradients": lambda: shaken(zero_grad="manual", clip_norm=0.5),
    "bf16": lambda: shaken(precision="bf16"),
    "fp16": lambda: shaken(precision="fp16", clip_norm=0.1),
    "loss scale that comes down": overflowing,
    "LBFGS": lbfgs,
    "several optimizers": gan,
    "sparse": sparse,
    "trained loss": trained_loss,
    "tensor beside the model": tensor_beside_the_model,
    "gradients that nobody clears": leaking_gradients,
    "state in another dtype": wide_state,
    "bare tensors": zoo.bare_tensors,
    "lstm": zoo.lstm,
    "weight norm": zoo.weight_norm,
    "spectral norm": zoo.spectral_norm,
}


@pytest.mark.parametrize("name", STEPPED)
def test_any_step(name: str, tmp_path: Path) -> None:
    stops = (2, 4) if name == "several optimizers" else (2, 3)
    check(STEPPED[name], tmp_path / "c.pt", stops=stops, epochs=3)


@pytest.mark.parametrize(
    "name", ["Adadelta", "Adagrad", "Adamax", "ASGD", "NAdam", "RAdam", "RMSprop", "Rprop", "Adafactor"]
)
def test_any_optimizer(name: str, tmp_path: Path) -> None:
    def make() -> Recipe:
        model = zoo.mlp()
        return zoo.classifier(model, optimizer=getattr(torch.optim, name)(model.parameters(), lr=0.01))

    check(make, tmp_path / "c.pt", stops=(4,), steps=7)


# -------------------------------------------------------------------------------------------------- between the steps


def test_from_the_very_start(tmp_path: Path) -> None:
    check(shaken, tmp_path / "c.pt", stops=(0,), steps=3)


@pytest.mark.parametrize(
    "dataset", [Drawing(), Stream(), DataLoader(Drawing(), 4, sampler=Wanderer())], ids=["map", "iterable", "sampler"]
)
def test_a_batch_that_waits_for_its_next_forward(dataset: Any, tmp_path: Path) -> None:
    """A forward has failed after its batch was loaded: the same batch is used in the new session."""

    def make() -> Recipe:
        return shaken(dataset=dataset)

    with Session(plain.seeded(make)) as session:
        plain.train_observed(session, steps=2)
        handle = session.recipe.model.register_forward_pre_hook(lambda *_: 1 / 0)  # type: ignore[union-attr]
        with pytest.raises(UserCodeFailed, match="division by zero"):
            session.forward()
        handle.remove()
        session.save_checkpoint(tmp_path / "c.pt")
        expected = plain.train_observed(session, epochs=2)
    with Session(plain.seeded(make), seed=9) as session:
        session.load_checkpoint(tmp_path / "c.pt")
        found = plain.train_observed(session, epochs=2)
    plain.assert_same(expected.losses[2:], found.losses)
    plain.assert_same(expected.state, found.state)


class Failing(Dataset[tuple[Tensor, Tensor]]):
    """One sample cannot be loaded, once."""

    def __init__(self) -> None:
        self.fails = True

    def __len__(self) -> int:
        return zoo.SAMPLES

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        if i == 9 and self.fails:
            self.fails = False
            raise ValueError("not this time")
        return torch.full((zoo.FEATURES,), float(i)), torch.tensor(i % zoo.CLASSES)


class InTurn(Sampler[int]):
    """A sampler of one's own: whether there is another batch is found by asking for it."""

    def __iter__(self) -> Iterator[int]:
        return iter(range(zoo.SAMPLES))

    def __len__(self) -> int:
        return zoo.SAMPLES


@pytest.mark.parametrize("sampler", [None, InTurn()], ids=["torch's", "own"])
@pytest.mark.parametrize("tries", [1, 2])
def test_samples_that_could_not_be_loaded_come_again(sampler: Any, tries: int, tmp_path: Path) -> None:
    """Saved while they wait, or after they have come."""

    def make() -> Recipe:
        return shaken(dataset=DataLoader(Failing(), 4, sampler=sampler))

    with Session(plain.seeded(make)) as session:
        with pytest.raises(UserCodeFailed, match="not this time"):
            plain.train_observed(session, steps=4)
        for _ in range(tries - 1):
            session.next_batch()
        done = len(session.history)
        session.save_checkpoint(tmp_path / "c.pt")
        expected = plain.train_observed(session, epochs=2)
    recipe = plain.seeded(make)
    recipe.dataset.dataset.fails = False  # type: ignore[union-attr]
    with Session(recipe) as session:
        session.load_checkpoint(tmp_path / "c.pt")
        found = plain.train_observed(session, epochs=2)
    plain.assert_same(expected.losses[done:], found.losses)
    plain.assert_same(expected.state, found.state)


class Interrupted(IterableDataset[tuple[Tensor, Tensor]]):
    """Somebody interrupts while the third batch is made."""

    is_over = False

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for i in range(zoo.SAMPLES):
            if i == 9 and not self.is_over:
                self.is_over = True
                raise Unwind("interrupted")
            yield torch.full((zoo.FEATURES,), float(i)), torch.tensor(i % zoo.CLASSES)


def test_a_look_ahead_that_was_broken_off_ends_the_pass(tmp_path: Path) -> None:
    def make(dataset: Interrupted) -> Recipe:
        return shaken(dataset=dataset)

    with Session(plain.seeded(lambda: make(Interrupted()))) as session:
        with pytest.raises(Unwind):
            plain.train_observed(session, steps=4)
        while not session.is_between_batches:
            session.advance()
        done = len(session.history)
        session.save_checkpoint(tmp_path / "c.pt")
        expected = plain.train_observed(session, epochs=3)
    again = Interrupted()
    again.is_over = True
    with Session(plain.seeded(lambda: make(again))) as session:
        session.load_checkpoint(tmp_path / "c.pt")
        found = plain.train_observed(session, epochs=3)
    plain.assert_same(expected.losses[done:], found.losses)
    plain.assert_same(expected.state, found.state)


@pytest.mark.parametrize("name", ["shuffled", "sampler that draws", "iterable", "dataset that draws"])
@pytest.mark.parametrize("after", [2, 4, 9])
def test_a_batch_whose_backward_has_failed(name: str, after: int, tmp_path: Path) -> None:
    """Whether it is the last one of its epoch has been found out before."""
    with Session(plain.seeded(DATA[name])) as session:
        plain.train_observed(session, steps=after)
        # All windows have one batch: what fails here comes after the question.
        session.forward()
        session.loop.batches.is_last()
        session.loop.batches.is_last()
        handle = session.recipe.model.head.weight.register_hook(lambda _: 1 / 0)  # type: ignore[union-attr]
        with pytest.raises(UserCodeFailed):
            session.backward()
        handle.remove()
        session.save_checkpoint(tmp_path / "c.pt")
        expected = plain.train_observed(session, epochs=3)
    with Session(plain.seeded(DATA[name]), seed=9) as session:
        assert session.load_checkpoint(tmp_path / "c.pt").is_continued
        found = plain.train_observed(session, epochs=3)
    plain.assert_same(expected.losses[after:], found.losses)
    plain.assert_same(expected.state, found.state)


def test_edits_by_hand_go_on(tmp_path: Path) -> None:
    def edited(session: Session) -> Session:
        model = session.recipe.model
        assert isinstance(model, Shaken)
        model.body[2].p = 0.6
        model.body[1].eval()
        model.head.bias.requires_grad_(False)
        session.training.clip_norm = 0.2
        session.training.turns[0].optimizer.param_groups[0]["lr"] = 0.5
        return session

    with Session(plain.seeded(shaken)) as session:
        plain.train_observed(edited(session), steps=3)
        session.save_checkpoint(tmp_path / "c.pt")
        expected = plain.train_observed(session, steps=8)
    with Session(plain.seeded(shaken)) as session:
        session.load_checkpoint(tmp_path / "c.pt")
        found = plain.train_observed(session, steps=8)
    plain.assert_same(expected.losses[3:], found.losses)
    plain.assert_same(expected.state, found.state)


def test_back_in_the_same_session(tmp_path: Path) -> None:
    """The history is that of the steps before; saving and loading in between changes nothing."""
    with Session(plain.seeded(shaken)) as session:
        plain.train_observed(session, steps=4)
        session.save_checkpoint(tmp_path / "c.pt")
        first = plain.train_observed(session, steps=9)
        loaded = session.load_checkpoint(tmp_path / "c.pt")
        assert [record.step for record in session.history] == [0, 1, 2, 3] and loaded.position == session.position
        assert session.reports == {} and session.loop.batch is None
        second = plain.train_observed(session, steps=9)
    plain.assert_same_outcome(first, second)


def test_too_many_states_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "MOST_STATES", 1)
    with Session(plain.seeded(DATA["sampler that draws"])) as session:
        plain.train_observed(session, steps=4)
        session.save_checkpoint(tmp_path / "c.pt")
    with Session(plain.seeded(DATA["sampler that draws"])) as session:
        loaded = session.load_checkpoint(tmp_path / "c.pt")
        assert not loaded.is_continued and "draws random numbers as it goes" in loaded.notes[0]
        session.next_batch()


def test_the_best_weights_go_on(tmp_path: Path) -> None:
    def make() -> Recipe:
        return shaken(validation=zoo.vectors(), best_metric="loss")

    with Session(plain.seeded(make)) as session:
        plain.train_observed(session, epochs=1)
        session.save_checkpoint(tmp_path / "c.pt")
        assert session.best is not None
        saved = session.save_best(tmp_path / "best.pt")
        assert saved.size_bytes == (tmp_path / "best.pt").stat().st_size
        best = torch.load(tmp_path / "best.pt", weights_only=True)
        plain.assert_same(dict(best), dict(session.best.state_dict))
        expected = plain.train_observed(session, epochs=4)
        validations = [v.is_best for v in session.validations[1:]]
    with Session(plain.seeded(make)) as session:
        session.load_checkpoint(tmp_path / "c.pt")
        assert session.best is not None and session.best.step == 4
        plain.assert_same(dict(best), dict(session.best.state_dict))
        found = plain.train_observed(session, epochs=4)
        assert [v.is_best for v in session.validations] == validations
    plain.assert_same(expected.state, found.state)
