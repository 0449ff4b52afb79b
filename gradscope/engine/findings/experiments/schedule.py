"""Is the schedule over long before the training? Was it better with the rate kept where the schedule was highest?"""

from __future__ import annotations

from collections.abc import Iterable

from gradscope.engine.findings.bench import Bench, Change
from gradscope.engine.findings.counterfactual import MOST_STEPS, STEPS, curves, ends, is_better, passes_of, short
from gradscope.engine.findings.draft import EXPERIMENTS, CannotJudge, Draft, Experiment
from gradscope.engine.findings.record import Record
from gradscope.protocol.findings import Evidence

GONE = 1e-3
"""Of its peak: a rate below that trains nothing any more (a cosine to zero is there for 2 % of its steps)."""
SHARE = 0.25
"""Of the planned steps: what is over for so long was not meant for this training."""


def run(bench: Bench, record: Record) -> Iterable[Draft]:
    done = len(record.measures)
    planned = max(bench.planned, done)
    rates = bench.rates_ahead(planned) if record.is_unsolved else []
    gone = _gone(rates, planned)
    if not gone:
        return
    peak = max(rates)
    top = rates.index(peak)
    first = _begin_of_end(rates, peak)
    steps = min(planned, first + STEPS)
    if not bench.has_start:
        raise CannotJudge("The start was not remembered, and the schedule cannot be begun again")
    if steps > MOST_STEPS:
        raise CannotJudge(f"The schedule ends after {first} steps, which is more than are run again")
    if done < min(steps, STEPS):
        raise CannotJudge(f"it takes {min(steps, STEPS)} steps, and there were {done}")
    as_it_is = bench.unchanged(steps)
    held = bench.train(steps, Change(schedule_ends=top))
    if is_better(held, as_it_is, record):
        name = f"with the rate kept at {short(peak)}"
        yield Draft(
            id="lr-decays-too-early",
            evidence=(
                Evidence(
                    name="share of the planned steps with less than a thousandth of the rate",
                    value=100 * len(gone) / planned,
                    threshold=100 * SHARE,
                    unit="%",
                    text=f"The rate is below a thousandth of its peak, {short(peak)}, from step {first} of {planned} on "
                    f"({short(rates[-1])} at the end)",
                ),
                ends(as_it_is, held, name),
            ),
            do=f"Let the schedule last for all {planned} steps (it is over after {first}): is the scheduler stepped per "
            "batch, but its arguments count epochs?",
            instead="The rate itself is not at fault: kept at its peak, the same training goes on getting better.",
            first_step=min(first, record.newest_step),
            curves=curves(as_it_is, held, name),
        )


def _gone(rates: list[float], planned: int) -> list[int]:
    """The steps behind the peak with next to no rate; none where that is not for long."""
    peak = max(rates, default=0.0)
    if peak <= 0:
        return []
    top = rates.index(peak)
    gone = [step for step, rate in enumerate(rates) if rate < GONE * peak and step > top]
    # A schedule with restarts is gone again and again, for a little while.
    return gone if len(gone) > SHARE * planned and rates[-1] < GONE * peak else []


def _begin_of_end(rates: list[float], peak: float) -> int:
    """The step from which on the rate never comes back."""
    alive = [step for step, rate in enumerate(rates) if rate >= GONE * peak]
    return alive[-1] + 1


def _passes(bench: Bench, record: Record) -> tuple[int, int]:
    planned = max(bench.planned, len(record.measures))
    is_wanted = bench.has_scheduler and record.is_unsolved and _gone(bench.rates_ahead(planned), planned)
    return passes_of(bench, 1, MOST_STEPS // 2) if is_wanted else (0, 0)


EXPERIMENTS.append(
    Experiment(
        ids=("lr-decays-too-early",),
        title="Is the schedule over before the training?",
        run=run,
        passes=_passes,
        is_of_dynamics=True,
        runs_the_loop=True,
    )
)
