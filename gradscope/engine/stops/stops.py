"""Whether a training is to stop: asked at every moment of a phase, and at its end. On the thread that trains."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from types import FrameType

from gradscope.engine.book.book import Book
from gradscope.engine.book.turns import rates_of
from gradscope.engine.capture.record import PhaseRecord
from gradscope.engine.reports.report import PhaseReport
from gradscope.engine.stops.parameters import parameters_now
from gradscope.engine.stops.point import ArmedPoint, Told, armed
from gradscope.engine.stops.refusals import why_never
from gradscope.engine.stops.seen import Seen
from gradscope.engine.surroundings.source import users_line
from gradscope.protocol.failure import BadInput
from gradscope.protocol.findings import Findings
from gradscope.protocol.phases import BEGINS, Moment, Phase, Rest, SubStep
from gradscope.protocol.stops import tree
from gradscope.protocol.stops.evaluation import At, Trigger
from gradscope.protocol.stops.point import StopHit, StopPoint
from gradscope.protocol.stops.quantities import Figure, Happening
from gradscope.protocol.subjects import SubjectKind

_KNOWN_IN_PHASES = frozenset(
    {SubjectKind.ACTIVATION, SubjectKind.ACTIVATION_GRAD, SubjectKind.GRAD, SubjectKind.CLIPPED_GRAD}
)
_OF_OPTIMIZER = frozenset({SubjectKind.PARAMETER, SubjectKind.UPDATE, SubjectKind.OPTIMIZER_STATE})
_OF_POSITION = frozenset({Figure.STEP, Figure.EPOCH, Figure.BATCH, Figure.LR})
_RESTS: dict[SubStep, tuple[Rest, ...]] = {
    SubStep.BATCH: (Rest.READY, Rest.ACCUMULATING),
    SubStep.FORWARD: (Rest.READY, Rest.ACCUMULATING),
    SubStep.BACKWARD: (Rest.FORWARD,),
    SubStep.STEP: (Rest.BACKWARD,),
}
"""Where a training stands that is about to begin a sub-step."""
_MOST_TOLD = 3
"""Subjects of one stop in its sentence."""


class Stops:
    """The points that are set, for whichever session is open: `follow` says which. Hits are kept with the points' numbers."""

    def __init__(self) -> None:
        self._points: list[ArmedPoint] = []
        self._counts: dict[int, ArmedPoint] = {}
        """By number, also of those that are not enabled now."""
        self._once: ArmedPoint | None = None
        self.once_told = ""
        """What is to be said of the one that is set once, when it has been stopped at."""
        self._book: Book | None = None
        self._findings: Callable[[], Findings] | None = None
        self._substeps: Callable[[], Collection[SubStep]] = lambda: frozenset(SubStep)
        self._known_findings: set[tuple[str, str]] | None = None
        self._forget()

    def _forget(self) -> None:
        self._seen = Seen()
        self._over: Seen | None = None
        """Of the step that is over, until a script begins the next one: conditions are about that one there."""
        self._record: PhaseRecord | None = None
        self._position = 0
        self._epoch: int | None = None
        self._begun = -1
        """The newest step whose first forward has been seen to begin."""
        self._line_calls: dict[ArmedPoint, tuple[str, int]] = {}
        """The layers' calls that points on lines were last passed at, in this phase."""
        self._known_findings = None

    # ------------------------------------------------------------------------------------------ what is set

    def follow(
        self,
        book: Book | None,
        findings: Callable[[], Findings] | None = None,
        substeps: Callable[[], Collection[SubStep]] = lambda: frozenset(SubStep),
    ) -> None:
        """Another training, or none. Points and their hits stay. `findings`: where somebody looks for them; `substeps`: those
        that the training comes to, as it is set now."""
        self._book, self._findings, self._substeps = book, findings, substeps
        self._once = None
        self._forget()
        if book is not None:
            self._epoch = book.driver.batches.epoch
        for point in self._all():
            point.begin_step()
        self._begin_asking()

    def set(self, points: Iterable[StopPoint]) -> list[str]:
        """These in the place of those before; sentences about those that cannot hold in this training as it is captured now.

        Raises BadInput for the first whose text says nothing, and leaves everything as it was.
        """
        points = tuple(points)
        new = armed(points)
        for point in new:
            before = self._counts.get(point.point.id)
            if before is not None:
                point.continues(before)
        ids = {point.id for point in points}
        self._counts = {id: point for id, point in self._counts.items() if id in ids}
        self._counts.update({point.point.id: point for point in new})
        self._points = new
        self._begin_asking()
        return self.never()

    def never(self) -> list[str]:
        """Sentences about those that cannot hold in this training as it is captured now."""
        return [
            f"The stop '{point.stop}' cannot hold: {why}" for point in self._points if (why := self.why_never(point))
        ]

    def set_once(self, text: str) -> None:
        """One more, which is forgotten when it has been stopped at or `clear_once` is called. Raises BadInput for a text that
        says nothing, or nothing that can be here."""
        point = ArmedPoint.of(StopPoint(id=0, text=text))
        why = self.why_never(point)
        if why:
            raise BadInput(f"'{point.stop}' cannot hold: {why}")
        self._once, self.once_told = point, ""
        self._begin_asking()

    def clear_once(self) -> None:
        self._once = None

    def why_never(self, point: ArmedPoint) -> str:
        """Why it cannot hold in this training; "" where it can."""
        if self._book is None:
            return ""
        has_findings, substeps = self._findings is not None, self._substeps()
        return why_never(point.stop, self._book, has_findings=has_findings, substeps=substeps)

    @property
    def is_armed(self) -> bool:
        """Whether a moment inside a phase can be one to stop at."""
        return any(point.is_inside_phases for point in self._all())

    def _all(self) -> list[ArmedPoint]:
        return self._points if self._once is None else [*self._points, self._once]

    def _begin_asking(self) -> None:
        """What is known already makes nothing true that was set just now."""
        self._kinds = frozenset(kind for point in self._all() for kind in point.kinds)
        self._figures = frozenset(figure for point in self._all() for figure in point.figures)
        self._needs_scale = Figure.SCALE in self._figures or any(
            Happening.SCALE_DROP in point.happenings for point in self._all()
        )
        self._needs_over = self._needs_scale or any(
            point.stop.place is not None and point.stop.condition is not None for point in self._all()
        )
        if not any(point.asks_for_findings for point in self._all()):
            self._known_findings = None
        elif self._known_findings is None and self._book is not None:
            self._known_findings = set(self._findings_now())
        if self._book is not None and self._book.observer.record is not None:
            self._begin_step_if_new(self._book)
            self._record, self._position = None, 0
            self._take_in_record(self._book)

    # ------------------------------------------------------------------------------------------ asked along the way

    def at(self, moment: Moment, frame: FrameType | None = None) -> list[StopHit]:
        """The points that training is to stop for at a moment inside a phase, in a script also between two. `frame` is where
        the call comes from."""
        book = self._book
        if book is None or not self._all():
            return []
        triggers = self._begin_step_if_new(book, moment)
        if book.inside is not None:
            self._over = None
            triggers += self._take_in_position(book, inside=True)
        triggers += self._take_in_record(book)
        triggers += self._take_in_moment(book, moment)
        hits: list[StopHit] = []
        for point in self._all():
            told = point.watch(triggers, self._over or self._seen) if triggers else []
            if point.stop.place is not None:
                told += self._passed(point, moment, frame)
            self._add(hits, point, told, moment.step, moment)
        self._epoch = book.driver.batches.epoch
        return hits

    def after(self, report: PhaseReport) -> list[StopHit]:
        """The same between two phases, when one is complete: with what is known only then, and where training has come to."""
        book = self._book
        if book is None or not self._all():
            return []
        raw, phase, self._over = report.raw, report.raw.phase, None
        step = raw.step
        triggers: list[Trigger] = []
        if step != self._seen.step:
            triggers += self._begin(book, step, raw.optimizer)
        tables = book.observer.tables
        rows = tables.subjects.rows
        positions = [n for kind in self._kinds for n in tables.of_kind(raw.subjects, kind).tolist()]
        keys = {n: rows[raw.subjects[n]].key for n in sorted(positions)}
        fresh = [key for n, key in keys.items() if self._seen.put(key, raw.summaries[n].copy())]
        late = [key for key in fresh if key.kind in _KNOWN_IN_PHASES]
        triggers += [key for key in fresh if key.kind not in _KNOWN_IN_PHASES]
        triggers += self._take_in_figures(book, report)
        has_found = phase is Phase.STEP and self._take_in_findings()
        suffix = f"; known only when the {phase.value} was over"
        hits: list[StopHit] = []
        for point in self._all():
            told = [Told(t.subject, t.text + suffix) for t in point.watch(late, self._seen)]
            told += point.watch(triggers, self._seen, found_now=has_found)
            self._add(hits, point, told, step, None)
        self._record = None
        self._line_calls.clear()
        return hits + self._arrived(book, phase)

    # ------------------------------------------------------------------------------------------ what becomes known

    def _begin_step_if_new(self, book: Book, moment: Moment | None = None) -> list[Trigger]:
        window = book.driver.window
        begins = moment is not None and moment.substep is SubStep.BATCH and window.micro == 0 and not moment.event
        is_again, self._begun = begins and self._begun == book.step, book.step if begins else self._begun
        if is_again:
            # Its first forward was undone.
            self._forget_what_is_gone()
            self._seen.begin_again(book.driver.turn.name)
            for point in self._all():
                point.begin_step()
            return self._take_in_position(book)
        return [] if book.step == self._seen.step else self._begin(book, book.step, book.driver.turn.name)

    def _begin(self, book: Book, step: int, optimizer: str) -> list[Trigger]:
        if step != self._seen.step + 1:
            # Training stands elsewhere than where it came to: no epoch has begun by that.
            self._epoch = book.driver.batches.epoch
            self._forget_what_is_gone()
        self._over = (
            self._seen.copy() if self._needs_over and book.is_of_script and step == self._seen.step + 1 else None
        )
        self._seen.begin_step(step, optimizer)
        for point in self._all():
            point.begin_step()
        return self._take_in_position(book)

    def _take_in_position(self, book: Book, *, inside: bool = False) -> list[Trigger]:
        """`inside` a phase behind the forward, the rates may be those of the next step already. A script sets them when its
        step is over: they are known in the forward only."""
        if not self._figures & _OF_POSITION:
            return []
        batches = book.driver.batches
        numbers = {Figure.STEP: book.step, Figure.EPOCH: batches.epoch, Figure.BATCH: batches.index}
        found: list[Trigger] = [
            figure
            for figure, number in numbers.items()
            if figure in self._figures and self._seen.put_figure(figure, float(number))
        ]
        if Figure.LR in self._figures and (not inside or book.inside is Phase.FORWARD):
            rates = rates_of([turn.optimizer for turn in book.driver.turns])
            if rates and self._seen.put_figure(Figure.LR, max(rates)):
                found.append(Figure.LR)
        return found

    def _take_in_record(self, book: Book) -> list[Trigger]:
        """The summaries that were taken since this was asked the last time."""
        record = book.observer.record
        if record is None or not self._kinds:
            return []
        if record is not self._record:
            self._record, self._position = record, 0
            record.again = []
        known, self._position = record.known_from(self._position)
        return [key for key, row in known if key.kind in self._kinds and self._seen.put(key, row)]

    def _take_in_moment(self, book: Book, moment: Moment) -> list[Trigger]:
        """What a sub-step makes known that is done now."""
        if moment.event:
            return []
        triggers: list[Trigger] = []
        if moment.substep is SubStep.LOSS and Figure.LOSS in self._figures:
            triggers += [Figure.LOSS] if self._seen.put_figure(Figure.LOSS, book.driver.loss) else []
        elif moment.substep is SubStep.STEP and self._kinds & _OF_OPTIMIZER:
            rows = parameters_now(book, self._kinds)
            triggers += [key for key, row in rows if key.kind in self._kinds and self._seen.put(key, row)]
        elif moment.substep is SubStep.UPDATE:
            if book.inside is not None:
                self._seen.skipped = book.driver.is_skipped
                triggers.append(Happening.SKIPPED_STEP)
            if self._needs_scale and book.driver.scaler is not None:
                triggers += self._take_in_scale(float(book.driver.scaler.get_scale()))
        return triggers

    def _take_in_scale(self, scale: float | None) -> list[Trigger]:
        seen = self._over or self._seen
        found: list[Trigger] = [Figure.SCALE] if seen.put_figure(Figure.SCALE, scale) else []
        has_dropped = seen.put_scale(scale)
        if seen is not self._seen:
            self._seen.scale = scale
        return [*found, Happening.SCALE_DROP] if has_dropped else found

    def _take_in_figures(self, book: Book, report: PhaseReport) -> list[Trigger]:
        raw = report.raw
        triggers: list[Trigger] = []
        if Figure.LOSS in self._figures and self._seen.put_figure(Figure.LOSS, raw.loss):
            triggers.append(Figure.LOSS)
        if raw.phase is Phase.BACKWARD:
            if self._needs_scale:
                triggers += self._take_in_scale(raw.scale)
            if Figure.GRAD_NORM in self._figures and book.rest is Rest.BACKWARD:
                triggers += [Figure.GRAD_NORM] if self._seen.put_figure(Figure.GRAD_NORM, book.gradient_norm()) else []
        if raw.phase is Phase.STEP and self._seen.skipped is None:
            self._seen.skipped = raw.skipped
            triggers.append(Happening.SKIPPED_STEP)
        return triggers

    def _take_in_findings(self) -> bool:
        known = self._known_findings
        if known is None:
            return False
        now = self._findings_now()
        new = {place: text for place, text in now.items() if place not in known}
        known.update(new)
        self._seen.new_findings = new
        return bool(new)

    def _forget_what_is_gone(self) -> None:
        """Who goes back is to be stopped by what is found there once more."""
        if self._known_findings:
            self._known_findings &= self._findings_now().keys()

    def _findings_now(self) -> dict[tuple[str, str], str]:
        if self._findings is None:
            return {}
        return {(f.id, f.where): f.title for f in self._findings().findings if f.severity.counts}

    # ------------------------------------------------------------------------------------------ places

    def _passed(self, point: ArmedPoint, moment: Moment, frame: FrameType | None) -> list[Told]:
        """What there is to tell where a point's place is at this moment."""
        place, name = point.stop.place, moment.layer or tree.MODEL
        seen = self._over or self._seen
        call = f" #{moment.call}" if moment.call else ""
        match place:
            case tree.AtSubStep(substep, is_before):
                is_loss = is_before and substep is SubStep.LOSS
                wanted = (SubStep.FORWARD, "") if is_loss else (substep, BEGINS if is_before else "")
                if (moment.substep, moment.event) != wanted:
                    return []
                return point.pass_place(f"{place}" if is_before else f"{substep.value} is done", seen)
            case tree.AtLayer(event, pattern, wanted_call):
                is_there = (
                    moment.event == event.value and wanted_call in (None, moment.call) and pattern.fits(moment.layer)
                )
                if not is_there:
                    return []
                text = f"{event.value} {name}{call}"
                return point.pass_place(text, self._seen, at=At(moment.layer, moment.call))
            case tree.AtLine() if moment.event == tree.Event.ENTER.value and frame is not None:
                return self._passed_line(point, place, moment, frame, f"enter {name}{call}")
            case tree.At(tree.Unit.EPOCH) | tree.Every(tree.Unit.EPOCH):
                # In a script the pass over the data begins inside the forward, as far as can be known.
                book = self._book
                assert book is not None
                epoch = book.driver.batches.epoch
                if self._epoch is None or epoch == self._epoch:
                    return []
                return point.pass_place(f"epoch {epoch}", self._seen) if _is_at(place, epoch) else []
        return []

    def _passed_line(
        self, point: ArmedPoint, place: tree.AtLine, moment: Moment, frame: FrameType, text: str
    ) -> list[Told]:
        book = self._book
        assert book is not None
        if self._line_calls.get(point) in book.observer.running.around():
            # Inside a layer that this line has called: torch's own container calls it, and the user's line is the same.
            return []
        line = users_line(frame)
        if line is None or not place.is_at(line.file, line.line):
            return []
        self._line_calls[point] = moment.layer, moment.call
        return point.pass_place(f"{place}, {text}", self._seen, at=At(moment.layer, moment.call))

    def _arrived(self, book: Book, phase: Phase) -> list[StopHit]:
        """Where training stands now, before the next phase. A condition at a place is about the step that is over."""
        epoch = book.driver.batches.epoch
        reached: list[tuple[ArmedPoint, list[Told]]] = []
        for point in self._all():
            told: list[Told] = []
            place = point.stop.place
            match place:
                case tree.AtSubStep(substep, is_before=True) if book.rest in _rests_before(substep, book):
                    told += point.pass_place(str(place), self._seen)
                case tree.At(tree.Unit.STEP) | tree.Every(tree.Unit.STEP):
                    if phase is Phase.STEP and _is_at(place, book.step):
                        told += point.pass_place(f"step {book.step}", self._seen)
                case tree.At(tree.Unit.EPOCH) | tree.Every(tree.Unit.EPOCH):
                    if self._epoch not in (None, epoch) and _is_at(place, epoch):
                        told += point.pass_place(f"epoch {epoch}", self._seen)
            reached.append((point, told))
        self._epoch = epoch
        triggers = self._begin_step_if_new(book) if phase is Phase.STEP else []
        triggers += self._take_in_position(book, inside=phase is not Phase.STEP)
        hits: list[StopHit] = []
        for point, told in reached:
            self._add(hits, point, told + point.watch(triggers, self._seen), book.step, None)
        return hits

    # ------------------------------------------------------------------------------------------ counting

    def _add(self, hits: list[StopHit], point: ArmedPoint, told: list[Told], step: int, moment: Moment | None) -> None:
        if not told or not point.count():
            return
        text = "; ".join(t.text for t in told[:_MOST_TOLD])
        if len(told) > _MOST_TOLD:
            text += f"; and {len(told) - _MOST_TOLD} more"
        if point is self._once:
            self.once_told = text
            return
        hits.append(
            StopHit(
                id=point.point.id, hits=point.hits, step=step, moment=moment, subject=told[0].subject, sentence=text
            )
        )


def _rests_before(substep: SubStep, book: Book) -> tuple[Rest, ...]:
    """A script tells itself when it begins a step: after a backward another forward may come."""
    return () if book.is_of_script and substep is SubStep.STEP else _RESTS.get(substep, ())


def _is_at(place: tree.At | tree.Every, number: int) -> bool:
    return number == place.number if isinstance(place, tree.At) else number % place.count == 0
