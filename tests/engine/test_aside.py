"""The user's code run beside the training: training does not know of it, whatever the code remembers, or the user is told."""

from __future__ import annotations

import copy
import ctypes
import itertools
import multiprocessing
import os
import random
import threading
import time
import warnings
import weakref
from array import array
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from queue import Queue
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import plain
import pytest
import torch
import zoo
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, TensorDataset

from gradscope import Recipe, Session, UserCodeFailed
from gradscope.engine.aside import walk
from gradscope.engine.aside.door import Aside
from gradscope.engine.aside.iterators import copy_of_iterator
from gradscope.engine.timeline.reach import Reach

CALLS = 0
FACTORS = {"of this file": 1.0}


class Remembering(nn.Linear):
    """Has state of every kind that is no parameter and no buffer."""

    made = 0
    sizes: ClassVar[list[int]] = []

    def __init__(self) -> None:
        super().__init__(zoo.FEATURES, zoo.CLASSES)
        self.calls = 0
        self.recent: deque[int] = deque(maxlen=3)
        self.seen: set[int] = set()
        self.kept = OrderedDict({"first": 1.0})
        self.mean = torch.zeros(zoo.FEATURES)
        self.numbers = itertools.count(1)
        self.generator = torch.Generator().manual_seed(3)
        self.teacher: list[nn.Module] = []

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.recent.append(self.calls)
        self.seen.add(len(self.seen))
        self.kept.move_to_end("first")
        self.kept[f"call {self.calls}"] = 1 / self.calls
        self.mean.mul_(0.9).add_(x.detach().mean(0), alpha=0.1)
        Remembering.made += 1
        self.sizes.append(len(x))
        noise = torch.rand((), generator=self.generator)
        scale = self.calls + sum(self.recent) + len(self.seen) + sum(self.kept.values()) + next(self.numbers)
        output = super().forward(x - self.mean) * (scale + noise + Remembering.made + len(self.sizes)) / 100
        return output if not self.teacher else output + 0.1 * self.teacher[-1](x)


def remembering() -> Recipe:
    """Losses depend on all of it."""
    global CALLS
    CALLS = 0
    FACTORS.clear()
    Remembering.made, Remembering.sizes = 0, []
    model = Remembering()
    count, words = [0], Counter[str]()
    values = iter([1.0 + 0.1 * i for i in range(100_000)])
    pairs = zip(itertools.cycle([1.0, 2.0, 3.0]), itertools.count(), strict=False)
    own, generator = random.Random(1), np.random.default_rng(2)
    array, space = np.zeros(3), SimpleNamespace(total=0.0)
    total = 0.0

    def step(model: Remembering, batch: Any, history: list[float] = []) -> Tensor:  # noqa: B006
        nonlocal total
        global CALLS
        CALLS += 1
        FACTORS[str(CALLS)] = CALLS
        count[0] += 1
        words["calls"] += 1
        array[count[0] % 3] += 1
        space.total += own.random() + float(generator.random())
        total += next(values)
        history.append(total)
        one, number = next(pairs)
        if not model.teacher:
            model.teacher.append(copy.deepcopy(nn.Linear(zoo.FEATURES, zoo.CLASSES)).to(model.weight.dtype))
        factor = (
            CALLS + len(FACTORS) + count[0] + words["calls"] + float(array.sum()) + space.total + total + one + number
        )
        loss = nn.functional.cross_entropy(model(batch[0]), batch[1])
        return loss * (1 + (factor + len(history)) / 1000)

    return zoo.classifier(
        model,
        loss=None,
        training_step=step,
        optimizer=torch.optim.SGD(model.parameters(), 0.05),
        validation=zoo.vectors(9),
        batch_size=4,
    )


def check(session: Session) -> Any:
    return session.check_gradient("weight", samples=4)


def validate(session: Session) -> Any:
    return session.validate()


def look_ahead(session: Session) -> Any:
    return session.schedule(20)


BESIDE: list[Callable[[Session], Any]] = [check, validate, look_ahead]


@pytest.mark.parametrize("beside", BESIDE)
def test_training_does_not_know_of_it(beside: Callable[[Session], Any]) -> None:
    expected = plain.train_plainly(plain.seeded(lambda: without_validation(remembering())), steps=6)
    with Session(plain.seeded(remembering)) as session:
        while session.position.step < 6:
            session.advance()
            result = beside(session)
            assert not any("as before" in note for note in getattr(result, "notes", ()))
        assert [record.loss for record in session.history] == expected.losses
        plain.assert_same(expected.state, plain.outcome_of(session).state)


