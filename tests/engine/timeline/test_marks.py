"""What a replay is verified by: all of the state counts, and what is another is said by its name."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import trainings
from plain import seeded
from torch import Tensor, nn
from walks import LARGE, run
from zoo_parts import CLASSES, FEATURES, classifier

from gradscope import Recipe, Session
from gradscope.engine.quantities import summary
from gradscope.engine.timeline.sums import Sums
from gradscope.protocol.phases import Phase, Rest

HIDDEN = itertools.count(1)


class Everything(nn.Module):
    """Large and small parameters, a buffer, and attributes of many kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.norm, self.head = nn.Linear(FEATURES, 3000), nn.BatchNorm1d(3000), nn.Linear(3000, CLASSES)
        self.count, self.seen, self.table = 3, [1.0, {"a": 2}], np.zeros(3)
        self.own = torch.Generator().manual_seed(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.wide(x)))


def everything() -> Recipe:
    model = Everything()
    return classifier(model, optimizer=torch.optim.Adam(model.parameters()))


def state_of(session: Session, name: str) -> Any:
    model = session.recipe.model
    assert isinstance(model, Everything)
    return session.training.optimizers[0].state[model.wide.weight][name]


CHANGES: dict[str, tuple[Callable[[Session, Any], object], str]] = {
    "large": (lambda s, m: m.wide.weight.data[2999].add_(1e-3), "wide.weight (3000 x 6) before its forward"),
    "small": (lambda s, m: m.head.bias.data[2].add_(1e-3), "head.bias (3) before its forward"),
    "zero": (lambda s, m: m.head.bias.data[1].neg_(), "head.bias (3) before its forward"),
    "buffer": (lambda s, m: m.norm.running_mean[7].add_(1), "the buffer norm.running_mean (3000) before its forward"),
    "state": (lambda s, m: state_of(s, "step").add_(1), "step of the optimizer for wide.weight (one number)"),
    "random": (lambda s, m: torch.rand(()), "the random states, the rates or the place in the data"),
    "rate": (lambda s, m: s.training.optimizers[0].param_groups[0].update(lr=0.7), "the random states, the rates"),
    "number": (lambda s, m: setattr(m, "count", 4), "an attribute of model before its forward"),
    "in a list": (lambda s, m: m.seen[1].update(a=3), "an attribute of model.seen"),
    "array": (lambda s, m: m.table.__setitem__(1, 1e-300), "an attribute of model.table"),
    "generator": (lambda s, m: torch.rand((), generator=m.own), "an attribute of model.own"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_whatever_is_another_makes_another_mark_and_is_named(what: str) -> None:
    change, told = CHANGES[what]
    with Session(seeded(everything), timeline_bytes=LARGE) as session:
        run(session, 2)
        marks = session.timeline._marks
        before = marks.now()
        assert marks.difference(before, marks.now()) == ""
        change(session, session.recipe.model)
        assert marks.difference(before, marks.now()).startswith(told)


def test_all_of_a_large_tensor_of_an_optimizer_counts_within_eight_steps() -> None:
    sums, tensor = Sums(), torch.randn(1_000_000)
    before = [int(sums.of([tensor], one_in=[8], turn=turn)[0]) for turn in range(8)]
    for place in (0, 65_536, 70_000, 400_000, 999_999):
        tensor[place] += 1
        after = [int(sums.of([tensor], one_in=[8], turn=turn)[0]) for turn in range(8)]
        assert after != before, place
        before = after


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int8, torch.bool, torch.complex128])
@pytest.mark.parametrize("size", [5, 100_003])
def test_every_bit_of_any_kind_of_tensor_counts(dtype: torch.dtype, size: int) -> None:
    tensor = torch.zeros(size, dtype=dtype)
    other = torch.ones(3, dtype=dtype)
    empty = torch.zeros(0, dtype=dtype)
    for place in (0, size // 2, size - 1):
        before = Sums().of([other, empty, tensor, other])
        tensor[place] = 1
        after = Sums().of([other, empty, tensor, other])
        assert (before != after).tolist() == [False, False, True, False]


def tensors_of_many_kinds() -> list[Tensor]:
    generator = torch.Generator().manual_seed(4)
    bits = torch.randint(-128, 128, (3_000_001,), dtype=torch.int8, generator=generator)
    sizes = (1, 3, 8, 511, 16_384, 16_392, 262_144, 262_151, 2_800_000)
    kinds = (torch.float32, torch.float16, torch.int64)
    found = [bits[:size] for size in sizes] + [bits[1 : size + 1] for size in sizes]
    found += [bits[:1_600_000].view(kind) for kind in kinds] + [bits[8:72].view(kind) for kind in kinds]
    wide = bits[:1_000_000].view(1000, 1000)
    return [*found, wide.t(), wide[:, 7:9], bits[:0], bits[:10] > 0, torch.nn.Parameter(torch.ones(70_000))]


def test_the_kernel_comes_to_the_same_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Marks are compared on another machine, too, that may have none."""
    tensors = tensors_of_many_kinds()
    one_in = [1 + 7 * (i % 2) for i in range(len(tensors))]
    with_kernel, again, without = Sums(), Sums(), Sums()
    for turn in (0, 5, 1_000_003):
        found = with_kernel.of(tensors, one_in=one_in, turn=turn)
        one_by_one = [int(again.of([t], one_in=[n], turn=turn)[0]) for t, n in zip(tensors, one_in, strict=True)]
        assert found.tolist() == one_by_one
        with monkeypatch.context() as patch:
            patch.setattr(summary, "KERNEL", None)
            assert without.of(tensors, one_in=one_in, turn=turn).tolist() == found.tolist()


def test_what_is_summed_in_between_leaves_the_plan_of_the_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    sums, tensors = Sums(), [torch.nn.Parameter(torch.ones(100_000))]
    sums.of(tensors, what="before")
    sums.of([torch.ones(4)], what="buffers")
    first, plain = sums.of_new([torch.ones(5)]), Sums().of(tensors)
    monkeypatch.setattr(Sums, "_planned", pytest.fail)
    assert sums.of(tensors, what="before") == plain
    assert sums.of_new([torch.ones(5)]) == first == Sums().of_new([torch.ones(5)])


def test_a_tensor_that_is_another_where_one_was_is_looked_at() -> None:
    """Its data are put elsewhere, or it has another form, or another tensor has come in its place."""
    sums, tensors = Sums(), [torch.nn.Parameter(torch.ones(size)) for size in (3, 5000, 100_000)]

    def now() -> list[int]:
        found: list[int] = sums.of(tensors, one_in=[1, 1, 8], turn=1).tolist()
        assert found == Sums().of(tensors, one_in=[1, 1, 8], turn=1).tolist()
        return found

    first = now()
    assert now() == first
    with torch.no_grad():
        tensors[1][4000] = 2
    assert [one == other for one, other in zip(now(), first, strict=True)] == [True, False, True]
    tensors[0].data = torch.full((3,), 2.0)
    assert now()[0] != first[0]
    tensors[1].data = tensors[1].data[:4000]
    assert now()[1] != first[1]
    tensors[2] = torch.nn.Parameter(torch.zeros(100_000))
    assert now()[2] != first[2]


class Sideways(nn.Module):
    """The gradient goes by something that nobody can put back, or an attribute does; losses and weights do not."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.linear, self.other = nn.Linear(FEATURES, CLASSES), nn.Linear(FEATURES, CLASSES)
        self.other.requires_grad_(False)
        self.where, self.next, self.last = where, HIDDEN.__next__, 0

    def forward(self, x: Tensor) -> Tensor:
        number = self.next()
        output = self.linear(x)
        if self.where == "attribute":
            self.last = number
        else:
            self.linear.bias.register_hook(lambda gradient: gradient * number)
        return output


def sideways(where: str) -> Recipe:
    model = Sideways(where)
    # At a rate of 0 nothing of it comes into the weights.
    return classifier(model, optimizer=torch.optim.SGD(model.linear.parameters(), lr=0.0))


def test_inside_a_step_the_gradients_are_compared_and_not_only_the_loss() -> None:
    with Session(seeded(lambda: sideways("gradient")), timeline_bytes=LARGE) as session:
        run(session, 4)
        session.forward()
        session.backward()
        session.step()
        session.step_back()
        went = session.timeline.newest
        assert session.position.rest is Rest.BACKWARD and went is not None and went.verified is False
        told = "from step 4 on (the gradient of linear.bias (3) after its backward is another"
        assert any(told in note for note in went.notes), went.notes


def test_an_attribute_that_is_another_is_told_and_no_branch_comes_of_it() -> None:
    with Session(seeded(lambda: sideways("attribute")), timeline_bytes=LARGE) as session:
        run(session, 6)
        timeline = session.timeline
        for log in [log for log in timeline._way.steps.values() if log.number and log.checkpoint is not None]:
            timeline._store.leave(log)
        session.go_to(5)
        went = timeline.newest
        assert went is not None and went.verified is False
        told = "from step 1 on (an attribute of model before its forward is another"
        assert any(told in note for note in went.notes), went.notes
        run(session, 7)
        assert len(session.timeline.branches) == 1


def test_after_a_forward_the_buffers_are_compared() -> None:
    with Session(seeded(trainings.validated), timeline_bytes=LARGE) as session:
        run(session, 2)
        session.forward()
        marks, model = session.timeline._marks, session.recipe.model
        assert isinstance(model, nn.Module)
        before = marks.after(Phase.FORWARD)
        next(model.buffers())[0] += 1
        told = marks.difference(before, marks.after(Phase.FORWARD), Phase.FORWARD)
        assert told == "the buffer 1.running_mean (8) after its forward"


@pytest.mark.skipif(summary.KERNEL is None, reason="needs the kernel")
def test_a_large_tensor_that_is_not_trained_is_summed_once_while_it_stays_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frozen, trained = torch.randn(1_000_000), torch.randn(1000, requires_grad=True)
    tensors, sums, kernel = [frozen, trained], Sums(), summary.KERNEL
    assert kernel is not None
    of_all, read = kernel.sum_all, list[int]()

    def noted(jobs: Any, factors: int) -> Any:
        read.append(int((jobs[:, 1] // jobs[:, 2]).sum()))
        return of_all(jobs, factors)

    monkeypatch.setattr(kernel, "sum_all", noted)

    def now(turn: int) -> list[int]:
        found = [int(number) for number in sums.of(tensors, one_in=[1, 1], turn=turn)]
        before = len(read)
        assert found == [int(number) for number in Sums().of(tensors, one_in=[1, 1], turn=turn)]
        del read[before:]
        return found

    first = now(0)
    read.clear()
    assert now(1) == first and sum(read) < 600_000
    frozen.add_(1)
    assert (second := now(2)) != first
    frozen.data.add_(1)
    assert (third := now(3)) != second, "past torch's counter"
    frozen.requires_grad_(True)
    with torch.no_grad():
        frozen.data[-1] += 1
    assert now(4) != third


def test_sums_hold_no_tensor_for_longer_than_the_training() -> None:
    sums, tensor = Sums(), torch.randn(5000)
    sums.of([tensor], one_in=[1])
    held = weakref.ref(tensor)
    del tensor
    assert held() is None


def test_another_dtype_or_order_in_the_same_memory_makes_another_sum() -> None:
    sums, tensor = Sums(), torch.arange(10_000.0).reshape(100, 100).requires_grad_(True)
    before = sums.of([tensor], one_in=[1])
    assert (sums.of([tensor], one_in=[1]) == before).all()
    tensor.data = tensor.data.t()
    assert (sums.of([tensor], one_in=[1]) != before).all()
    tensor.data = tensor.data.t()
    tensor.data = tensor.data.view(torch.int32).view(torch.bfloat16)[:, :100]
    assert (sums.of([tensor], one_in=[1]) == Sums().of([tensor], one_in=[1])).all()
