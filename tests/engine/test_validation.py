"""Validation: means as a plain loop computes them, and a training that does not know of it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import plain
import pytest
import torch
import zoo
from torch import Tensor, nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from gradscope import Recipe, Session
from gradscope.protocol.failure import BadInput, UserCodeFailed
from gradscope.protocol.phases import Phase, Rest, SubStep


class Noisy(Dataset[tuple[Tensor, Tensor]]):
    """Augments with every global generator."""

    def __len__(self) -> int:
        return 11

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        noise = torch.randn(zoo.FEATURES) + random.random() + float(np.random.rand())
        return noise, torch.tensor(i % zoo.CLASSES)


class Restless(nn.Module):
    """Changes a buffer in every forward, in eval mode too, and draws a random number."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(zoo.FEATURES, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, zoo.CLASSES)
        )
        self.register_buffer("calls", torch.zeros(()))
        self.layers[2].eval()

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.layers(x + 0.01 * torch.rand(1))


def accuracy(output: Tensor, target: Tensor) -> Tensor:
    return (output.argmax(1) == target).double().mean()


def restless(**fields: Any) -> Recipe:
    model = Restless()
    return zoo.classifier(
        model,
        optimizer=zoo.adam(model),
        validation=Noisy(),
        metrics={"accuracy": accuracy, "largest": lambda output, target: float(output.max())},
        batch_size=4,
        **fields,
    )


@pytest.mark.parametrize("fields", [{}, {"precision": "bf16"}, {"accumulate": 2, "clip_norm": 0.1}])
def test_training_does_not_know_of_it(fields: dict[str, Any]) -> None:
    def plainly() -> Recipe:
        return replace(restless(**fields), validation=None, metrics={})

    expected = plain.train_plainly(plain.seeded(plainly), epochs=3)
    with Session(plain.seeded(lambda: restless(**fields))) as session:
        found = plain.train_observed(session, epochs=3)
        assert [v.epoch for v in session.validations] == [0, 1, 2]
        assert [v.step for v in session.validations] == [
            record.step
            for record, after in zip(session.history, [*session.history[1:], None], strict=True)
            if after is None or after.epoch > record.epoch
        ]
    plain.assert_same_outcome(expected, found)


def test_on_demand_in_any_place() -> None:
    expected = plain.train_plainly(plain.seeded(lambda: replace(restless(), validation=None, metrics={})), steps=7)
    with Session(plain.seeded(restless)) as session:
        first = session.validate()
        assert first.step == -1 and first.batches == 3 and first.samples == 11
        while session.position.step < 7:
            flags = [module.training for module in session.recipe.model.modules()]  # type: ignore[union-attr]
            session.advance()
            session.validate()
            assert flags == [module.training for module in session.recipe.model.modules()]  # type: ignore[union-attr]
        # Also in the middle of a step: the graph that waits for its backward is whole.
        assert {v.step for v in session.validations} == set(range(-1, 7))
        found = plain.outcome_of(session)
    plain.assert_same(expected.state, found.state)


def test_the_numbers() -> None:
    data = zoo.vectors(11)

    def make() -> Recipe:
        model = nn.Sequential(nn.Linear(zoo.FEATURES, 8), nn.Dropout(0.5), nn.Linear(8, zoo.CLASSES))
        return zoo.classifier(model, validation=data, metrics={"accuracy": accuracy}, batch_size=4)

    with Session(plain.seeded(make)) as session:
        plain.train_observed(session, epochs=1)
        model = session.recipe.model
        assert isinstance(model, nn.Module)
        model.eval()
        with torch.no_grad():
            output = model(data.tensors[0])
            loss = nn.functional.cross_entropy(output, data.tensors[1])
        model.train()
        (found,) = session.validations
    assert found.loss == pytest.approx(float(loss), rel=1e-6)
    assert found.metrics["accuracy"] == pytest.approx(float(accuracy(output, data.tensors[1])))
    assert (found.batches, found.samples) == (3, 11) and found.seconds > 0


