"""The checkpoints that are kept, within a limit of memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gradscope.engine.data.tape import Tape, TapePlace
from gradscope.engine.timeline.blocks import Ledger
from gradscope.engine.timeline.checkpoint import OVERHEAD_BYTES, Checkpoint
from gradscope.engine.timeline.thinning import order_of_going, wanted_bytes
from gradscope.engine.timeline.ways import StepLog, Way


class Store:
    """Of one timeline."""

    def __init__(self) -> None:
        self.limit_bytes = 0
        self.tape: Tape | None = None
        self.kept: list[Checkpoint] = []
        """In the order in which they were taken."""
        self._ledger = Ledger()
        self._newest_bytes: int | None = None
        """What the newest checkpoint has added."""

    @property
    def used_bytes(self) -> int:
        tape = 0 if self.tape is None else self.tape.used_bytes
        return self._ledger.used_bytes + tape + OVERHEAD_BYTES * len(self.kept)

    def next_bytes(self, estimate: Callable[[], int]) -> int:
        """What the next checkpoint will add; `estimate` is asked where there is none to go by."""
        return (estimate() if self._newest_bytes is None else self._newest_bytes) + OVERHEAD_BYTES

    def add(self, checkpoint: Checkpoint, home: StepLog) -> None:
        """In the place of the one that the log has."""
        before = self._ledger.used_bytes
        self._ledger.hold(checkpoint.reach.blocks)
        added = self._ledger.used_bytes - before
        # The first one has everything, and those that follow share with it.
        self._newest_bytes = added if self._newest_bytes is None else max(added, int(self._newest_bytes * 0.9))
        self.leave(home)
        self.kept.append(checkpoint)
        self.house(checkpoint, home)

    def house(self, checkpoint: Checkpoint, home: StepLog) -> None:
        """Keep it in this log too."""
        home.checkpoint = checkpoint
        checkpoint.homes.append(home)

    def leave(self, home: StepLog) -> None:
        """The log has no checkpoint any more."""
        checkpoint, home.checkpoint = home.checkpoint, None
        if checkpoint is not None:
            checkpoint.homes.remove(home)
            if not checkpoint.homes:
                self._let_go(checkpoint)

    def drop(self, checkpoint: Checkpoint) -> None:
        for home in checkpoint.homes:
            home.checkpoint = None
        checkpoint.homes.clear()
        self._let_go(checkpoint)

    def clear(self) -> None:
        for checkpoint in [*self.kept]:
            self.drop(checkpoint)
        self._newest_bytes = None

    def make_room(self, size: int, ways: Iterable[Way], current: Way, now: int, place: Callable[[], TapePlace]) -> bool:
        """So that `size` more bytes fit. What belongs to step `now` of the current way stays. Whether they fit."""
        if self.used_bytes + size <= self.limit_bytes:
            return True
        goal = wanted_bytes(self.limit_bytes) - size
        for checkpoint in self._in_order_of_going(current, now):
            if self.used_bytes <= goal:
                break
            self.drop(checkpoint)
            self.let_go_of_data(place())
        self.forget_steps(ways, current, now)
        return self.used_bytes + size <= self.limit_bytes

    def let_go_of_data(self, now: TapePlace) -> None:
        """Batches that nobody comes back to."""
        if self.tape is not None:
            self.tape.let_go_before([now, *(kept.own.spot.tape for kept in self.kept)])

    def forget_steps(self, ways: Iterable[Way], current: Way, now: int) -> None:
        """What was done in steps that cannot be gone to any more."""
        for way in ways:
            first = min((number for number, log in way.steps.items() if log.checkpoint is not None), default=None)
            if first is None:
                first = now if way is current else way.until_step + 1
            for number in [number for number in way.steps if number < first]:
                del way.steps[number]

    # ------------------------------------------------------------------------------------------ private

    def _in_order_of_going(self, current: Way, now: int) -> Iterable[Checkpoint]:
        own: dict[int, Checkpoint] = {}
        for number, log in current.steps.items():
            if log.checkpoint is not None:
                own[number] = log.checkpoint
        ids = {id(checkpoint) for checkpoint in own.values()}
        # Of other ways the oldest go first.
        yield from [checkpoint for checkpoint in self.kept if id(checkpoint) not in ids]
        steps = sorted(own)
        is_for_data = self.tape is not None and self.tape.used_bytes > self.limit_bytes // 2
        if not is_for_data:
            yield from [own[steps[place]] for place in order_of_going(steps, now)]
        yield from [own[number] for number in steps if own[number].homes and number != now]

    def _let_go(self, checkpoint: Checkpoint) -> None:
        self.kept.remove(checkpoint)
        self._ledger.let_go(checkpoint.reach.blocks)
