"""A check-up: experiments on a training's own state, one after the other, each put back."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from gradscope.engine.findings.bench import Bench, CheckUpCancelled
from gradscope.engine.findings.catalogue import CATALOGUE
from gradscope.engine.findings.draft import EXPERIMENTS, OWNS_ITS_LOOP, CannotJudge, Experiment
from gradscope.engine.findings.roots import EXACT_CAUSES
from gradscope.engine.findings.verdicts import Verdicts
from gradscope.engine.surroundings.error_parts import class_name, message_of
from gradscope.engine.surroundings.unwinding import is_interruption
from gradscope.protocol.findings import Planned, Progress

_CUSTOM = "Not judged for a step of the recipe's own, or several optimizers: its loss may mean anything"


class CheckUp:
    """Of one training, on its bench."""

    def __init__(self, verdicts: Verdicts, bench: Bench, *, step_seconds: float) -> None:
        """`step_seconds`: how long a step of the training takes, for the estimate; 0 where nobody knows."""
        self._verdicts = verdicts
        self._record = verdicts.watch.record
        self._bench = bench
        self._step_seconds = step_seconds

    def plan(self, only: Collection[str] | None = None) -> list[Planned]:
        """What would be run now."""
        # A forward takes about a third of a step.
        per_pass = self._step_seconds / 3
        planned = []
        for experiment in _chosen(only):
            refusal = self._refusal(experiment)
            forward = backward = 0
            try:
                forward, backward = (0, 0) if refusal else experiment.passes(self._bench, self._record)
            except CannotJudge as error:
                refusal = f"Not judged: {error}"
            except CheckUpCancelled:
                raise
            except BaseException as error:
                if is_interruption(error):
                    raise
                refusal = _failed(error)
            planned.append(
                Planned(
                    ids=experiment.ids,
                    title=experiment.title,
                    forward=forward,
                    backward=backward,
                    seconds=per_pass * (forward + 2 * backward),
                    refusal=refusal,
                )
            )
        return planned

    def run(self, only: Collection[str] | None = None, progress: Callable[[Progress], bool] | None = None) -> None:
        """All of them; what they find goes into the verdicts. Raises CheckUpCancelled; then what was found before stays."""
        started = time.perf_counter()
        verdicts, bench = self._verdicts, self._bench
        chosen = _chosen(only)
        planned = sum(plan.forward for plan in self.plan(only))
        try:
            for experiment in chosen:
                bench.report = self._reporter(experiment, planned, progress)
                self._run_one(experiment)
                verdicts.forget_newest()
        finally:
            told = verdicts.watch.errors
            told += [note for note in bench.notes if note not in told]
            verdicts.forward += bench.forwards
            verdicts.backward += bench.backwards
            verdicts.seconds += time.perf_counter() - started
            verdicts.forget_newest()

    def _run_one(self, experiment: Experiment) -> None:
        verdicts, title = self._verdicts, experiment.title
        verdicts.found_by_experiments.pop(title, None)
        verdicts.not_judged_by.pop(title, None)
        reason = self._refusal(experiment)
        if reason:
            verdicts.not_judged_by[title] = reason
            return
        try:
            verdicts.found_by_experiments[title] = list(experiment.run(self._bench, self._record))
        except CannotJudge as error:
            verdicts.not_judged_by[title] = str(error)
        except CheckUpCancelled:
            raise
        except BaseException as error:
            if is_interruption(error):
                raise
            # The user's code may raise anything where it is called otherwise than in training.
            verdicts.not_judged_by[title] = _failed(error)

    def _refusal(self, experiment: Experiment) -> str:
        record = self._record
        if experiment.runs_the_loop and record.is_script:
            return OWNS_ITS_LOOP
        if not experiment.is_of_dynamics:
            return ""
        if not record.is_plain:
            return _CUSTOM
        self._verdicts.forget_newest()
        known = [finding.id for finding in self._verdicts.now().counted if finding.id in EXACT_CAUSES]
        if known:
            return f"First fix this, then check again: {CATALOGUE[known[0]].title.lower()}"
        return ""

    @staticmethod
    def _reporter(
        experiment: Experiment, planned: int, progress: Callable[[Progress], bool] | None
    ) -> Callable[[int], None]:
        def report(done: int) -> None:
            told = Progress(title=experiment.title, done=done, planned=max(planned, done))
            if progress is not None and not progress(told):
                raise CheckUpCancelled

        return report


def _failed(error: BaseException) -> str:
    return f"It failed: {class_name(type(error))}: {message_of(error)}"


def _chosen(only: Collection[str] | None) -> list[Experiment]:
    return [e for e in EXPERIMENTS if only is None or set(e.ids) & set(only)]
