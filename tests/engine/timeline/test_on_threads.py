"""A model that calls its layers on several threads: one moment after the other is stopped at, and the way back is exact."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Thread

import pytest
import torch
from plain import seeded
from torch import Tensor, nn
from walks import LARGE, Spot, Straight, run
from zoo_parts import CLASSES, FEATURES, classifier

from gradscope import Recipe, Session
from gradscope.engine.stops.stops import Stops
from gradscope.engine.stops.stride import Stride
from gradscope.engine.surroundings.unwinding import Unwind
from gradscope.protocol.failure import BadInput
from gradscope.protocol.phases import Moment, Rest, Verb
from gradscope.protocol.stops.point import StopHit, StopPoint

BRANCHES, THREADS = 24, 6


class Spread(nn.Module):
    """Each branch on one of several threads, as a data-parallel forward does it."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        super().__init__()
        self.pool = [pool]
        self.branches = nn.ModuleList(nn.Sequential(nn.Linear(FEATURES, 64), nn.ReLU()) for _ in range(BRANCHES))
        self.head = nn.Linear(64, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(sum(self.pool[0].map(lambda layer: layer(x), self.branches)))


class OnItsOwn(nn.Module):
    """Each branch on a thread of its own, which tells nobody what was raised in it."""

    def __init__(self, needs_all: bool) -> None:
        super().__init__()
        self.needs_all = needs_all
        self.branches = nn.ModuleList(nn.Linear(FEATURES, 8) for _ in range(3))
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        found: list[Tensor] = []
        for layer in self.branches:
            thread = Thread(target=lambda layer=layer: found.append(layer(x)))
            thread.start()
            thread.join()
        assert not self.needs_all or len(found) == len(self.branches), "a branch is missing"
        return nn.functional.linear(sum(found), self.head.weight)


def on_its_own(needs_all: bool) -> Recipe:
    model = OnItsOwn(needs_all)
    return classifier(model, optimizer=torch.optim.Adam(model.parameters(), lr=0.01))


def spread(pool: ThreadPoolExecutor) -> Recipe:
    model = Spread(pool)
    return classifier(model, optimizer=torch.optim.Adam(model.parameters(), lr=0.01))


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Its threads take turns as often as can be."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(THREADS) as executor:
            yield executor
    finally:
        sys.setswitchinterval(before)


class Watchful:
    """A gate that is armed all the time, and sees whether another thread comes in between."""

    is_armed = True

    def __init__(self) -> None:
        self.session: Session | None = None
        self.inside = self.most_inside = 0
        self.moments: list[Moment] = []
        self.stops = Stops()
        self.hits: list[StopHit] = []
        self.leave_at = ""

    def stop(self, moment: Moment) -> None:
        assert self.session is not None
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        try:
            for _ in range(30):
                # Where another thread has broken the phase off, this one finds its moment gone: nobody hears of it.
                assert self.session.position.moment == moment
            self.moments.append(moment)
            self.hits += self.stops.at(moment)
            with pytest.raises(BadInput):
                self.session.step_back()
        finally:
            self.inside -= 1
        if self.leave_at and moment.layer == self.leave_at:
            self.leave_at = ""
            raise Unwind


def watched(make: partial[Recipe], **options: int) -> tuple[Session, Watchful]:
    gate = Watchful()
    gate.session = Session(seeded(make), gate=gate, **options)  # type: ignore[arg-type]
    gate.stops.follow(gate.session.book)
    return gate.session, gate


def test_one_thread_after_the_other_is_stopped(pool: ThreadPoolExecutor) -> None:
    session, gate = watched(partial(spread, pool))
    with session:
        assert (
            gate.stops.set([StopPoint(id=1, text="enter branches.* if step == 1"), StopPoint(id=2, text="leave head")])
            == []
        )
        run(session, 2)
        assert gate.most_inside == 1 and session.observer.errors == []
        entered = [moment.layer for moment in gate.moments if moment.event == "enter" and moment.step == 1]
        modules = dict(session.recipe.model.named_modules())  # type: ignore[union-attr]
        assert sorted(entered) == sorted(modules.keys() - {"branches"})
        assert len([hit for hit in gate.hits if hit.id == 1]) == 3 * BRANCHES
        assert len([hit for hit in gate.hits if hit.id == 2]) == 2


def test_over_a_layer_of_one_thread_leads_to_a_moment_that_is_not_in_it(pool: ThreadPoolExecutor) -> None:
    session, gate = watched(partial(spread, pool))
    strides: list[tuple[Stride, Moment]] = []
    met: list[Moment] = []

    def follow(moment: Moment) -> None:
        if strides and not met and strides[0][0].stops_at(moment):
            met.append(moment)
        if not strides and moment.event == "enter" and moment.layer == "branches.3":
            strides.append((Stride(Verb.OVER, moment, session.observer.running), moment))

    plain = gate.stop
    gate.stop = lambda moment: (plain(moment), follow(moment))[0]  # type: ignore[method-assign]
    with session:
        session.forward()
        assert strides and met and not met[0].layer.startswith("branches.3.")


def test_the_way_back_is_exact_and_a_break_on_one_thread_undoes_the_phase(pool: ThreadPoolExecutor) -> None:
    straight = Straight(partial(spread, pool), 6)
    session, gate = watched(partial(spread, pool), timeline_bytes=LARGE)
    with session:
        run(session, 4)
        gate.leave_at = "branches.5"
        with pytest.raises(Unwind):
            session.forward()
        assert session.position.rest is Rest.READY and not session.is_broken
        session.step_back()
        assert session.state_hash() == straight.hashes[Spot.of(session)]
        run(session, 6)
        for step in (5, 2):
            session.go_to(step)
            assert session.state_hash() == straight.hashes[Spot.of(session)]
        went = session.timeline.newest
        assert went is not None and went.verified is not False and not went.notes
        assert gate.most_inside == 1 and len(session.timeline.branches) == 1


@pytest.mark.parametrize("needs_all", [True, False], ids=["it fails without", "it goes on without"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_break_that_a_thread_keeps_to_itself_is_no_failure(needs_all: bool) -> None:
    straight = Straight(partial(on_its_own, needs_all), 4)
    session, gate = watched(partial(on_its_own, needs_all), timeline_bytes=LARGE)
    with session:
        run(session, 2)
        gate.leave_at = "branches.1"
        with pytest.raises(Unwind):
            session.forward()
        assert session.position.rest is Rest.READY and not session.is_broken
        assert "branches.2" not in [moment.layer for moment in gate.moments if moment.step == 2]
        session.timeline.stand_again()
        assert session.state_hash() == straight.hashes[Spot.of(session)]
        run(session, 4)
        assert session.state_hash() == straight.hashes[Spot.of(session)] and len(session.timeline.branches) == 1
