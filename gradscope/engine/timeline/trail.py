"""What was done in a training, written down in the place where it stands: on its branch, or on a new one."""

from __future__ import annotations

from gradscope.engine.timeline.marks import Mark
from gradscope.engine.timeline.store import Store
from gradscope.engine.timeline.ways import Action, Ran, Way, is_same
from gradscope.protocol.phases import Phase


class Trail:
    """The branches of one training, and where on them it stands."""

    def __init__(self) -> None:
        self._store = Store()
        self._ways: dict[int, Way] = {}
        self._way = Way(0, None, 0)
        self._number, self._at = 0, 0
        """Of the step; so much of what is written down for it is done."""
        self._begun: Mark | None = None
        """The mark of now, where the first forward of a step was undone: its batch waits, and random numbers were drawn for
        it. What was kept before it holds all the same."""

    def _note(self, action: Action) -> bool:
        """Whether it is what was done here before."""
        log = self._way.log(self._number)
        is_known = self._at < len(log.actions)
        if is_known and not is_same(log.actions[self._at], action):
            self._fork()
            log, is_known = self._way.log(self._number), False
        if not is_known:
            log.actions.append(action)
        self._at += 1
        return is_known

    @property
    def _is_at_fork(self) -> bool:
        """Training has just gone away from another branch: no phase was run since."""
        way, number = self._way, self._number
        if way.parent is None or number != way.from_step:
            return False
        return not any(isinstance(action, Ran) for action in way.log(number).actions[way.forked_at : self._at])

    def _fork(self) -> None:
        """What is done from here on is another branch."""
        way, number = self._way, self._number
        old = way.log(number)
        new = Way(
            max(self._ways) + 1,
            way.id,
            number,
            forked_at=self._at,
            steps={n: log for n, log in way.steps.items() if n < number},
            records={n: record for n, record in way.records.items() if n < number},
        )
        log = new.log(number)
        log.actions = old.actions[: self._at]
        if self._at > old.begins_at:
            log.mark = old.mark
        if old.checkpoint is not None and old.checkpoint.at <= self._at:
            self._store.house(old.checkpoint, log)
        self._ways[new.id] = self._way = new

    def _drop_empty_ways(self) -> None:
        """Training goes elsewhere, or does something else: what was broken off before it had begun is no branch."""
        for way in [way for way in self._ways.values() if way.is_empty]:
            parent = self._ways.get(-1 if way.parent is None else way.parent)
            if way is self._way:
                if parent is None or not way.steps.keys() <= parent.steps.keys():
                    # Of the parent too little is kept to stand there.
                    continue
                self._way = parent
            if way.from_step in way.steps:
                self._store.leave(way.steps[way.from_step])
            del self._ways[way.id]

    def _take_back_forward(self) -> None:
        """The newest one was undone together with its backward. What was done between the two is done all the same, and
        stands before the forward that comes next."""
        log = self._way.log(self._number)
        actions = log.actions[: self._at]
        ran = [i for i, action in enumerate(actions) if isinstance(action, Ran) and action.phase is Phase.FORWARD]
        if not ran:
            # Nobody wrote anything down yet when it was made.
            return
        at = ran[-1]
        if self._at == len(log.actions) and self._number >= max(self._way.steps):
            # Nothing is ahead that another branch would have to be told apart from.
            del log.actions[at:]
        self._at = at
        for action in actions[at + 1 :]:
            self._note(action)
