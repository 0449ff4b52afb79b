"""What a step costs beside the training itself, whatever the model is: microseconds of each part, and of all together.

    python tests/benchmarks/fixed_cost.py [--captures off,full] [--steps 3000] [--workload mlp]

The parts are methods of gradscope's, each with a clock around it. What one part calls of another is the other's time, and so
is what it calls of the user's code (model, loss, backward, optimizer), which stands in the last lines. Printed are medians.
The second table has no clocks: a plain loop's step, and what each way takes beyond it, in processor time; and how many
functions a step calls beyond a plain loop's, which is the same on every machine, however busy it is.
"""

from __future__ import annotations

import argparse
import cProfile
import functools
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from torch import nn

from gradscope.engine.book.book import Book
from gradscope.engine.book.gradients import Gradients
from gradscope.engine.book.nonfinite_watch import NonFiniteWatch
from gradscope.engine.book.notes import Holdings
from gradscope.engine.capture.observer import Observer
from gradscope.engine.capture.record import PhaseRecord
from gradscope.engine.data.batches import BatchSource
from gradscope.engine.data.passes import Pass
from gradscope.engine.stepping import loop as loop_module
from gradscope.engine.stepping.loop import Loop
from gradscope.engine.stepping.own_moves import OwnMoves
from gradscope.engine.stepping.stepper import Stepper
from gradscope.engine.stepping.undo import ForwardUndo, StepUndo
from gradscope.engine.surroundings.randomness import RandomStates, seed_everything
from tests.benchmarks.overhead import WAYS, around, recipe_of

PARTS: dict[str, list[tuple[Any, str]]] = {
    "random states": [(RandomStates, "capture")],
    "copy of the batch": [(loop_module, "copy_batch")],
    "undo of a forward": [(ForwardUndo, "remember"), (ForwardUndo, "remember_random_states")],
    "undo of a step": [(StepUndo, "remember_step"), (StepUndo, "remember_random_states"), (Loop, "_remember_step")],
    "own moves": [(OwnMoves, name) for name in ("begin", "end", "forget", "notes")],
    "what can move": [(Gradients, "movable")],
    "gradients": [(Gradients, n) for n in ("clear", "begin_backward", "end_backward", "have_reached_nothing")],
    "stale gradients": [(Loop, "_stale_gradients")],
    "holdings": [(Holdings, "of")],
    "data": [(BatchSource, name) for name in ("current", "is_last", "advance")] + [(Pass, "__next__")],
    "bodies of phases": [(Loop, name) for name in ("forward", "_loss_of", "backward", "step", "_end_step")]
    + [(Loop, "finish_step"), (Loop, "finish_micro_batch"), (Loop, "_move_parameters")],
    "passing": [(Observer, "passing")],
    "observer begins": [(Observer, "begin")],
    "observer ends": [(Observer, "end"), (PhaseRecord, "finish")],
    "book begins": [(Book, "begin")],
    "book ends": [(Book, "end"), (Book, "close_phase")],
    "watch": [(NonFiniteWatch, name) for name in ("after_forward", "after_backward", "after_step")],
    "report": [(Book, "write"), (Book, "_report"), (Book, "write_step")],
    "stepper": [(Stepper, "_run"), (Stepper, "_complete_step")],
    "(user) model": [(nn.Sequential, "forward")],
    "(user) loss": [(nn.CrossEntropyLoss, "forward")],
    "(user) backward": [(torch.Tensor, "backward")],
    "(user) optimizer": [(torch.optim.SGD, "step"), (torch.optim.Optimizer, "zero_grad")],
}