def test_reduce_on_plateau_with_a_validation_metric() -> None:
    seen = []

    class Plateau(lr_scheduler.ReduceLROnPlateau):
        def step(self, metrics: Any, epoch: Any = None) -> None:
            seen.append(metrics)
            super().step(metrics)

    def make(metric: str) -> Recipe:
        recipe = restless()
        scheduler = Plateau(recipe.optimizer, patience=0)  # type: ignore[arg-type]
        return replace(recipe, scheduler=scheduler, scheduler_unit="epoch", scheduler_metric=metric)

    for metric in ("accuracy", "loss", "train_loss"):
        seen.clear()
        with Session(plain.seeded(lambda metric=metric: make(metric))) as session:
            plain.train_observed(session, epochs=2)
            if metric == "train_loss":
                epochs = [[r.loss for r in session.history if r.epoch == epoch] for epoch in (0, 1)]
                assert seen == [sum(losses) / len(losses) for losses in epochs]
            else:
                assert seen == [validation.value(metric) for validation in session.validations]


def test_the_best_weights_are_kept() -> None:
    def make() -> Recipe:
        return restless(best_metric="accuracy", best_mode="max")

    with Session(plain.seeded(make)) as session:
        states = []
        for _ in range(4):
            plain.train_observed(session, epochs=session.position.epoch + 1)
            states.append({k: v.clone() for k, v in session.recipe.model.state_dict().items()})  # type: ignore[union-attr]
        values = [v.metrics["accuracy"] for v in session.validations]
        best = values.index(max(values))
        assert session.best is not None and session.best.value == max(values) and session.best.epoch == best
        plain.assert_same(session.best.state_dict, states[best])
        assert [v.is_best for v in session.validations] == [
            value > max(values[:i], default=-1) for i, value in enumerate(values)
        ]


def test_a_step_of_its_own_and_an_own_loader() -> None:
    class Stream(IterableDataset[dict[str, Tensor]]):
        def __iter__(self) -> Iterator[dict[str, Tensor]]:
            for i in range(5):
                yield {"x": torch.full((zoo.FEATURES,), float(i)), "y": torch.tensor(0)}

    def step(model: Any, batch: Any) -> tuple[Tensor, Tensor]:
        assert not model.training and not torch.is_grad_enabled()
        output = model(batch["x"])
        return output.mean(), output

    def make() -> Recipe:
        return zoo.classifier(
            zoo.mlp(),
            validation=DataLoader(Stream(), batch_size=2),
            validation_step=step,
            metrics={"first": lambda output, batch: batch["x"][0, 0]},
        )

    with Session(plain.seeded(make)) as session:
        found = session.validate()
        assert found.metrics["first"] == pytest.approx((0 * 2 + 2 * 2 + 4 * 1) / 5)
        assert found.samples == 5


def test_the_station_is_passed() -> None:
    with Session(plain.seeded(restless)) as session:
        assert SubStep.VALIDATE in session.info.substeps and session.info.metrics == ("accuracy", "largest")
        for i in range(5):
            report = session.next_batch()[-1]
            places = [session.observer.tables.places.rows[n].substep for n in report.raw.places]
            assert (SubStep.VALIDATE in places) == (i == 4)
            # Buffers are looked at once more where the model has run.
            kinds = {"parameter", "update", "optimizer_state"} | ({"buffer"} if i == 4 else set())
            assert {s.kind for s in report.subjects} == kinds


def test_failures() -> None:
    def bad(output: Tensor, target: Tensor) -> Tensor:
        raise ValueError("no such thing")

    with Session(plain.seeded(lambda: restless())) as session:
        session.recipe.metrics["bad"] = bad  # type: ignore[index]
        before = plain.state_of(session.recipe)
        with pytest.raises(UserCodeFailed, match="The validation failed: ValueError: no such thing") as caught:
            session.validate()
        assert caught.value.failure.undone == "Training is as before"
        plain.assert_same(before, plain.state_of(session.recipe))
        for _ in range(4):
            session.next_batch()
        session.forward()
        session.backward()
        before = plain.state_of(session.recipe)
        with pytest.raises(UserCodeFailed, match="The validation of step 4 failed"):
            session.step()
        plain.assert_same(before, plain.state_of(session.recipe))
        assert session.position.rest is Rest.BACKWARD
        session.recipe.metrics["bad"] = lambda output, target: output  # type: ignore[index]
        with pytest.raises(UserCodeFailed, match="the metric 'bad' is a Tensor; expected one number"):
            session.validate()
        del session.recipe.metrics["bad"]  # type: ignore[attr-defined]
        session.step()
        assert len(session.validations) == 1


