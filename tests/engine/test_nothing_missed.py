"""A session asks only for what has changed, and keeps only what can be undone to: nothing is missed by that."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from gradscope import Recipe, Session
from gradscope.engine.surroundings import random_memory
from gradscope.engine.surroundings.randomness import RandomStates, seed_everything
from gradscope.protocol.failure import UserCodeFailed


def use_up_python() -> None:
    """As many words as there are: the place of the next one is the same afterwards."""
    for _ in range(624):
        random.getrandbits(32)


def use_up_numpy() -> None:
    np.random.randint(0, 2**32, 624, dtype=np.uint32)


def use_up_torch() -> None:
    torch.empty(624, dtype=torch.int32).random_()


def draw_in_double() -> None:
    torch.randn(1, dtype=torch.float64)


MOVES: dict[str, Callable[[], object]] = {
    "python": random.random,
    "python's stored normal number": lambda: random.gauss(0, 1),
    "all words of python": use_up_python,
    "python's seed": lambda: random.seed(5),
    "numpy": np.random.rand,
    "numpy's stored normal number": np.random.randn,
    "all words of numpy": use_up_numpy,
    "numpy's seed": lambda: np.random.seed(5),
    "torch": lambda: torch.rand(1),
    "torch's stored normal number": lambda: torch.randn(1),
    "all words of torch": use_up_torch,
    "torch's seed": lambda: torch.manual_seed(5),
}


@pytest.mark.parametrize(("before", "move"), [(a, b) for a in MOVES for b in MOVES if a != b or not a.endswith("seed")])
@pytest.mark.usefixtures("memory_of_torch")
def test_a_generator_that_has_moved_is_noticed(before: str, move: str) -> None:
    seed_everything(1)
    MOVES[before]()
    first = RandomStates.capture(RandomStates.capture())
    MOVES[move]()
    second = RandomStates.capture(first)
    assert second is not first
    assert not second.is_same(first)
    first.restore()
    assert RandomStates.capture().is_same(first)


GENERATORS: dict[str, Callable[[], object]] = {
    "python": lambda: random.gauss(0, 1),
    "numpy": np.random.randn,
    "torch": lambda: torch.randn(1),
    "torch, of 64 bits": lambda: torch.randn(1, dtype=torch.float64),
}


@pytest.mark.parametrize("draw", GENERATORS.values(), ids=GENERATORS)
@pytest.mark.usefixtures("memory_of_torch")
def test_a_stored_normal_number_that_was_put_back_is_noticed(draw: Callable[[], object]) -> None:
    """The number is used up, and put back: no word of the generator has moved."""
    seed_everything(1)
    draw()
    holding = RandomStates.capture()
    draw()
    used_up = RandomStates.capture(holding)
    assert not used_up.is_same(holding)
    holding.restore()
    now = RandomStates.capture(used_up)
    assert now is not used_up
    assert now.is_same(holding) and now.is_same(RandomStates.capture())
    # Also where what was asked for in between is not of the same object.
    np.random.seed(1), np.random.randn()
    assert not RandomStates.capture(now).is_same(used_up)


@pytest.mark.usefixtures("memory_of_torch")
def test_states_that_have_not_moved_are_the_ones_of_before() -> None:
    np.random.seed(1)
    first = RandomStates.capture()
    assert RandomStates.capture(first) is first
    random.random()
    second = RandomStates.capture(first)
    assert second is not first
    assert second.torch_cpu is first.torch_cpu
    assert second.numpy is first.numpy


@pytest.mark.skipif(sys.platform != "linux", reason="looked for where glibc is")
def test_the_memory_of_torchs_generator_is_found() -> None:
    assert random_memory.torch_memory() is not None


def test_the_words_of_torchs_generator_are_those_of_its_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was in its memory before, and whatever numbers it has in store; also where its memory is not known."""
    seen = set()
    for fill in (lambda: None, lambda: torch.randn(5), lambda: torch.randn(5, dtype=torch.float64)):
        for draw in (lambda: None, lambda: torch.rand(3), lambda: torch.randn(1), draw_in_double, use_up_torch):
            torch.manual_seed(3)
            draw()
            state, words = torch.get_rng_state(), random_memory.torch_words()
            seen.add(words)
            with monkeypatch.context() as patch:
                patch.setattr(random_memory, "_TORCH_PARTS", None)
                assert random_memory.torch_words() == words
            torch.manual_seed(4)
            fill()
            assert random_memory.torch_words() != words
            torch.set_rng_state(state)
            assert random_memory.torch_words() == words
    assert len(seen) == 4, "a normal number in store is one of double precision for both kinds"


