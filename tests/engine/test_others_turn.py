"""A network whose turn it is not gets no gradient, and that is as it should be: it is said so, and is no warning."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from gradscope import Recipe, Session
from gradscope.protocol import absences


class Gan(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.g = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        self.d = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))


def train_d(model: Any, batch: torch.Tensor) -> torch.Tensor:
    fake = model.g(torch.randn(len(batch), 3)).detach()
    real, made = model.d(batch), model.d(fake)
    return binary_cross_entropy_with_logits(real, torch.ones_like(real)) + binary_cross_entropy_with_logits(
        made, torch.zeros_like(made)
    )


def train_g(model: Any, batch: torch.Tensor) -> torch.Tensor:
    made = model.d(model.g(torch.randn(len(batch), 3)))
    return binary_cross_entropy_with_logits(made, torch.ones_like(made))


def recipe(**others: Any) -> Recipe:
    torch.manual_seed(0)
    model = Gan()
    optimizers = {"d": torch.optim.SGD(model.d.parameters(), 0.1), "g": torch.optim.SGD(model.g.parameters(), 0.1)}
    data = [torch.randn(2) for _ in range(8)]
    return Recipe(
        model=model,
        dataset=data,
        batch_size=4,
        optimizer=optimizers,
        training_step={"d": train_d, "g": train_g} | others,
    )


def reasons(session: Session) -> dict[tuple[str, str], str]:
    session.forward()
    backward = session.backward()
    return {(absence.name, absence.kind): absence.reason for absence in backward.absent}


def test_the_other_network_of_a_gan_is_told_as_such() -> None:
    with Session(recipe()) as session:
        found = reasons(session)
        for name in ("g.0.weight", "g.2.bias"):
            assert found[name, "grad"] == absences.OTHERS_TURN
        # Layers too, also one without parameters of its own.
        for name in ("g", "g.0", "g.1", "g.2"):
            assert found.get((name, "activation_grad"), absences.OTHERS_TURN) == absences.OTHERS_TURN
        assert ("g.1", "activation_grad") in found
        assert not [reason for reason in found.values() if reason == absences.NO_GRADIENT]
        session.step()
        # The generator's turn goes through both.
        assert not reasons(session)


def test_a_part_of_ones_own_that_no_gradient_reaches_is_still_a_finding() -> None:
    def blind(model: Any, batch: torch.Tensor) -> torch.Tensor:
        return model.d[2](torch.randn(len(batch), 4)).mean()

    with Session(recipe(d=blind)) as session:
        found = reasons(session)
        assert found["d.0.weight", "grad"] == absences.NO_GRADIENT
        assert found["g.0.weight", "grad"] == absences.OTHERS_TURN


def test_whose_the_parameters_are_is_asked_once_a_backward() -> None:
    with Session(recipe()) as session:
        asked, others_names = [], session.observer.others_names
        session.observer.others_names = lambda: asked.append(1) or others_names()  # type: ignore[func-returns-value]
        found = reasons(session)
        assert len([reason for reason in found.values() if reason == absences.OTHERS_TURN]) > 1
        assert len(asked) == 1