def test_nothing_to_validate_with() -> None:
    with Session(plain.seeded(zoo.plain_mlp)) as session, pytest.raises(BadInput, match="nothing to validate with"):
        session.validate()
    with pytest.raises(BadInput, match="The validation dataset gives no batch"):
        Session(plain.seeded(lambda: zoo.classifier(zoo.mlp(), validation=[])))


class Padded(nn.Module):
    """torch runs its encoder as one kernel in eval mode, unless there are hooks; that rounds differently."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, zoo.CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        padding = torch.arange(x.shape[1]) >= torch.arange(1, len(x) + 1)[:, None] * 4
        return self.head(self.encoder(x, src_key_padding_mask=padding).mean(1))


def padded() -> Recipe:
    def data() -> TensorDataset:
        return TensorDataset(torch.randn(12, 40, 16), torch.randint(0, zoo.CLASSES, (12,)))

    return zoo.classifier(Padded(), dataset=data(), validation=data(), shuffle=False)


def validated_plainly(recipe: Recipe) -> float:
    model, total, states = recipe.model, 0.0, torch.get_rng_state()
    assert isinstance(model, nn.Module)
    model.eval()
    with torch.no_grad():
        for x, y in DataLoader(recipe.validation, recipe.batch_size):
            total += recipe.loss(model(x), y).double() * len(y)
    model.train()
    torch.set_rng_state(states)
    return float(total / len(recipe.validation))


def test_the_numbers_are_those_of_a_model_without_hooks() -> None:
    plainly = plain.seeded(padded)
    expected = [validated_plainly(plainly)]
    for _ in range(2):
        plain.train_plainly(plainly, epochs=1)
        expected.append(validated_plainly(plainly))
    with Session(plain.seeded(padded)) as session:
        found = [session.validate().loss]
        while session.position.epoch < 2:
            session.advance()
        found += [validation.loss for validation in session.validations[1:]]
        assert found == expected
        # Training is seen as before.
        session.next_batch()
        assert session.reports[Phase.FORWARD].get("activation", "encoder.layers.0.linear1") is not None
    expected_hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in plainly.model.modules()]
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in session.recipe.model.modules()] == expected_hooks


def test_the_users_hooks_stay_and_keep_their_order() -> None:
    """Ours are off during a validation, and back at their places; what the validation has added is gone again."""
    recipe = restless()
    order: list[str] = []
    recipe.model.register_forward_hook(lambda *_: order.append("before"))
    with Session(recipe) as session:
        recipe.model.register_forward_hook(lambda *_: order.append("after"))
        hooks = recipe.model._forward_hooks
        seen = [list(hooks), list(recipe.model._forward_pre_hooks)]

        def add(module: nn.Module, args: Any, output: Any) -> None:
            if len(hooks) == 3:
                # In the validation there are three without ours.
                module.register_forward_hook(lambda *_: order.append("meanwhile"))

        recipe.model.register_forward_hook(add)
        seen[0] = list(hooks)
        session.validate()
        assert list(hooks) == seen[0]
        assert list(recipe.model._forward_pre_hooks) == seen[1]
        order.clear()
        report = session.forward()
        assert order == ["before", "after"]
        assert report.get("activation", "") is not None
    assert len(hooks) == 3


def test_a_validation_that_fails_leaves_the_hooks_in_place() -> None:
    recipe = restless(validation_step=lambda model, batch: 1 / 0)
    with Session(recipe) as session:
        with pytest.raises(UserCodeFailed):
            session.validate()
        assert session.forward().get("activation", "layers.0") is not None
