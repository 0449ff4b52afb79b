"""Where a training is to stop, as the app knows it: a person's stops, how often each has held, which holds now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from gradscope.protocol.messages import Done, Failed, Opened
from gradscope.protocol.messages.checkpoints import CheckpointLoaded
from gradscope.protocol.messages.stops import Stopped
from gradscope.protocol.messages.timeline import WentTo
from gradscope.protocol.stops.point import MAX_STOPS, StopHit, StopPoint
from gradscope.state.log import Log
from gradscope.state.sentences import with_step
from gradscope.state.topics import Topic


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A stop without a number: as it is kept with its file, and as a dialog makes it."""

    text: str
    is_enabled: bool = True
    every: int = 1


class StopsState:
    """It outlives sessions; hits do not."""

    def __init__(self) -> None:
        self.points: tuple[StopPoint, ...] = ()
        """In the order in which they were added; changed by the methods below only."""
        self.hits: dict[int, StopHit] = {}
        """By the number of a stop: the newest time that it held."""
        self.now: tuple[StopHit, ...] = ()
        """Because of what training stands where it stands; nothing where it stands for another reason."""
        self._is_news = False
        """The Done of the run that `now` has ended has not come."""
        self._next_id = 0

    # ------------------------------------------------------------------------------------------ from the engine

    def hear(self, message: object, log: Log) -> tuple[Topic, ...]:
        """See `Part`."""
        match message:
            case Stopped(hits=hits):
                self._take(hits)
                for hit in hits:
                    if hit.sentence:
                        log.say(with_step(hit.sentence, hit.step))
                return (Topic.STOPS, Topic.LOG)
            case Opened():
                self._begin_anew()
                return (Topic.STOPS,)
            case Done() if self._is_news:
                self._is_news = False
            case Done() | Failed() | CheckpointLoaded() | WentTo():
                return self._go_on()
        return ()

    def _take(self, hits: Sequence[StopHit]) -> None:
        known = {point.id for point in self.points}
        self.hits |= {hit.id: hit for hit in hits if hit.id in known}
        self.now, self._is_news = tuple(hits), True

    def _begin_anew(self) -> None:
        """An engine keeps hits with their numbers, also through another session: with others it counts anew."""
        self.hits, self.now, self._is_news = {}, (), False
        first, count = self._next_id, len(self.points)
        self.points = tuple(replace(point, id=first + i) for i, point in enumerate(self.points))
        self._next_id = first + count

    def _go_on(self) -> tuple[Topic, ...]:
        was_stopped, self.now = bool(self.now), ()
        return (Topic.STOPS,) if was_stopped else ()

    # ------------------------------------------------------------------------------------------ from the person

    def add(self, wanted: Wanted) -> StopPoint | None:
        """Add one at the end; None where there are as many as there may be. One with the same text is only turned on."""
        same = self.of_text(wanted.text)
        if same is not None:
            return self.change(same.id, replace(wanted, is_enabled=True))
        if len(self.points) >= MAX_STOPS:
            return None
        point = StopPoint(id=self._next_id, text=wanted.text, is_enabled=wanted.is_enabled, every=wanted.every)
        self._next_id += 1
        self.points = (*self.points, point)
        return point

    def change(self, number: int, wanted: Wanted) -> StopPoint | None:
        """Another text, or counting: its hits begin anew, since it is another condition. Where it is as it was, they stay."""
        old = self.point(number)
        if old is None:
            return None
        is_other = (old.text, old.every) != (wanted.text, wanted.every)
        new = StopPoint(
            id=self._next_id if is_other else old.id,
            text=wanted.text,
            is_enabled=wanted.is_enabled,
            every=wanted.every,
        )
        if is_other:
            self._next_id += 1
            self._forget({old.id})
        self.points = tuple(new if point.id == number else point for point in self.points)
        return new

    def enable(self, numbers: Iterable[int], is_enabled: bool) -> None:
        wanted = set(numbers)
        self.points = tuple(
            replace(point, is_enabled=is_enabled) if point.id in wanted else point for point in self.points
        )

    def remove(self, numbers: Iterable[int]) -> None:
        gone = set(numbers)
        self.points = tuple(point for point in self.points if point.id not in gone)
        self._forget(gone)

    def replace_all(self, wanted: Sequence[Wanted]) -> bool:
        """These and no others; whether that is anything new. Those that are there already keep their hits."""
        if tuple(wanted) == self.as_wanted():
            return False
        before = {as_wanted(point): point for point in self.points}
        self.points = ()
        for one in wanted[:MAX_STOPS]:
            known = before.get(one)
            if known is not None:
                self.points = (*self.points, known)
            else:
                self.add(one)
        kept = {point.id for point in self.points}
        self._forget({number for number in self.hits if number not in kept})
        return True

    def _forget(self, numbers: set[int]) -> None:
        self.hits = {number: hit for number, hit in self.hits.items() if number not in numbers}
        self.now = tuple(hit for hit in self.now if hit.id not in numbers)

    # ------------------------------------------------------------------------------------------ questions

    def point(self, number: int) -> StopPoint | None:
        return next((point for point in self.points if point.id == number), None)

    def of_text(self, text: str) -> StopPoint | None:
        return next((point for point in self.points if point.text == text), None)

    def as_wanted(self) -> tuple[Wanted, ...]:
        return tuple(map(as_wanted, self.points))

    def is_now(self, number: int) -> bool:
        return any(hit.id == number for hit in self.now)


def as_wanted(point: StopPoint) -> Wanted:
    return Wanted(text=point.text, is_enabled=point.is_enabled, every=point.every)
