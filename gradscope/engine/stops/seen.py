"""The numbers that conditions are about, of the step under way and of the one before: a `Lookup` of the engine's."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping

from gradscope.protocol.stops.quantities import Figure, Happening, Summary
from gradscope.protocol.subjects import SubjectKey, SubjectKind


class Seen:
    """Written by `Stops` with what some condition asks for; nothing else is kept."""

    def __init__(self) -> None:
        self.step = -1
        self.optimizer = ""
        """Whose turn it is: each optimizer's figures have a step before of their own."""
        self.skipped: bool | None = None
        """Whether the gradient scaler has left the step out; None until that is known."""
        self.new_findings: dict[tuple[str, str], str] = {}
        """(name, place) -> what was found, of those that were not there when somebody began to ask."""
        self._now: dict[SubjectKind, dict[SubjectKey, Summary]] = {kind: {} for kind in SubjectKind}
        self._before: dict[SubjectKey, Summary] = {}
        self._figures: dict[Figure, float] = {}
        self._figures_before: dict[tuple[Figure, str], float] = {}
        self.scale: float | None = None
        """The newest that is known, of whichever step."""
        self._scale_before: float | None = None
        """What it has dropped from in this step."""

    def begin_step(self, step: int, optimizer: str) -> None:
        """What was known of the step is known of the one before now; where another comes than the next, nothing is."""
        if step == self.step + 1:
            for rows in self._now.values():
                self._before.update(rows)
            for figure, value in self._figures.items():
                self._figures_before[figure, self.optimizer] = value
        else:
            self._before.clear()
            self._figures_before.clear()
            self.scale = None
        self.step = step
        self.begin_again(optimizer)

    def copy(self) -> Seen:
        """As it is now; what is put into the one is not in the other."""
        copied = copy.copy(self)
        copied.new_findings = dict(self.new_findings)
        copied._now = {kind: dict(rows) for kind, rows in self._now.items()}
        copied._before, copied._figures = dict(self._before), dict(self._figures)
        copied._figures_before = dict(self._figures_before)
        return copied

    def begin_again(self, optimizer: str) -> None:
        """The same step from its first forward on."""
        self.optimizer, self.skipped, self._scale_before = optimizer, None, None
        self.new_findings.clear()
        self._figures.clear()
        for rows in self._now.values():
            rows.clear()

    def put(self, key: SubjectKey, row: Summary) -> bool:
        """Whether that is news."""
        known = self._now[key.kind].get(key)
        self._now[key.kind][key] = row
        return known is None or known.tobytes() != row.tobytes()

    def put_figure(self, figure: Figure, value: float | None) -> bool:
        """Whether that is news. None says nothing."""
        if value is None:
            return False
        is_news = figure not in self._figures or (self._figures[figure] != value and value == value)
        self._figures[figure] = value
        return is_news

    def put_scale(self, scale: float | None) -> bool:
        """The gradient scaler's, as it is now. Whether it has dropped."""
        before, self.scale = self.scale, scale
        has_dropped = before is not None and scale is not None and scale < before
        if has_dropped:
            self._scale_before = before
        return has_dropped

    # ------------------------------------------------------------------------------------------ as a Lookup

    def summary(self, key: SubjectKey, *, of_step_before: bool = False) -> Summary | None:
        return self._before.get(key) if of_step_before else self._now[key.kind].get(key)

    def keys(self, kind: SubjectKind) -> Iterable[SubjectKey]:
        return self._now[kind].keys()

    def figure(self, figure: Figure, *, of_step_before: bool = False) -> float | None:
        if not of_step_before:
            return self._figures.get(figure)
        if figure is Figure.SCALE and self._scale_before is not None:
            return self._scale_before
        return self._figures_before.get((figure, self.optimizer))

    def happens(self, happening: Happening) -> bool | None:
        if happening is Happening.SKIPPED_STEP:
            return self.skipped
        return self._scale_before is not None if self.scale is not None else None

    def found(self, id: str) -> Mapping[str, str]:
        return {where: text for (name, where), text in self.new_findings.items() if not id or name == id}
