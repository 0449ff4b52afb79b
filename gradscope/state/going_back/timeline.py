"""Going back: how far it can be gone, which branches there are, and what was recorded on those that training has left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gradscope.protocol.messages import Cancelled, Failed, Recomputed, ReplayProgress, Report, TimelineState, WentTo
from gradscope.protocol.messages.timeline import Branch, WeightsRestored
from gradscope.protocol.phases import Phase, Position, Rest
from gradscope.state.history import History
from gradscope.state.log import Log
from gradscope.state.topics import Topic

MAX_PAST = 20
"""Branches whose records are kept beside those of the one that training is on."""
MAX_PAST_BYTES = 256 * 1024 * 1024
"""Of them all together; beyond that the oldest keep their curves only."""
_DONE = {
    Rest.FORWARD: (Phase.FORWARD,),
    Rest.IN_BACKWARD: (Phase.FORWARD,),
    Rest.BACKWARD: (Phase.FORWARD, Phase.BACKWARD),
    Rest.IN_STEP: (Phase.FORWARD, Phase.BACKWARD),
}
"""The phases of a step that are done where a session rests inside of it."""


_RESTORED = "Weights, buffers, optimizer states and random states are as they were before step {step}."
_LEFT_ALONE = (
    "The script's own variables are left alone: its counters, its place in the data, its schedulers and their rates"
)


class Timeline:
    """Of one session."""

    def __init__(self) -> None:
        self.told: TimelineState | None = None
        """What the engine has said last; None while it has said nothing."""
        self.progress: ReplayProgress | None = None
        """Of the replay that is under way, if one is."""
        self.is_going = False
        """It has been asked for, and not been answered."""
        self.branch = 0
        """That the training is on."""
        self.past: dict[int, History] = {}
        """What was recorded on branches, by their id, behind the point where training has left them."""

    def hear(self, message: object, log: Log) -> Iterable[Topic]:
        """See `Part`."""
        match message:
            case TimelineState():
                self.told, self.branch = message, message.branch
                return (Topic.TIMELINE,)
            case ReplayProgress():
                self.progress = message
                return (Topic.TIMELINE,)
            case WentTo():
                self.progress, self.is_going = None, False
                log.say(_arrival(message), is_warning=message.verified is False)
                for note in message.notes:
                    log.say(note, is_warning=True)
                return (Topic.TIMELINE, Topic.LOG)
            case WeightsRestored(step=step, notes=notes):
                log.say(f"{_RESTORED.format(step=step)} {_LEFT_ALONE}")
                for note in notes:
                    log.say(note, is_warning=True)
                return (Topic.LOG,)
            case Failed() | Cancelled() | Recomputed() if self.is_going:
                self.progress, self.is_going = None, False
                return (Topic.TIMELINE,)
        return ()

    # ------------------------------------------------------------------------------------------ questions

    @property
    def branches(self) -> Mapping[int, Branch]:
        return {} if self.told is None else {branch.id: branch for branch in self.told.branches}

    def refusal(self, step: int | None = None) -> str | None:
        """Why one cannot go back (to before that step); None where one can, as far as is known here."""
        told = self.told
        if told is None:
            return "It is not known yet how far one can go back"
        if told.reason:
            return told.reason
        if told.limit_bytes == 0:
            return "Going back is off: the settings give it memory"
        if told.earliest is None:
            return "There is nothing to go back to yet"
        if step is not None and step < told.earliest:
            return f"The earliest step that can be gone to is {told.earliest}"
        return None

    def weights_refusal(self, step: int) -> str | None:
        """Why a script's weights of before that step cannot be put back; None where they can, as far as is known here."""
        told = self.told
        if told is None:
            return "Weights of earlier steps are not kept: give them memory in the settings, then press Reset"
        if told.reason:
            return told.reason
        if step in told.checkpoints:
            return None
        nearest = min(told.checkpoints, key=lambda kept: abs(kept - step), default=None)
        near = "" if nearest is None else f": the nearest is {nearest}"
        return f"The weights of step {step} are not kept{near}"

    def other_history(self) -> tuple[int, History] | None:
        """The branch beside the one that training is on, and its records: its parent, or what was left last."""
        own = self.branches.get(self.branch)
        if own is not None and own.parent in self.past:
            return own.parent, self.past[own.parent]
        return next(reversed(self.past.items()), None)

    # ------------------------------------------------------------------------------------------ going

    def leave(self, history: History, went: WentTo) -> tuple[History, dict[Phase, Report]]:
        """The records and the newest reports as they were where training stands now; those behind it are kept."""
        step, done = went.position.step, _done_at(went.position)
        back = self.past.get(went.branch)
        self._keep(self.branch, history)
        # On the same branch one may go on to where training had been before.
        is_here = went.branch == self.branch and (back is None or _reach(history) >= step - 1)
        source = history if is_here or back is None else back
        self.branch = went.branch
        present = source.until(step)
        reports = dict(source.kept.of(step - 1))
        for phase, report in source.kept.of(step).items():
            if phase in done:
                present.add_report(report)
                reports[phase] = report
        present.look_at(reports.values())
        return present, reports

    def _keep(self, branch: int, history: History) -> None:
        known = self.past.get(branch)
        if known is None or _reach(known) <= _reach(history):
            self.past.pop(branch, None)
            self.past[branch] = history
        while len(self.past) > MAX_PAST:
            self.past.pop(next(iter(self.past)))
        for kept in self.past.values():
            if sum(one.nbytes for one in self.past.values()) <= MAX_PAST_BYTES:
                break
            kept.keep_curves_only()


def _done_at(position: Position) -> tuple[Phase, ...]:
    if position.rest is Rest.ACCUMULATING:
        return (Phase.FORWARD, Phase.BACKWARD)
    return _DONE.get(position.rest, ())


def _reach(history: History) -> int:
    return int(history.loss.steps[-1]) if len(history.loss) else -1


def _arrival(went: WentTo) -> str:
    position = went.position
    where = {
        Rest.FORWARD: f"after the forward of step {position.step}",
        Rest.BACKWARD: f"after the backward of step {position.step}",
    }.get(position.rest, f"before step {position.step}")
    how = {
        None: "",
        True: ", replayed and the same as then, bit for bit",
        False: ", replayed, but not the same as then: this is another state",
    }[went.verified]
    return f"Training stands {where}{how}"
