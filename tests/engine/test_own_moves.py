"""What a recipe's code does in a forward beyond computing the loss: it is noticed, said, and put back where that fails."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import plain
import pytest
import torch
import zoo
from torch import Tensor, nn

from gradscope import Recipe, Session, UserCodeFailed


def with_step(step: Callable[[nn.Module, Any, torch.optim.Optimizer], Any], **fields: Any) -> Recipe:
    model = nn.Sequential(nn.Linear(zoo.FEATURES, 8), nn.Tanh(), nn.Linear(8, zoo.CLASSES))
    optimizer = torch.optim.Adam(model.parameters(), 0.05)
    return zoo.classifier(
        model,
        loss=None,
        optimizer=optimizer,
        training_step=lambda model, batch: step(model, batch, optimizer),
        **fields,
    )


def loss_of(model: nn.Module, batch: Any) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def notes_of(session: Session, steps: int = 1) -> list[str]:
    return [note for _ in range(3 * steps) for note in session.advance().raw.notes]


def whole_loop(returns: Callable[[Tensor], Any]) -> Callable[[nn.Module, Any, torch.optim.Optimizer], Any]:
    def step(model: nn.Module, batch: Any, optimizer: torch.optim.Optimizer) -> Any:
        optimizer.zero_grad()
        loss = loss_of(model, batch)
        loss.backward()
        optimizer.step()
        return returns(loss)

    return step


@pytest.mark.parametrize(
    ("returns", "phase"),
    [(lambda loss: loss.item(), "forward"), (lambda loss: loss.detach(), "forward"), (lambda loss: loss, "backward")],
)
@pytest.mark.parametrize("capture", ["full", "off"])
def test_a_step_that_does_everything_itself(returns: Callable[[Tensor], Any], phase: str, capture: str) -> None:
    with Session(plain.seeded(lambda: with_step(whole_loop(returns))), capture=capture) as session:
        before = copy.deepcopy(plain.state_of(session.recipe))
        for _ in range(2):
            with pytest.raises(UserCodeFailed) as failed:
                session.next_batch()
            failure = failed.value.failure
            assert failure.phase is not None and failure.phase.value == phase
            assert "This forward has called Adam.step() itself: a recipe's training_step only returns the loss" in (
                failure.sentence
            )
            assert "It had called Adam.step() itself, and what that had moved was put back too" in failure.undone
            plain.assert_same(before, plain.state_of(session.recipe))


def test_it_is_said_where_nothing_fails() -> None:
    def step(model: nn.Module, batch: Any, optimizer: torch.optim.Optimizer) -> Tensor:
        optimizer.step()
        return loss_of(model, batch)

    with Session(plain.seeded(lambda: with_step(step))) as session:
        assert notes_of(session) == [
            "This forward has called Adam.step() itself: a recipe's training_step only returns the loss, and the session "
            "does backward and step"
        ]


def test_what_is_written_otherwise_is_said() -> None:
    fails = [False]

    def step(model: nn.Module, batch: Any, optimizer: torch.optim.Optimizer) -> Tensor:
        with torch.no_grad():
            model[0].weight.clamp_(-0.1, 0.1)  # type: ignore[union-attr,operator]
        if fails[0]:
            raise ValueError("no")
        return loss_of(model, batch)

    with Session(plain.seeded(lambda: with_step(step))) as session:
        assert notes_of(session) == []
        fails[0] = True
        with pytest.raises(UserCodeFailed) as failed:
            session.forward()
        assert failed.value.failure.undone.endswith("0.weight had been written to already, which cannot be put back")
        fails[0] = False
        session.forward()


def test_another_optimizer_inside_is_put_back_and_no_fault() -> None:
    """A critic that is trained inside the generator's step."""
    critic = nn.Linear(zoo.CLASSES, 1)
    own = torch.optim.SGD(critic.parameters(), 0.1, momentum=0.9)
    fails = [False]

    def step(model: nn.Module, batch: Any, optimizer: torch.optim.Optimizer) -> Tensor:
        own.zero_grad()
        critic(model(batch[0]).detach()).mean().backward()
        own.step()
        if fails[0]:
            raise ValueError("no")
        return critic(model(batch[0])).mean()

    with Session(plain.seeded(lambda: with_step(step))) as session:
        notes = notes_of(session)
        before = copy.deepcopy((critic.state_dict(), own.state_dict()))
        fails[0] = True
        with pytest.raises(UserCodeFailed):
            session.forward()
        assert notes == []
        plain.assert_same(before, (critic.state_dict(), own.state_dict()))


