"""`--break`: where a run without a window stops, and how that is told. Imports no torch before there is a training."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from gradscope.protocol.failure import BadInput
from gradscope.protocol.phases import BEGINS, Moment, Position, Rest
from gradscope.protocol.stops.parsing import parse
from gradscope.protocol.stops.point import StopHit, StopPoint

if TYPE_CHECKING:
    from gradscope.engine.reports.report import PhaseReport
    from gradscope.engine.script.session import ScriptSession
    from gradscope.engine.session import Session
    from gradscope.engine.stops.stops import Stops

_RESTS = {
    Rest.READY: "before step {step}",
    Rest.FORWARD: "after the forward of step {step}",
    Rest.ACCUMULATING: "between two micro-batches of step {step}",
    Rest.BACKWARD: "after the backward of step {step}",
}


class Breaks:
    """The texts of all `--break`. Made before anything runs; `follow` when there is a training."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Raises BadInput for a text that says nothing."""
        for text in texts:
            try:
                parse(text)
            except BadInput as error:
                raise BadInput(f"--break: {error}") from None
        self.texts = tuple(texts)
        self._stops: Stops | None = None

    def __bool__(self) -> bool:
        return bool(self.texts)

    @property
    def is_armed(self) -> bool:
        """Whether a moment inside a phase can be one to stop at."""
        return self._stops is not None and self._stops.is_armed

    def follow(self, session: Session | ScriptSession) -> list[str]:
        """Sentences about those that cannot hold in this training."""
        if not self.texts:
            return []
        from gradscope.engine.script.session import ScriptSession
        from gradscope.engine.stops.refusals import OF_A_SCRIPT
        from gradscope.engine.stops.stops import Stops

        self._stops = Stops()
        substeps = OF_A_SCRIPT if isinstance(session, ScriptSession) else session.info.substeps
        findings = None if session.verdicts is None else session.findings
        self._stops.follow(session.book, findings, lambda: substeps)
        return self._stops.set(StopPoint(id=number, text=text) for number, text in enumerate(self.texts))

    def at(self, moment: Moment) -> list[StopHit]:
        """Those that hold at a moment inside a phase."""
        return [] if self._stops is None else self._stops.at(moment, sys._getframe(2))

    def after(self, report: PhaseReport) -> list[StopHit]:
        """Those that hold when a phase is complete."""
        return [] if self._stops is None else self._stops.after(report)

    def content(self, hits: Iterable[StopHit], position: Position) -> dict[str, Any]:
        """For the JSON line."""
        hits = [*hits]
        moment = position.moment or next((hit.moment for hit in hits), None)
        place: dict[str, Any] = {"step": position.step, "where": position.rest.value}
        if moment is not None:
            place |= {"substep": moment.substep.value, "event": moment.event}
            place |= {"layer": moment.layer, "call": moment.call} if moment.event not in ("", BEGINS) else {}
        stops = [{"break": self.texts[hit.id], "subject": hit.subject, "sentence": hit.sentence} for hit in hits]
        return {**place, "stops": stops}

    def sentences(self, hits: Iterable[StopHit], position: Position) -> list[str]:
        """For people."""
        moment = position.moment
        if moment is None:
            where = _RESTS.get(position.rest, "at step {step}").format(step=position.step)
        else:
            layer = f", {moment.event} {moment.layer or '(model)'}" if moment.event not in ("", BEGINS) else ""
            call = f" #{moment.call}" if moment.call else ""
            before = f"{BEGINS} " if moment.event == BEGINS else ""
            where = f"at step {position.step}, {before}{moment.substep.value}{layer}{call}"
        return [f"stopped {where}: {hit.sentence}" for hit in hits]
