"""What is drawn in a step and not given to the model, draws that cut the gradient, pictures turned apart from their targets,
labels that are the blank, losses that scale the targets, marks of what is missing, momentum, gradients that are gone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Independent, LogNormal, Normal, kl_divergence
from torch.utils.data import Dataset

from gradscope import Recipe
from gradscope.engine.findings.record import Record
from gradscope.engine.findings.rules.output import how_to_weigh
from tests.engine.findings.sessions import recipe, said

N = 320


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


# ---------------------------------------------------------------------------------------------- noise that is asked for


def noisy(x: Tensor, noise: Tensor | None = None) -> Tensor:
    return 0.6 * x + 0.8 * (torch.randn_like(x) if noise is None else noise)


def by_function(model: Any, batch: Any, *, is_given: bool) -> Tensor:
    noise = torch.randn_like(batch[0])
    return F.mse_loss(model(noisy(batch[0], noise if is_given else None)), noise)


def by_hand(model: Any, batch: Any, *, is_given: bool) -> Tensor:
    x = batch[0]
    noise = torch.empty_like(x).normal_()
    spread = torch.rand(len(x), 1)
    given = x.clone()
    given.add_(noise * spread) if is_given else given.add_(torch.randn_like(x) * spread)
    return ((model(given) - noise).abs() / spread.clamp_min(0.1)).mean()


def in_places(model: Any, batch: Any, *, is_given: bool) -> Tensor:
    x, noise = batch[0].clone(), torch.randn(len(batch[0]), 4)
    x[:, :4] = noise if is_given else torch.randn(len(x), 4)
    return F.smooth_l1_loss(model(x)[:, :4], noise)


def by_functions_alone(model: Any, batch: Any, *, is_given: bool) -> Tensor:
    noise = torch.randn_like(batch[0])
    h = F.linear(noise if is_given else torch.randn_like(noise), model[0].weight, model[0].bias)
    return (F.linear(h.relu(), model[2].weight, model[2].bias) - noise).square().mean()


@pytest.mark.parametrize("step", [by_function, by_hand, in_places, by_functions_alone])
@pytest.mark.parametrize("is_given", [False, True])
def test_noise_that_the_model_is_asked_for_and_not_given(step: Any, is_given: bool) -> None:
    def own(model: Any, batch: Any) -> Tensor:
        return step(model, batch, is_given=is_given)

    model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 6))
    found = said(recipe(model, (torch.randn(N, 6),), step=own), "labels-unrelated", steps=41)
    assert found == ([] if is_given else [""])


def towards_a_prior(model: Any, batch: Any) -> Tensor:
    """Sorted, noise can be told: codes are to be spread like it."""
    code = model(batch[0])
    return F.mse_loss(code.sort(0)[0], torch.randn_like(code).sort(0)[0])


def with_noisy_targets(model: Any, batch: Any) -> Tensor:
    return F.mse_loss(model(batch[0]), batch[0] + torch.randn_like(batch[0]))


@pytest.mark.parametrize("step", [towards_a_prior, with_noisy_targets])
def test_targets_that_are_noise_in_part(step: Any) -> None:
    model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 6))
    assert said(recipe(model, (torch.randn(N, 6),), step=step), "labels-unrelated", steps=41) == []


# ---------------------------------------------------------------------------------------------- draws that cut


class Coder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enc = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4))
        self.dec = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 6))

    def forward(self, x: Tensor) -> Tensor:
        return self.dec(self.enc(x)[:, :2].repeat(1, 2))


def normal(h: Tensor) -> Any:
    return Normal(h[:, :2], F.softplus(h[:, 2:]) + 0.1)


def decoded(draw: Any) -> Any:
    def step(model: Any, batch: Any) -> Tensor:
        q = normal(model.enc(batch[0]))
        z = draw(q)
        loss = (model.dec(torch.cat([z, batch[0][:, :2]], 1)) - batch[0]).square().mean()
        return loss + 0.01 * kl_divergence(q, Normal(0.0, 1.0)).sum(1).mean()

    return step


def of_another_kind(model: Any, batch: Any) -> Tensor:
    h = model.enc(batch[0])
    z = Independent(LogNormal(h[:, :2], F.softplus(h[:, 2:])), 1).sample()
    return (model.dec(torch.stack([z, z], 1).flatten(1)) - batch[0]).square().mean() + 0.01 * h.square().mean()


def rewarded(model: Any, batch: Any) -> Tensor:
    """A critic is given the action as well; the actor learns by its log-probability."""
    q = normal(model.enc(batch[0]))
    action = q.sample()
    value = model.dec(action.repeat(1, 2)).mean(1)
    reward = -(action - batch[0][:, :2]).square().sum(1)
    return (value - reward).square().mean() - (q.log_prob(action).sum(1) * reward).mean()


def detached(model: Any, batch: Any) -> Tensor:
    h = model.enc(batch[0])
    goal = model.dec(normal(h).sample().repeat(1, 2)).detach()
    return (model(batch[0]) - goal).square().mean() + h.square().mean()


def fed_back(model: Any, batch: Any) -> Tensor:
    """A forecast goes on from what it has drawn, as it does when it is used."""
    x, loss = batch[0], torch.zeros(())
    for _ in range(3):
        q = normal(model.enc(x))
        loss = loss - q.log_prob(batch[0][:, :2]).mean() + model.dec(q.mean.repeat(1, 2)).square().mean()
        x = torch.cat([q.sample(), x[:, :4]], 1)
    return loss


@pytest.mark.parametrize(
    ("step", "places"),
    [
        (decoded(lambda q: q.sample()), ["enc.2"]),
        (of_another_kind, ["enc.2"]),
        (decoded(lambda q: q.rsample()), []),
        (decoded(lambda q: q.mean), []),
        (rewarded, []),
        (detached, []),
        (fed_back, []),
    ],
    ids=["sample", "log-normal", "rsample", "mean", "reward", "detached", "fed back"],
)
def test_a_draw_that_teaches_its_encoder_nothing(step: Any, places: list[str]) -> None:
    assert said(recipe(Coder(), (torch.randn(N, 6),), step=step), "gradient-cut", steps=6) == places


# ---------------------------------------------------------------------------------------------- the blank of CTC


def transcribed(blank: int, first: int, is_flat: bool) -> Any:
    def step(model: Any, batch: Any) -> Any:
        x, y = batch
        out = model(x).log_softmax(-1).transpose(0, 1)
        y, frames, labels = y + first, torch.full((len(x),), 12), torch.full((len(x),), 3)
        return F.ctc_loss(out, y.flatten() if is_flat else y, frames, labels, blank=blank)

    return step


@pytest.mark.parametrize("is_flat", [False, True])
@pytest.mark.parametrize(("blank", "first", "is_found"), [(0, 0, True), (2, 0, True), (0, 1, False), (4, 0, False)])
def test_labels_that_are_the_blank(blank: int, first: int, is_flat: bool, is_found: bool) -> None:
    data = torch.randn(N, 12, 4), torch.randint(0, 4, (N, 3))
    made = recipe(nn.Linear(4, 5), data, step=transcribed(blank, first, is_flat))
    assert said(made, "output-range") == ([""] if is_found else [])


# ---------------------------------------------------------------------------------------------- turned apart


class Pictures(Dataset[Any]):
    def __init__(self, way: Any) -> None:
        self.y = (F.avg_pool2d(torch.randn(64, 1, 12, 12), 5, 1, 2) > 0).float()
        self.x, self.way = self.y + torch.randn(64, 1, 12, 12), way

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> Any:
        return self.way(self.x[index], self.y[index])


def coin(x: Tensor, dim: int = -1) -> Tensor:
    return x.flip(dim) if torch.rand(()) < 0.5 else x


def rotated(x: Tensor, y: Tensor) -> Any:
    """As arrays, and the target alone."""
    return x, torch.from_numpy(np.rot90(y.numpy(), int(torch.randint(4, ())), (1, 2)).copy())


def together(x: Tensor, y: Tensor) -> Any:
    x, y = coin(coin(torch.cat([x, y])), -2).split(1)
    return x + 0.05 * torch.randn_like(x), y


def restored(x: Tensor, y: Tensor) -> Any:
    return coin(x), x


@pytest.mark.parametrize(
    ("way", "is_found"),
    [
        (lambda x, y: (coin(x), coin(y)), True),
        (lambda x, y: (coin(x, -2) + 0.05 * torch.randn_like(x), y), True),
        (rotated, True),
        (together, False),
        (restored, False),
        (lambda x, y: (x + 0.1 * torch.randn_like(x), y), False),
        (lambda x, y: (coin(x), y.mean().expand(1, 12, 12)), False),
    ],
    ids=["two coins", "the input alone", "the target alone", "together", "restored", "noise", "a number"],
)
def test_pictures_and_targets_that_are_turned_differently(way: Any, is_found: bool) -> None:
    made = recipe(nn.Conv2d(1, 1, 3, padding=1), Pictures(way), lambda out, y: (out - y).square().mean())
    assert said(made, "labels-unrelated", steps=4) == ([""] if is_found else [])


# ---------------------------------------------------------------------------------------------- losses that scale targets


@pytest.mark.parametrize(
    "loss",
    [
        lambda out, y: F.binary_cross_entropy_with_logits(out, y / 255),
        lambda out, y: F.mse_loss(out, y / 255),
        lambda out, y: (out - y.log1p()).square().mean(),
    ],
    ids=["masks", "scaled", "logarithm"],
)
def test_a_loss_that_scales_the_targets_itself(loss: Any) -> None:
    x = torch.randn(N, 6)
    y = 255 * (x[:, :1] > 0).float()
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1))
    assert said(recipe(model, (x, y), loss), "target-not-scaled", steps=40) == []


def test_targets_that_go_to_the_loss_as_they_are() -> None:
    x = torch.randn(N, 6)
    y = 255 + 255 * (x[:, :1] > 0).float()
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1))
    assert said(recipe(model, (x, y), F.mse_loss), "target-not-scaled", steps=40) == [""]


# ---------------------------------------------------------------------------------------------- marks of what is missing


def table(missing: float, share: float = 0.05) -> tuple[Tensor, Tensor]:
    """Standardised with the marks."""
    x = torch.randn(1024, 6)
    y = (x * torch.tensor([1.0, -2.0, 1.5, 1.0, 0.0, 0.0])).sum(1, keepdim=True)
    x = torch.where(torch.rand(x.shape) < share, missing, x)
    return (x - x.mean(0)) / x.std(0), y


def counted() -> tuple[Tensor, Tensor]:
    """Mostly zeros, as words that are counted."""
    x = (torch.rand(1024, 6) < 0.02).float()
    return x / x.std(), 3 * x.sum(1, keepdim=True) + torch.randn(1024, 1)


def with_a_long_tail() -> tuple[Tensor, Tensor]:
    x = torch.randn(1024, 6).exp()
    return (x - x.mean(0)) / x.std(0), x.sum(1, keepdim=True) / 10


@pytest.mark.parametrize(
    ("data", "places"),
    [
        (lambda: table(-9999.0), [""]),
        (lambda: table(1e6, 0.02), [""]),
        (lambda: table(0.0), []),
        (counted, []),
        (with_a_long_tail, []),
    ],
    ids=["-9999", "a million", "filled", "counts", "a long tail"],
)
def test_a_few_values_that_make_the_spread_of_a_column(data: Any, places: list[str]) -> None:
    model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 1))
    assert said(recipe(model, data(), F.mse_loss), "input-not-scaled", steps=64) == places


# ---------------------------------------------------------------------------------------------- momentum


@pytest.mark.parametrize(
    ("optimizer", "places"),
    [
        (lambda p: torch.optim.AdamW(p, 1e-2, betas=(0.999, 0.9)), [""]),
        (lambda p: torch.optim.SGD(p, 1e-2, momentum=0.999), [""]),
        (lambda p: torch.optim.Adam(p, 1e-2, betas=(0.5, 0.9)), []),
        (lambda p: torch.optim.SGD(p, 1e-3, momentum=0.99, nesterov=True), []),
        (lambda p: torch.optim.SGD(p, 1e-4, momentum=0.995), []),
    ],
    ids=["betas exchanged", "a digit too many", "a GAN's betas", "0.99", "a rate made for it"],
)
def test_steps_that_go_on_for_hundreds_of_steps(optimizer: Any, places: list[str]) -> None:
    x = torch.randn(1024, 6)
    model = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 1))
    data = (x, 2 * x[:, :1] - x[:, 1:2])
    made = recipe(model, data, F.mse_loss)
    made = Recipe(
        model=model, dataset=made.dataset, loss=F.mse_loss, optimizer=optimizer(model.parameters()), batch_size=16
    )
    assert said(made, "momentum-too-high", steps=64) == places


# ---------------------------------------------------------------------------------------------- gradients that are gone


class Cleared(torch.optim.SGD):
    """As a loop that has zero_grad() between backward() and step()."""

    def step(self, closure: Any = None) -> Any:
        self.zero_grad()
        return super().step(closure)


@pytest.mark.parametrize(
    ("optimizer", "is_found"),
    [
        (lambda p: Cleared(p, 0.1, momentum=0.9), True),
        (lambda p: torch.optim.SGD(p, 0.1), False),
        (lambda p: torch.optim.SGD(p, 1e-12), False),
    ],
    ids=["cleared", "as usual", "rounded away"],
)
def test_gradients_that_are_gone_when_the_optimizer_steps(optimizer: Any, is_found: bool) -> None:
    x = torch.randn(N, 6)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))
    made = recipe(model, (x, x[:, :3].argmax(1)))
    made = Recipe(
        model=model, dataset=made.dataset, loss=made.loss, optimizer=optimizer(model.parameters()), batch_size=16
    )
    assert said(made, "not-reached") == (["0"] if is_found else [])


# ---------------------------------------------------------------------------------------------- weights of classes


def test_weights_of_classes_that_are_the_wrong_way_round_are_said() -> None:
    def line(weight: Tensor | None) -> str:
        return how_to_weigh(Record(loss_function=nn.CrossEntropyLoss(weight=weight)), frequent=0, rare=2, times=17)

    assert "wrong way round" in line(torch.tensor([0.85, 0.1, 0.05]))
    assert line(torch.tensor([0.4, 1.0, 2.0])) == line(None) == "Weigh class 2 by about 17, or sample evenly."