@pytest.mark.parametrize("zero_grad", ["auto", "manual"])
def test_a_backward_inside_is_no_earlier_step(zero_grad: str) -> None:
    def step(model: nn.Module, batch: Any, optimizer: torch.optim.Optimizer) -> Tensor:
        loss = loss_of(model, batch)
        loss.backward(retain_graph=True)
        return loss

    with Session(plain.seeded(lambda: with_step(step, zero_grad=zero_grad))) as session:
        for _ in range(2):
            (note,) = notes_of(session)
            assert note.startswith(
                "The forward has called backward() itself (0.weight, 0.bias, 2.weight and 1 more had"
            )
            assert note.endswith("and this backward adds to that")


def test_gradients_that_are_not_cleared_are_of_an_earlier_step() -> None:
    with Session(plain.seeded(lambda: with_step(lambda m, b, o: loss_of(m, b), zero_grad="manual"))) as session:
        assert notes_of(session) == []
        (note,) = notes_of(session)
        assert note.startswith("This backward adds to gradients of an earlier step (0.weight")


def test_a_backward_inside_a_forward_that_fails() -> None:
    def step(model: nn.Module, batch: Any, optimizer: torch.optim.Optimizer) -> float:
        loss = loss_of(model, batch)
        loss.backward()
        return loss.item()

    with Session(plain.seeded(lambda: with_step(step))) as session:
        with pytest.raises(UserCodeFailed, match=r"This forward has called backward\(\) itself") as failed:
            session.forward()
        assert "put back" in failed.value.failure.undone
        assert isinstance(session.recipe.model, nn.Module)
        assert all(p.grad is None for p in session.recipe.model.parameters())


def test_nothing_is_reached() -> None:
    outside = torch.zeros((), requires_grad=True)

    def step(model: nn.Module, batch: Any, optimizer: torch.optim.Optimizer) -> Tensor:
        return loss_of(model, batch).detach() + outside

    with Session(plain.seeded(lambda: with_step(step))) as session:
        notes = notes_of(session, 2)
        assert notes[0].startswith("No gradient has reached any parameter that Adam holds")
        assert any(note.startswith("1 tensor outside the model gets gradients: outside in step().") for note in notes)


class Deep(nn.Module):
    """Layers in a list, and a scale that is no parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.inp = nn.Linear(zoo.FEATURES, 16)
        self.hidden = [nn.Linear(16, 16) for _ in range(2)]
        self.scales = {"out": torch.ones((), requires_grad=True)}
        self.out = nn.Linear(16, zoo.CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inp(x)
        for layer in self.hidden:
            x = layer(x).relu()
        return self.out(x) * self.scales["out"]


def test_tensors_outside_the_model_that_get_gradients() -> None:
    with Session(plain.seeded(lambda: zoo.classifier(Deep()))) as session:
        (note,) = notes_of(session, 4)
        assert note.startswith(
            "5 tensors outside the model get gradients: model.scales['out'], model.hidden[0].weight, model.hidden[0].bias "
            "and 2 more. No optimizer moves them"
        )


def test_an_input_that_asks_for_a_gradient_is_none_of_them() -> None:
    def step(model: nn.Module, batch: Any, optimizer: torch.optim.Optimizer) -> Tensor:
        return loss_of(model, (batch[0].clone().requires_grad_(), batch[1]))

    with Session(plain.seeded(lambda: with_step(step))) as session:
        assert notes_of(session, 3) == []


KEPT = torch.ones(3, requires_grad=True)


class Doubled(torch.autograd.Function):
    """Keeps something under the name that torch has for a leaf."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.variable = KEPT
        return 2 * x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return 2 * gradient


def test_what_a_function_keeps_is_none_of_them() -> None:
    def step(model: nn.Module, batch: Any, optimizer: torch.optim.Optimizer) -> Tensor:
        return Doubled.apply(loss_of(model, batch))  # type: ignore[no-any-return]

    with Session(plain.seeded(lambda: with_step(step))) as session:
        assert notes_of(session, 3) == []


class Carries(nn.Module):
    """Keeps its state with the graph."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(zoo.FEATURES, zoo.CLASSES)
        self.memory: dict[str, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        before = self.memory.get("newest")
        self.memory["newest"] = self.cell(x, before)
        return self.memory["newest"]


def test_a_state_that_is_carried_over_is_named() -> None:
    with Session(plain.seeded(lambda: zoo.classifier(nn.Sequential(Carries())))) as session:
        session.next_batch()
        session.forward()
        with pytest.raises(UserCodeFailed) as failed:
            session.backward()
        assert "(model.0.memory['newest'] is kept with the graph): detach() what" in failed.value.failure.sentence