def without_validation(recipe: Recipe) -> Recipe:
    return replace(recipe, validation=None)


def test_what_cannot_be_put_back_is_told(tmp_path: Any) -> None:
    def drawn() -> Iterator[float]:
        for _ in range(10_000):
            yield 1.0

    def make() -> Recipe:
        model, factors = nn.Linear(zoo.FEATURES, zoo.CLASSES), drawn()
        unlabelled = iter(DataLoader(TensorDataset(torch.zeros(9999, 1)), batch_size=1))

        def step(model: nn.Module, batch: Any) -> Tensor:
            log.write("step\n")
            next(unlabelled)
            return nn.functional.cross_entropy(model(batch[0]), batch[1]) * next(factors)

        return zoo.classifier(model, loss=None, training_step=step, validation=zoo.vectors(9))

    with (tmp_path / "log.txt").open("w", encoding="utf-8") as log, Session(plain.seeded(make)) as session:
        session.forward()
        session.backward()
        for result in (check(session), validate(session)):
            (note,) = result.notes
            assert note.startswith("Training is not quite as before: the code that was run has moved ")
            assert "log in step() (a file)" in note
            assert "unlabelled in step() (the iterator of a DataLoader)" in note
            assert "factors in step() (a generator)" in note
        assert look_ahead(session).reason == ""


def test_after_an_error_too() -> None:
    calls: list[int] = []
    fails = [False]

    def make() -> Recipe:
        model = nn.Linear(zoo.FEATURES, zoo.CLASSES)

        def step(model: nn.Module, batch: Any) -> Tensor:
            calls.append(1)
            if fails[0] and len(calls) > 3:
                raise ValueError("enough")
            return nn.functional.cross_entropy(model(batch[0]), batch[1])

        return zoo.classifier(model, loss=None, training_step=step, validation=zoo.vectors(90), batch_size=4)

    with Session(plain.seeded(make)) as session:
        session.forward()
        fails[0] = True
        with pytest.raises(UserCodeFailed, match="enough"):
            validate(session)
        assert calls == [1]


def by_proxy(optimizer: torch.optim.Optimizer) -> Any:
    proxy = weakref.proxy(optimizer)
    return lambda: proxy


class Loud(weakref.ref):  # type: ignore[type-arg]
    """One that counts how often it is asked."""

    calls = 0

    def __call__(self) -> Any:
        Loud.calls += 1
        return super().__call__()


def test_weak_proxies_may_stand_for_what_is_gone() -> None:
    """A parent, say, that a part refers to and that nobody holds."""
    model, gone = zoo.mlp(), nn.Linear(2, 2)
    vars(model).update(parent=weakref.proxy(gone), loud=Loud(gone))
    reached = walk.Reached(copies_parameters=True)
    reached.look_from({"model": model})
    assert gone in reached.modules and Loud.calls == 0
    del gone, reached
    reached = walk.Reached(copies_parameters=True)
    reached.look_from({"model": model})
    assert model in reached.modules
    reach = Reach(lambda: {"model": model}, list, None, data_bytes=0)
    assert reach.give(reach.take(is_cleared=lambda tensor: False)) == []


@pytest.mark.parametrize("reference", [weakref.ref, by_proxy])
def test_an_optimizer_that_is_held_weakly_is_put_back(reference: Any) -> None:
    def make() -> Recipe:
        model = zoo.mlp()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        weak, extra = reference(optimizer), torch.zeros(2, requires_grad=True)

        def step(model: nn.Module, batch: Any) -> Tensor:
            for group in weak().param_groups:
                group["lr"] *= 0.9
            if len(weak().param_groups) == 1 and weak().param_groups[0]["lr"] < 0.07:
                weak().add_param_group({"params": [extra]})
            return nn.functional.cross_entropy(model(batch[0]), batch[1]) + extra.sum()

        return zoo.classifier(model, loss=None, training_step=step, optimizer=optimizer, validation=zoo.vectors())

    with Session(plain.seeded(make)) as session:
        for _ in range(3):
            session.next_batch()
        before = session.state_hash()
        session.set_probe("newest")
        session.run_probe()
        session.validate()
        assert session.state_hash() == before


