"""A plain script reproduces a session bit for bit: parameters, buffers, losses, rates, optimizer and random states."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import plain
import pytest
import torch
import zoo
from torch import Tensor
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from gradscope import Recipe, Session, load_recipe
from gradscope.assets import sample_paths


def check(make: Callable[[], Recipe], *, seed: int = 0, epochs: int = 3, steps: int | None = None) -> plain.Outcome:
    expected = plain.train_plainly(plain.seeded(make, seed), seed=seed, epochs=epochs, steps=steps)
    with Session(plain.seeded(make, seed), seed=seed) as session:
        found = plain.train_observed(session, epochs=epochs, steps=steps)
    plain.assert_same_outcome(expected, found)
    return found


@pytest.mark.parametrize("capture", ["full", "layers:*", "norms", "off"])
@pytest.mark.parametrize("path", sample_paths(), ids=lambda path: path.stem)
def test_a_plain_script_reproduces_the_sample(path: Path, capture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seed = 3
    recipe = load_recipe(path, seed)
    with Session(recipe, capture=capture) as session:
        assert session.seed == seed
        length = session.info.batches_per_epoch
        assert length is not None
        # Into the second epoch; a few steps at the cheaper levels.
        steps = ((length + 2) if capture == "full" else 6) * len(recipe.optimizers)
        found = plain.train_observed(session, steps=steps)
        assert session.position.epoch >= (1 if capture == "full" else 0)

    monkeypatch.syspath_prepend(path.parent)
    plain.seed_all(seed)
    namespace = {"__name__": "plain_script", "__file__": str(path)}
    exec(compile(path.read_text("utf-8"), str(path), "exec"), namespace)
    expected = plain.train_plainly(namespace["recipe"](), seed=seed, steps=steps)
    plain.assert_same_outcome(expected, found)


@pytest.mark.parametrize("samples", [16, 19], ids=["divisible", "with a rest"])
@pytest.mark.parametrize("shuffle", [True, False])
def test_order_of_the_data(samples: int, shuffle: bool) -> None:
    found = check(lambda: zoo.classifier(zoo.mlp(), dataset=zoo.vectors(samples), shuffle=shuffle))
    assert len(found.losses) == 3 * -(-samples // zoo.BATCH)


def test_seed_other_than_0() -> None:
    assert check(zoo.batchnorm_dropout_conv, seed=12345).losses != check(zoo.batchnorm_dropout_conv).losses


class Stream(IterableDataset[tuple[Tensor, Tensor]]):
    """No length; draws from torch's global generator as it goes."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for label in range(20):
            yield torch.randn(zoo.FEATURES), torch.tensor(label % zoo.CLASSES)


class FixedStream(Stream):
    """No length, and nothing at random."""

    def __init__(self) -> None:
        self.samples = list(super().__iter__())

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(self.samples)


def per_epoch(dataset: Callable[[], Dataset[object]], **options: object) -> Recipe:
    model = zoo.mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = lr_scheduler.ExponentialLR(optimizer, 0.5)
    return zoo.classifier(
        model, dataset=dataset(), optimizer=optimizer, scheduler=scheduler, scheduler_unit="epoch", **options
    )


@pytest.mark.parametrize("dataset", [Stream, FixedStream])
def test_iterable_without_length_with_a_scheduler_per_epoch(dataset: Callable[[], Dataset[object]]) -> None:
    found = check(lambda: per_epoch(dataset))
    assert [rate for (rate,) in found.rates] == [0.1] * 3 + [0.05] * 3 + [0.025] * 3


def test_iterable_broken_off_in_the_middle_of_an_epoch() -> None:
    check(lambda: per_epoch(FixedStream), steps=5)