class Clocks:
    """Exclusive times: a stack of who is running."""

    def __init__(self) -> None:
        self.spent: dict[str, int] = dict.fromkeys(PARTS, 0)
        self._inside: list[str] = []
        self._since = 0

    def around(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        clock, spent, inside = time.perf_counter_ns, self.spent, self._inside

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            now = clock()
            if inside:
                spent[inside[-1]] += now - self._since
            inside.append(part)
            self._since = clock()
            try:
                return function(*args, **kwargs)
            finally:
                now = clock()
                spent[part] += now - self._since
                inside.pop()
                self._since = clock()

        return timed

    @contextmanager
    def installed(self) -> Iterator[None]:
        originals = [(owner, name, vars(owner)[name]) for owned in PARTS.values() for owner, name in owned]
        try:
            for part, owned in PARTS.items():
                for owner, name in owned:
                    original = vars(owner)[name]
                    if isinstance(original, staticmethod):
                        setattr(owner, name, staticmethod(self.around(part, original.__func__)))
                    else:
                        setattr(owner, name, self.around(part, original))
            yield
        finally:
            for owner, name, original in originals:
                setattr(owner, name, original)


def parts_of(capture: str, workload: str, steps: int) -> dict[str, float]:
    """Microseconds of each part in a step."""
    clocks = Clocks()
    found: dict[str, list[int]] = {part: [] for part in PARTS}
    with clocks.installed():
        step = WAYS[capture][0](recipe_of(workload, "sgd"), torch.device("cpu"))
        for number in range(steps):
            clocks.spent.update(dict.fromkeys(PARTS, 0))
            step()
            if number >= steps // 10:
                for part, spent in clocks.spent.items():
                    found[part].append(spent)
    return {part: statistics.median(times) / 1000 for part, times in found.items()}


def beyond_plain(ways: list[str], workload: str, steps: int) -> dict[str, float]:
    """Microseconds of processor time: a plain step, and what each way takes beyond it; a few steps of each in turn."""
    every = {way: WAYS[way][0](recipe_of(workload, "sgd"), torch.device("cpu")) for way in ("plain", *ways)}
    rounds: dict[str, list[float]] = {way: [] for way in every}
    for _ in range(max(3, steps // 20)):
        for way, step in every.items():
            times: list[float] = []
            with around(step):
                for _ in range(20):
                    start = time.thread_time_ns()
                    step()
                    times.append((time.thread_time_ns() - start) / 1000)
            rounds[way].append(statistics.median(times[2:]))
    plain = rounds["plain"]
    beyond = {way: statistics.median(a - b for a, b in zip(rounds[way], plain, strict=True)) for way in ways}
    return {"plain": statistics.median(plain), **beyond}


def calls_of(way: str, workload: str, steps: int = 50) -> float:
    """Functions that a step calls, Python's own included."""
    step = WAYS[way][0](recipe_of(workload, "sgd"), torch.device("cpu"))
    profile = cProfile.Profile()
    with around(step):
        for _ in range(steps):
            step()
        profile.enable()
        for _ in range(steps):
            step()
        profile.disable()
    return sum(entry.callcount for entry in profile.getstats()) / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--captures", default="off,full", help="levels of capture")
    parser.add_argument(
        "--beyond", default="off,full,script off,script", help="ways of overhead.py, for the last table"
    )
    parser.add_argument("--workload", default="mlp")
    parser.add_argument("--steps", type=int, default=3000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    seed_everything(0)
    captures = options.captures.split(",") if options.captures else []
    columns = [parts_of(capture, options.workload, options.steps) for capture in captures]
    if columns:
        print("| us a step | " + " | ".join(captures) + " |\n|---|" + "---|" * len(captures))
        for part in PARTS:
            print(f"| {part} | " + " | ".join(f"{column[part]:.1f}" for column in columns) + " |")
        own = [sum(us for part, us in column.items() if not part.startswith("(")) for column in columns]
        print("| gradscope's parts together | " + " | ".join(f"{us:.0f}" for us in own) + " |\n", flush=True)
    ways = options.beyond.split(",")
    found = beyond_plain(ways, options.workload, options.steps)
    print("| us a step | " + " | ".join(found) + " |\n|---|" + "---|" * len(found))
    print("| in all | " + " | ".join(f"{us:.0f}" for us in found.values()) + " |")
    plain = calls_of("plain", options.workload)
    calls = [plain, *(calls_of(way, options.workload) - plain for way in ways)]
    print("| calls of functions | " + " | ".join(f"{number:.0f}" for number in calls) + " |")


if __name__ == "__main__":
    main()