def test_what_trains_beside_is_put_back() -> None:
    """A step that uses the real model, steps the real optimizer and moves a scheduler's closure."""
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    x = torch.randn(8, 2)
    model(x).sum().backward()
    optimizer.step()

    def run() -> None:
        model.train()
        model(x).square().sum().backward()
        optimizer.step()
        model[0].weight.requires_grad_(False)
        model.eval()
        torch.set_default_dtype(torch.float64)

    before = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    gradients = [(p, p.grad, None if p.grad is None else p.grad.clone()) for p in model.parameters()]
    with Aside({"run": run}) as aside:
        run()
        aside.rewind()
        run()
    assert aside.notes == ()
    plain.assert_same(before, (model.state_dict(), optimizer.state_dict()))
    assert model.training and model[0].weight.requires_grad and torch.get_default_dtype() is torch.float32
    for p, gradient, values in gradients:
        assert p.grad is gradient and (gradient is None or torch.equal(gradient, values))  # type: ignore[arg-type]


def test_a_backward_that_is_still_to_come_is_none_the_worse() -> None:
    """What its forward has kept, the running statistics of a batch norm among it, has been written to and put back."""
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    x = torch.randn(8, 2)
    loss = model(x).square().sum()
    (expected,) = torch.autograd.grad(loss, model[0].weight, retain_graph=True)
    with Aside({"model": model}) as aside:
        model(x + 1)
        aside.rewind()
        model(x + 2)
    assert not aside.notes
    loss.backward()
    assert torch.equal(model[0].weight.grad, expected)  # type: ignore[arg-type]


@pytest.mark.parametrize("leaves_a_mark", [True, False])
def test_without_copies_it_is_told(*, leaves_a_mark: bool) -> None:
    layer = nn.Linear(2, 1)

    def run() -> None:
        with torch.no_grad():
            (layer.weight if leaves_a_mark else layer.weight.data).add_(1)

    with Aside({"run": run}, copies_parameters=False) as aside:
        pass
    assert aside.notes == ()
    with Aside({"run": run}, copies_parameters=False) as aside:
        run()
    (note,) = aside.notes
    assert "layer.weight in run()" in note.replace("._parameters['weight']", ".weight")


def test_zeros_have_signs() -> None:
    zeros, mean = torch.zeros(3), nn.BatchNorm1d(2).running_mean

    def run() -> None:
        zeros.neg_()
        zeros[1] = torch.nan

    with Aside({"run": run}) as aside:
        run()
    assert not aside.notes and mean is not None
    assert torch.equal(zeros.signbit(), torch.zeros(3, dtype=torch.bool)) and torch.equal(zeros, torch.zeros(3))


def test_an_array_that_is_too_large_to_be_copied_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "MOST_COPIED_BYTES", 1000)
    seen, fixed = np.zeros((100, 300)), np.zeros(10_000)
    fixed.setflags(write=False)

    def run() -> None:
        seen[:] += fixed[0] + 1

    with Aside({"run": run}) as aside:
        pass
    assert not aside.notes
    with Aside({"run": run}) as aside:
        run()
    assert len(aside.notes) == 1 and "seen in run() (a large array)" in aside.notes[0]


def test_iterators_are_copied_where_they_stand() -> None:
    shared = iter(range(10))
    made: list[Iterator[Any]] = [
        iter([1, 2, 3, 4]),
        iter((1, 2, 3, 4)),
        reversed([1, 2, 3, 4]),
        iter("abcd"),
        iter(range(5)),
        iter({"a": 1, "b": 2, "c": 3}),
        itertools.count(5, 2),
        itertools.cycle([1, 2]),
        itertools.islice(itertools.count(), 1, 9, 2),
        itertools.chain([1, 2], [3, 4]),
        enumerate(iter([5, 6, 7])),
        map(str, iter([5, 6, 7])),
        filter(None, iter([0, 5, 6, 7])),
        zip(shared, shared, strict=False),
    ]
    for iterator in made:
        next(iterator)
        twin = copy_of_iterator(iterator, {})
        unused = copy_of_iterator(iterator, {})
        list(itertools.islice(unused if unused is not None else [], 3))
        if twin is None:
            # Python 3.14 has stopped to copy those of itertools.
            assert type(iterator).__module__ == "itertools"
            continue
        inside = list(itertools.islice(twin, 2))
        assert inside == list(itertools.islice(iterator, 2)), iterator
    assert copy_of_iterator(map(str, (i for i in [1])), {}) is None


class Slotted:
    __slots__ = ("__calls", "calls")

    def __init__(self) -> None:
        self.calls = self.__calls = 0

    def count(self) -> int:
        self.calls += 1
        self.__calls += 1
        return self.calls + self.__calls