def test_an_ordinary_iterable_is_a_dataset_too() -> None:
    class Pairs:
        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            return iter(samples)

    samples = [(torch.full((zoo.FEATURES,), float(i)), torch.tensor(i % 3)) for i in range(10)]
    with Session(plain.seeded(lambda: zoo.classifier(zoo.mlp(), dataset=Pairs()))) as session:
        found = plain.train_observed(session, epochs=2)
    as_list = plain.seeded(lambda: zoo.classifier(zoo.mlp(), dataset=samples, shuffle=False))
    plain.assert_same_outcome(plain.train_plainly(as_list, epochs=2), found)


class LyingStream(FixedStream):
    """Announces more than there is."""

    def __len__(self) -> int:
        return 1000


@pytest.mark.filterwarnings("ignore:Length of IterableDataset")
def test_an_iterable_shorter_than_it_says_ends_its_epoch_when_it_is_empty() -> None:
    found = check(lambda: per_epoch(LyingStream))
    assert len(found.losses) == 9


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("own_generator", [True, False])
def test_a_ready_loader_is_used_as_it_is(own_generator: bool, workers: int) -> None:
    def make() -> Recipe:
        generator = torch.Generator().manual_seed(99) if own_generator else None
        loader = DataLoader(zoo.vectors(), 6, shuffle=True, drop_last=True, generator=generator, num_workers=workers)
        return zoo.classifier(zoo.mlp(), dataset=loader)

    check(make, epochs=2 if workers else 3)


@pytest.mark.parametrize("unit", ["step", "epoch"])
def test_scheduler_unit(unit: str) -> None:
    def make() -> Recipe:
        model = zoo.mlp()
        optimizer = torch.optim.SGD(
            [{"params": model[0].parameters(), "lr": 0.2}, {"params": model[2].parameters()}], lr=0.1
        )
        return zoo.classifier(
            model, optimizer=optimizer, scheduler=lr_scheduler.StepLR(optimizer, 2, 0.5), scheduler_unit=unit
        )

    found = check(make)
    changes = [i for i, (old, new) in enumerate(zip(found.rates, found.rates[1:], strict=False), 1) if old != new]
    assert changes == ([2, 4, 6, 8] if unit == "step" else [6])


def test_reduce_on_plateau_gets_the_mean_of_the_epochs_losses() -> None:
    def make() -> Recipe:
        model = zoo.mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
        return zoo.classifier(model, optimizer=optimizer, scheduler=scheduler, scheduler_unit="epoch")

    assert len({rate for (rate,) in check(make, epochs=8).rates}) > 1


class Augmented(Dataset[tuple[Tensor, Tensor]]):
    """Draws from all three generators for every sample."""

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        noise = torch.from_numpy(np.random.rand(zoo.FEATURES)).float() + random.random() + torch.rand(())
        return noise, torch.tensor(index % zoo.CLASSES)


def test_random_numbers_drawn_by_the_users_dataset() -> None:
    check(lambda: zoo.classifier(zoo.mlp(), dataset=Augmented()))


def test_collate_and_a_training_step_that_returns_loss_and_output() -> None:
    def collate(samples: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        return {"x": torch.stack([x for x, _ in samples]), "y": torch.stack([y for _, y in samples])}

    def step(model: torch.nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        output = model(batch["x"])
        return torch.nn.functional.cross_entropy(output, batch["y"]), output

    check(lambda: zoo.classifier(zoo.mlp(), loss=None, collate=collate, training_step=step))


def test_a_dict_of_bare_tensors() -> None:
    check(zoo.bare_tensors)


def test_a_model_left_in_eval_mode_is_trained_in_train_mode() -> None:
    check(lambda: zoo.classifier(zoo.batchnorm_dropout_conv().model.eval(), dataset=zoo_images()))


def zoo_images() -> TensorDataset:
    return TensorDataset(torch.randn(20, 1, 4, 4), torch.randint(0, zoo.CLASSES, (20,)))


def test_two_sessions_one_after_the_other_do_not_disturb_each_other() -> None:
    assert check(zoo.lstm).losses == check(zoo.lstm).losses
