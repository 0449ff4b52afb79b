"""A dropout behind the output, a step function on the way of a gradient, logits that are cosines, classes picked along the
wrong dimension, a rate of 0: where they are told, and the nearest trainings in which nothing is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradscope import Recipe
from gradscope.engine.findings.experiments.additivity import find_linear
from gradscope.protocol.findings import Severity
from tests.engine.findings.plain_bench import PlainBench
from tests.engine.findings.sessions import recipe, said
from tests.engine.findings.test_function_watch import Apply, Watched


def rows(count: int = 96, classes: int = 3) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    x = torch.randn(count, 6)
    return x, (x @ torch.randn(6, classes)).argmax(1)


def numbers() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    x = torch.randn(96, 6)
    return x, x[:, :1] - 2 * x[:, 1:2] + 5


def net(*layers: nn.Module) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), *layers)


# ---------------------------------------------------------------------------------------------- dropout behind the output


def focal(out: Tensor, y: Tensor) -> Tensor:
    logs = F.log_softmax(out, 1).gather(1, y[:, None])
    return (-((1 - logs.exp()) ** 2) * logs).mean()


@pytest.mark.parametrize(
    ("model", "data", "loss", "place"),
    [
        (lambda: net(nn.Linear(16, 3), nn.Dropout(0.5)), rows, F.cross_entropy, "3"),
        (lambda: net(nn.Linear(16, 3), nn.Dropout(0.4)), rows, focal, "3"),
        (lambda: net(nn.Linear(16, 3), nn.Dropout(0.5), nn.LogSoftmax(1)), rows, F.nll_loss, "3"),
        (lambda: net(nn.Linear(16, 1), nn.Dropout(0.3), nn.Flatten()), numbers, lambda o, y: (o - y).abs().mean(), "3"),
    ],
)
def test_a_dropout_behind_the_last_layer_is_placed(
    model: Callable[[], nn.Module], data: Callable[[], Any], loss: Any, place: str
) -> None:
    assert said(recipe(model(), data(), loss), "dropout-on-output") == [place]


class Residual(nn.Module):
    """The dropout is of a branch, which the way past it is added to, in place or not."""

    def __init__(self, *, in_place: bool) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first, self.branch, self.drop, self.in_place = nn.Linear(6, 3), nn.Linear(3, 3), nn.Dropout(0.3), in_place

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        h: Tensor = self.drop(self.branch(torch.relu(x)))
        if not self.in_place:
            return h + x
        shown = h.view(-1, 3)
        h += x
        return shown


def consistency(model: Any, batch: Any) -> Any:
    """Two noisy looks at the same features are to agree, as in a distillation."""
    x, y = batch
    h = model[:3](x)
    teacher = model[:2](x).detach()
    return F.cross_entropy(model[3:](h), y) + F.mse_loss(h, teacher)


@pytest.mark.parametrize(
    "given",
    [
        lambda: recipe(net(nn.Dropout(0.5), nn.Linear(16, 3)), rows()),
        lambda: recipe(net(nn.Linear(16, 3), nn.Dropout(0.0)), rows()),
        lambda: recipe(net(nn.Dropout(0.3), nn.Linear(16, 3)), rows(), step=consistency),
        lambda: recipe(net(nn.Linear(16, 3), nn.Dropout(0.5)).eval(), rows(), step=in_eval),
        lambda: recipe(Residual(in_place=False), rows()),
        lambda: recipe(Residual(in_place=True), rows()),
    ],
)
def test_noise_before_the_last_layer_and_in_features_is_silent(given: Callable[[], Recipe]) -> None:
    assert said(given(), "dropout-on-output") == []


def in_eval(model: Any, batch: Any) -> Any:
    return F.cross_entropy(model.eval()(batch[0]), batch[1])


# ---------------------------------------------------------------------------------------------- step functions


class Coded(nn.Module):
    """An encoder, a function of its code, and a head; `beside`: the code itself goes to the head, too."""

    def __init__(self, code: Callable[[Tensor], Tensor], *, beside: bool = False) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.code, self.beside = code, beside
        self.encoder = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 8))
        self.head = nn.Linear(16 if beside else 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.encoder(x)
        code = self.code(h)
        return self.head(torch.cat([code, h], 1) if self.beside else code)


@pytest.mark.parametrize(
    "code", [lambda h: torch.sigmoid(h).round(), torch.sign, lambda h: torch.floor(4 * h) / 4, lambda h: h.ceil_()]
)
def test_a_step_on_the_way_of_the_gradient_is_told_at_what_does_not_learn(code: Callable[[Tensor], Tensor]) -> None:
    assert said(recipe(Coded(code), rows()), "not-reached") == ["encoder"]


@pytest.mark.parametrize(
    "model",
    [
        lambda: Coded(lambda h: h + (h.round() - h).detach()),
        lambda: Coded(lambda h: torch.sign(h), beside=True),
        lambda: Coded(lambda h: torch.sign(h) * h.abs().sqrt()),
        lambda: Coded(lambda h: h - h.floor()),
    ],
)
def test_a_step_that_gradients_get_past_is_silent(model: Callable[[], nn.Module]) -> None:
    assert said(recipe(model(), rows()), "not-reached") == []


class Helped(nn.Module):
    """A second head, which helps the first one later."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.body, self.head, self.second = nn.Linear(6, 16), nn.Linear(16, 3), nn.Linear(16, 3)
        self.hits = 0.0

    def loss(self, batch: Any) -> Tensor:
        x, y = batch
        h = torch.relu(self.body(x))
        helped = self.second(h)
        self.hits += float((helped.sigmoid().round().argmax(1) == y).sum())
        return F.cross_entropy(self.head(h), y) + 0.0 * F.cross_entropy(helped, y)