@pytest.fixture(params=["found", "unknown"])
def memory_of_torch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where torch's generator has its words may be unknown."""
    if request.param == "unknown":
        monkeypatch.setattr(random_memory, "_TORCH_PARTS", None)


class DrawsLate(nn.Module):
    """Draws from every generator in one forward only, writes into a buffer there, and fails."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 1)
        self.inner = nn.Sequential()
        self.forwards, self.at = 0, at

    def forward(self, x: Tensor) -> Tensor:
        self.forwards += 1
        if self.forwards == self.at:
            random.random()
            np.random.randn()
            torch.randn(1)
            for buffer in self.buffers():
                buffer.add_(1)
            raise RuntimeError("in this forward")
        out: Tensor = self.inner(self.linear(x))
        return out


def recipe(model: nn.Module, **more: Any) -> Recipe:
    x = torch.randn(16, 3)
    return Recipe(
        model=model,
        dataset=TensorDataset(x, x[:, :1]),
        loss=more.pop("loss", nn.MSELoss()),
        optimizer=more.pop("optimizer", torch.optim.SGD)(model.parameters(), lr=0.1),
        batch_size=4,
        **more,
    )


@pytest.mark.parametrize("capture", ["full", "off"])
def test_generators_that_one_forward_uses_are_put_back(capture: str) -> None:
    with Session(recipe(DrawsLate(at=7)), capture=capture) as session:
        for _ in range(6):
            session.next_batch()
        before = RandomStates.capture()
        with pytest.raises(UserCodeFailed):
            session.forward()
        assert RandomStates.capture().is_same(before)


@pytest.mark.parametrize("capture", ["full", "off"])
def test_a_buffer_of_a_module_that_came_later_is_put_back(capture: str) -> None:
    """The modules are walked through again where one holds others than before."""
    model = DrawsLate(at=3)
    with Session(recipe(model), capture=capture) as session:
        session.next_batch()
        late = nn.Identity()
        late.register_buffer("count", torch.zeros(2))
        model.inner.append(late)
        session.next_batch()
        with pytest.raises(UserCodeFailed):
            session.forward()
        assert late.count.tolist() == [0, 0]


class CountingLoss(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        self.seen += 1
        if self.seen == 3:
            raise RuntimeError("the third time")
        return ((output - target) ** 2).mean()


def test_the_buffers_of_a_loss_are_put_back() -> None:
    loss = CountingLoss()
    with Session(recipe(nn.Linear(3, 1), loss=loss), capture="off") as session:
        session.next_batch()
        session.next_batch()
        with pytest.raises(UserCodeFailed):
            session.forward()
        assert loss.seen.item() == 2


class WantsClosure(torch.optim.SGD):
    """Its signature leaves it open, and without a closure it draws a number and fails."""

    def step(self, closure: Callable[[], Tensor] | None = None) -> Any:
        torch.rand(1)
        if closure is None:
            raise TypeError("'NoneType' object is not callable")
        closure()
        return super().step()


WantsClosure.__module__ = "mine"


def test_a_step_that_begins_once_more_with_a_closure_begins_as_it_did_also_with_capture_off() -> None:
    """Nothing else of a step is remembered with capture off."""
    states = []
    for capture in ("full", "off"):
        torch.manual_seed(0)
        with Session(recipe(nn.Linear(3, 1), optimizer=WantsClosure), capture=capture) as session:
            session.next_batch()
            states.append(torch.get_rng_state())
    assert torch.equal(*states)


def test_a_report_is_of_its_moment_however_late_it_is_read() -> None:
    with Session(recipe(nn.Linear(3, 1), clip_norm=1e-3)) as session, Session(recipe(nn.Linear(3, 1))) as other:
        early = session.next_batch()
        told = [(report.loss, report.lr, report.step, report.notes, len(report), report.clip) for report in early]
        late = other.next_batch()
        losses = [other.history[0].loss]
        for _ in range(3):
            session.next_batch()
            other.next_batch()
        other.recipe.optimizer.param_groups[0]["lr"] = 5.0  # type: ignore[union-attr]
        assert [(r.loss, r.lr, r.step, r.notes, len(r), r.clip) for r in early] == told
        assert [report.step for report in late] == [0, 0, 0]
        assert late[-1].loss == losses[0]
        assert all(report.lr == (0.1,) for report in late)
        assert [report.batch for report in late] == [0, 0, 0]
        assert late[-1].raw is late[-1].raw
