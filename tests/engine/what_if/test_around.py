"""The loss along a step and on a plane, against losses that are computed by hand."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import plain
import pytest
import torch
import zoo
from torch import nn
from tried import KINDS, of_conv, sgd
from zoo_parts import classifier, mlp

from gradscope import Recipe, Session
from gradscope.engine.what_if.surface import random_direction
from gradscope.engine.what_if.vectors import Parameters, dot, length, shares_in_plane, wide, without
from gradscope.protocol.failure import BadInput
from gradscope.protocol.what_if.tried import Alternative, Directions


def stepped(make: Any, steps: int = 2) -> Session:
    session = Session(plain.seeded(make), seed=0)
    for _ in range(steps):
        session.next_batch()
    return session


def loss_at(session: Session, vectors: list[torch.Tensor]) -> float:
    model = copy.deepcopy(session.recipe.model)
    assert isinstance(model, nn.Module) and session.recipe.loss is not None
    with torch.no_grad():
        for tensor, value in zip(model.parameters(), vectors, strict=True):
            tensor.copy_(value)
        x, y = session.loop.batch
        return float(session.recipe.loss(model(x), y))


def values(session: Session) -> list[torch.Tensor]:
    return [tensor.detach().double().clone() for tensor in session.recipe.model.parameters()]  # type: ignore[union-attr]


def with_momentum() -> Recipe:
    return classifier(mlp())


def test_the_curve_is_the_loss_at_each_place_with_the_tangent_of_the_gradient() -> None:
    session = stepped(with_momentum)
    session.forward()
    session.backward()
    curve = session.loss_along_update(low=-1.0, high=2.0, points=6)
    before = values(session)
    gradient = [tensor.grad.double().clone() for tensor in session.recipe.model.parameters()]  # type: ignore[union-attr]
    session.step()
    delta = [after - start for after, start in zip(values(session), before, strict=True)]
    assert curve.at.tolist() == pytest.approx([-1.0, -0.4, 0.0, 0.2, 0.8, 1.0, 1.4, 2.0])
    expected = [loss_at(session, [b + a * d for b, d in zip(before, delta, strict=True)]) for a in curve.at]
    assert curve.losses == pytest.approx(expected, abs=1e-6)
    assert curve.slope == pytest.approx(
        sum(float((g * d).sum()) for g, d in zip(gradient, delta, strict=True)), rel=1e-9
    )
    assert curve.update_norm == pytest.approx(float(sum(d.square().sum() for d in delta)) ** 0.5)


def test_its_ends_are_the_trials_to_the_last_bit() -> None:
    session = stepped(KINDS["adam"])
    trials, curve = session.what_if([Alternative(rate=3.0)]), session.loss_along_update(Alternative(rate=3.0), points=5)
    assert curve.losses[curve.at == 0] == trials.loss and curve.losses[curve.at == 1] == trials.tried[0].loss


def test_the_plane_has_the_update_along_x_and_the_gradient_along_y() -> None:
    session = stepped(with_momentum)
    session.forward()
    session.backward()
    surface = session.loss_surface(side=5, reach=2.0)
    before = values(session)
    gradient = [tensor.grad.double().clone() for tensor in session.recipe.model.parameters()]  # type: ignore[union-attr]
    session.step()
    update = [after - start for after, start in zip(values(session), before, strict=True)]
    rest = without([-part for part in gradient], update)
    down = [part * length(update) / length(rest) for part in rest]
    assert abs(dot(update, down)) < 1e-9 * length(update) ** 2
    for row, b in enumerate(surface.y):
        for column, a in enumerate(surface.x):
            place = [p + a * u + b * d for p, u, d in zip(before, update, down, strict=True)]
            assert surface.losses[row, column] == pytest.approx(loss_at(session, place), abs=1e-5)
    assert "right angles" in surface.second and surface.x.tolist() == [-2.0, -1.0, 0.0, 1.0, 2.0]


def test_where_the_gradient_is_parallel_to_the_update_another_direction_is_taken_and_it_is_said() -> None:
    def plain_sgd() -> Recipe:
        model = mlp()
        return classifier(model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))

    surface = stepped(plain_sgd).loss_surface(side=2)
    assert "parallel" in surface.second and np.isfinite(surface.losses).all()


def test_the_path_leads_from_the_parameters_before_the_newest_step_to_here() -> None:
    session = stepped(with_momentum)
    surface = session.loss_surface(side=2)
    assert surface.path[-1].tolist() == [0.0, 0.0] and surface.path_steps.tolist() == [1.0, 2.0]
    assert 0.0 < surface.path_shares[0] <= 1.0 and surface.path[0, 0] < 0.0, "momentum goes on the same way"


def test_a_random_direction_has_the_weights_length_in_each_filter_and_nothing_for_biases_and_norms() -> None:
    recipe = plain.seeded(lambda: of_conv(sgd))
    model = recipe.model
    assert isinstance(model, nn.Module)
    parameters = Parameters(dict(model.named_parameters()))
    direction = random_direction(parameters, torch.Generator().manual_seed(3))
    for (name, tensor), part in zip(model.named_parameters(), direction, strict=True):
        if tensor.dim() < 2:
            assert not part.any(), name
        else:
            assert part.flatten(1).norm(dim=1).tolist() == pytest.approx(wide(tensor).flatten(1).norm(dim=1).tolist())


def test_random_planes_are_those_of_their_seed_in_either_mode() -> None:
    session = stepped(lambda: of_conv(sgd))
    first = session.loss_surface(Directions.RANDOM, side=3, seed=1)
    assert np.array_equal(session.loss_surface("random", side=3, seed=1).losses, first.losses)
    assert not np.array_equal(session.loss_surface("random", side=3, seed=2).losses, first.losses)
    in_eval = session.loss_surface("random", side=3, seed=1, mode="eval")
    model = copy.deepcopy(session.recipe.model)
    assert isinstance(model, nn.Module) and session.recipe.loss is not None
    x, y = session.loop.batch
    # The buffers that the newest forward began with.
    session.loop.forward_undo.restore()
    there = session.recipe.model
    assert isinstance(there, nn.Module)
    assert in_eval.losses[1, 1] == float(session.recipe.loss(copy.deepcopy(there).eval()(x), y).detach())


def test_cells_that_are_not_finite_say_so() -> None:
    surface = stepped(with_momentum).loss_surface(side=3, reach=1e38)
    assert not np.isfinite(surface.losses).all() and np.isfinite(surface.losses[1, 1])


def test_an_update_that_is_nothing_spans_no_plane() -> None:
    def still() -> Recipe:
        model = mlp()
        return classifier(model, optimizer=torch.optim.SGD(model.parameters(), lr=0.0))

    with pytest.raises(BadInput, match="update is 0"):
        stepped(still).loss_surface()


class Scale(nn.Module):
    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(shape))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x[:, :3] * self.factor).tanh()


def test_a_model_without_filters_has_no_random_directions_and_a_plane_along_its_update() -> None:
    def scaled() -> Recipe:
        model = Scale(3)
        return classifier(model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))

    session = stepped(scaled, 1)
    with pytest.raises(BadInput, match="No parameter has filters"):
        session.loss_surface("random", side=2)
    assert np.isfinite(session.loss_surface(side=2).losses).all()


def test_a_single_number_spans_no_plane() -> None:
    def single() -> Recipe:
        model = Scale(1)
        return classifier(model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))

    with pytest.raises(BadInput, match="only one direction"):
        stepped(single, 1).loss_surface(side=2)


def test_bare_tensors_have_planes_too() -> None:
    assert stepped(zoo.bare_tensors, 1).loss_surface("random", side=2).losses.shape == (2, 2)


def test_shares_in_a_plane() -> None:
    first, second = [torch.tensor([1.0, 0.0, 0.0]).double()], [torch.tensor([1.0, 1.0, 0.0]).double()]
    x, y, share = shares_in_plane([torch.tensor([3.0, 4.0, 0.0]).double()], first, second)
    assert (x, y, share) == pytest.approx((-1.0, 4.0, 1.0))
    assert shares_in_plane([torch.tensor([0.0, 3.0, 4.0]).double()], first, second)[2] == pytest.approx(0.6)