def test_a_part_whose_loss_weighs_nothing_yet_is_not_cut_off_by_how_its_hits_are_counted() -> None:
    assert said(recipe(Helped(), rows(), step=lambda model, batch: model.loss(batch)), "not-reached") == []


# ---------------------------------------------------------------------------------------------- cosines as logits


class Metric(nn.Module):
    """Unit vectors against those of the classes; `scale` makes logits of the cosines."""

    def __init__(self, scale: Callable[[Any, Tensor], Tensor], cosine: str = "linear") -> None:
        super().__init__()
        torch.manual_seed(3)
        self.body = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 8))
        self.classes, self.log_scale = nn.Parameter(torch.randn(3, 8)), nn.Parameter(torch.zeros(()))
        self.scale, self.cosine = scale, cosine

    def forward(self, x: Tensor) -> Tensor:
        z, c = self.body(x), self.classes
        if self.cosine == "pairs":
            return self.scale(self, F.cosine_similarity(z[:, None], c[None], dim=-1))
        if self.cosine == "by hand":
            z, c = z / z.norm(dim=1, keepdim=True).clamp(min=1e-6), c / c.norm(dim=1, keepdim=True)
            return self.scale(self, torch.einsum("nd,cd->nc", z, c))
        if self.cosine == "with a bias":
            z, c = F.normalize(z, dim=1), F.normalize(c, dim=1)
            return self.scale(self, F.linear(z, c, bias=self.classes[:, 0]))
        if self.cosine == "one side":
            return self.scale(self, z @ F.normalize(c, dim=1).T)
        if self.cosine == "wrong side":
            # Columns of length 1: the rows that meet in the product may be longer.
            return self.scale(self, F.normalize(z, dim=0) @ F.normalize(c, dim=1).T)
        return self.scale(self, F.linear(F.normalize(z, dim=1), F.normalize(c, dim=1)))


def times(factor: float) -> Callable[[Any, Tensor], Tensor]:
    return lambda model, cosines: cosines * factor


@pytest.mark.parametrize(
    "model",
    [
        lambda: Metric(times(0.07)),
        lambda: Metric(lambda model, cosines: cosines.div_(20.0), "pairs"),
        lambda: Metric(lambda model, cosines: torch.tensor(0.1) * cosines, "by hand"),
    ],
)
def test_cosines_times_a_small_number_are_told(model: Callable[[], nn.Module]) -> None:
    assert said(recipe(model(), rows()), "logits-too-narrow") != []