def test_what_the_standard_library_keeps_is_put_back() -> None:
    slotted, local, key = Slotted(), threading.local(), nn.Identity()
    local.calls = 0
    numbers, shared = array("i", [0]), multiprocessing.Value("i", 0)
    number, weak = ctypes.c_int(0), weakref.WeakKeyDictionary({key: 0})

    def count() -> list[int]:
        slotted.count()
        local.calls += 1
        numbers[0] += 1
        numbers.append(1)
        shared.value += 1
        number.value += 1
        weak[key] += 1
        return [*numbers, local.calls, shared.value, number.value, weak[key], slotted.calls]

    before = count()
    with Aside({"count": count}) as aside:
        count()
        count()
    assert not aside.notes
    assert [*numbers, local.calls, shared.value, number.value, weak[key], slotted.calls] == before
    assert slotted.count() == 4


def test_a_queue_is_told_of() -> None:
    waiting: Queue[int] = Queue()
    waiting.put(1)
    with Aside({"take": lambda: waiting.get()}) as aside:
        waiting.get()
    assert len(aside.notes) == 1 and "waiting in <lambda>() (a queue)" in aside.notes[0]


class LoadsAhead:
    """Another thread fills its list, counts, and goes through its data; `step` uses some of it, and state of its own."""

    total = 0

    def __init__(self) -> None:
        self.loaded: list[int] = []
        self.data, self.count, self.calls, self.own = iter(range(100_000)), 0, 0, [0]
        self.queue: Queue[int] = Queue()
        self.is_over = False
        self.thread = threading.Thread(target=self.load, daemon=True)
        self.thread.start()

    def load(self) -> None:
        global LOADED
        while not self.is_over:
            self._take()
            LOADED += 1
            time.sleep(0.001)

    def _take(self) -> None:
        self.loaded.append(next(self.data))
        self.queue.put(1)
        self.count += 1

    def step(self) -> None:
        self.calls += 1
        self.own.append(1)
        self.own[0] += 1
        assert LOADED >= 0


LOADED = 0


def test_what_another_thread_fills_is_left_to_it() -> None:
    ahead = LoadsAhead()
    with Aside({"step": ahead.step}) as aside:
        ahead.step()
        count = len(ahead.loaded)
        while len(ahead.loaded) < count + 50:
            time.sleep(0.001)
        aside.rewind()
        ahead.step()
    ahead.is_over = True
    ahead.thread.join()
    assert ahead.loaded == list(range(len(ahead.loaded))), "nothing is lost, and nothing comes twice"
    assert len(ahead.loaded) == ahead.count == LOADED == ahead.queue.qsize() > 50
    assert ahead.calls == 0 and ahead.own == [0], "what it has no use for is as before"
    (note,) = aside.notes
    assert note.startswith("Another thread uses ") and "what changed meanwhile was left so" in note


def test_another_thread_that_uses_none_of_it() -> None:
    numbers, is_over = [0], threading.Event()
    thread = threading.Thread(target=is_over.wait, daemon=True)
    thread.start()

    def step() -> None:
        numbers.append(1)

    with Aside({"step": step}) as aside:
        step()
    is_over.set()
    thread.join()
    assert numbers == [0] and not aside.notes


@pytest.mark.skipif(not hasattr(os, "fork"), reason="elsewhere no process is forked")
def test_workers_that_are_forked_inside() -> None:
    """A step that goes through a loader with workers: they are children, and know nothing of the door."""
    data, calls = TensorDataset(torch.arange(6.0)), [0]

    def step() -> float:
        calls[0] += 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return sum(float(batch.sum()) for (batch,) in DataLoader(data, batch_size=2, num_workers=2))

    with Aside({"step": step}) as aside:
        assert step() == 15
        aside.rewind()
        assert step() == 15
    assert calls == [0] and not aside.notes


def test_a_schedule_that_counts() -> None:
    calls = [0]

    def make() -> Recipe:
        model = nn.Linear(zoo.FEATURES, zoo.CLASSES)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)

        def factor(step: int) -> float:
            calls[0] += 1
            return 1 / (calls[0] + 1)

        return zoo.classifier(model, optimizer=optimizer, scheduler=LambdaLR(optimizer, partial(factor)))

    expected = plain.train_plainly(plain.seeded(make), steps=4)
    calls[0] = 0
    with Session(plain.seeded(make)) as session:
        while session.position.step < 4:
            look_ahead(session)
            session.next_batch()
        assert [record.loss for record in session.history] == expected.losses


def test_a_large_model_takes_little_time() -> None:
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(300)))
    started = time.process_time()
    with Aside({"model": model, "data": [list(range(10**6))]}) as aside:
        pass
    assert aside.notes == () and time.process_time() - started < 2