@pytest.mark.parametrize(
    "model",
    [
        lambda: Metric(times(1 / 0.07)),
        lambda: Metric(times(1.0)),
        lambda: Metric(lambda model, cosines: cosines * 0.05 * model.log_scale.exp()),
        lambda: Metric(lambda model, cosines: cosines * 0.05 + 3 * model.classes[:, 0]),
        lambda: Metric(times(0.07), "one side"),
        lambda: Metric(times(0.07), "wrong side"),
        lambda: Metric(times(0.07), "with a bias"),
    ],
)
def test_temperatures_that_leave_room_and_what_may_grow_are_silent(model: Callable[[], nn.Module]) -> None:
    assert said(recipe(model(), rows()), "logits-too-narrow") == []


# ---------------------------------------------------------------------------------------------- picked along another one

X = torch.linspace(-2, 2, 48).reshape(8, 6)
CLASSES = torch.arange(8) % 3


@pytest.mark.parametrize(
    ("loss", "is_wrong"),
    [
        (lambda p: -p.log_softmax(0).gather(1, CLASSES[:, None]).mean(), True),
        (lambda p: -p.softmax(dim=0).gather(1, CLASSES[:, None]).log().mean(), True),
        (lambda p: -p.log_softmax(1).gather(1, CLASSES[:, None]).mean(), False),
        # One position for all classes, and the diagonal of a square.
        (lambda p: -p.log_softmax(1).gather(0, torch.full((1, 3), 2)).mean(), False),
        (lambda p: -(p @ p.T).log_softmax(0).gather(1, torch.arange(8)[:, None]).mean(), False),
        # The best places of each class.
        (lambda p: -p.softmax(1).gather(0, p.argsort(0, descending=True)[:2]).mean(), False),
        (lambda p: -p.log_softmax(1).gather(0, p.detach().max(0, keepdim=True).indices.clone()).mean(), False),
    ],
)
def test_classes_are_picked_along_the_dimension_of_their_softmax(
    loss: Callable[[Tensor], Tensor], is_wrong: bool
) -> None:
    record = Watched(nn.Linear(6, 3)).run(X, loss)
    assert bool(record.softmaxes) == is_wrong
    assert all(use.is_pick and (use.dim, use.contracted) == (0, 1) for use in record.softmaxes)


def test_weights_that_a_model_picks_positions_of_are_its_own_business() -> None:
    model = Apply(lambda own, x: own.out(x).softmax(0).gather(1, CLASSES[:, None]), out=nn.Linear(6, 3))
    assert not Watched(model).run(X, lambda out: out.mean()).softmaxes


# ---------------------------------------------------------------------------------------------- a rate of 0


def warmed(factor: Callable[[int], float], unit: str = "step", steps: int = 48) -> list[str]:
    model = net(nn.Linear(16, 3))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    more: Any = {"scheduler": schedule, "scheduler_unit": unit}
    made = Recipe(
        model=model,
        dataset=torch.utils.data.TensorDataset(*rows()),
        loss=F.cross_entropy,
        optimizer=optimizer,
        batch_size=16,
        **more,
    )
    return said(made, "lr-too-low", steps=steps)


def test_a_warm_up_that_is_rounded_down_to_nothing_is_told() -> None:
    assert warmed(lambda step: min(1, step // 300)) == [""]
    assert warmed(lambda epoch: float(epoch > 100), "epoch") == [""]


def test_a_warm_up_that_begins_at_0_in_its_first_epoch_is_silent() -> None:
    assert warmed(lambda epoch: min(1.0, epoch / 5), "epoch", steps=6) == []
    assert warmed(lambda step: min(1.0, step / 300)) == []


# ---------------------------------------------------------------------------------------------- an input layer


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(16, 16)

    def forward(self, h: Tensor) -> Tensor:
        return torch.relu(self.fc(h))


@pytest.mark.parametrize(
    ("model", "is_loud"),
    [
        (nn.Sequential(nn.Linear(6, 16), Block(), Block(), nn.Linear(16, 3)), False),
        (nn.Sequential(nn.Linear(6, 16), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3)), True),
        (nn.Sequential(Block(), nn.Linear(16, 16), Block(), nn.Linear(16, 3)), True),
    ],
)
def test_an_input_layer_before_a_block_is_a_note(model: nn.Module, is_loud: bool) -> None:
    width = next(model.parameters()).shape[1]
    bench = PlainBench(model, [[torch.randn(8, width), torch.randint(0, 3, (8,))] for _ in range(2)])
    drafts = [*find_linear(bench, bench.record)]
    assert [draft.severity is not Severity.INFO for draft in drafts] == ([True] if is_loud else [False])
