"""What a checkpoint in each step costs, and what going back does: the sample models, in turns with a plain loop.

    python tests/benchmarks/timeline.py [--samples digits_cnn,lstm,resnet] [--steps 60] [--limit-mb 1024] [--cpu-time]

Three trainings of the same sample take turns, a step each: the plain loop, gradscope with capture off, and the same with a
timeline. Printed: milliseconds of a plain step (median), what the timeline adds to a step as a part of a plain step (median
of the rounds; the goal is 0.25 or less), bytes of a checkpoint, and how long going back to the step before takes, against
copying as many bytes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from torch import nn

from gradscope import Recipe, Session, load_recipe
from gradscope.assets import sample_path
from gradscope.engine.data.batches import make_loader
from gradscope.engine.model.losses import input_and_target, loss_of

SAMPLES = "digits_cnn,lstm,char_transformer,unet_segmentation,resnet"


def batches(recipe: Recipe) -> Iterator[Any]:
    while True:
        yield from make_loader(recipe, 0)


def plain(recipe: Recipe) -> Callable[[], None]:
    """One optimizer step of the contract in `Recipe`."""
    optimizer, data, model = recipe.optimizer, batches(recipe), recipe.model
    assert isinstance(optimizer, torch.optim.Optimizer) and isinstance(model, nn.Module)
    model.train()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        for _ in range(recipe.accumulate):
            batch = next(data)
            if callable(recipe.training_step):
                loss = loss_of(recipe.training_step(model, batch))
            else:
                x, target = input_and_target(batch)
                assert recipe.loss is not None
                loss = recipe.loss(model(x), target)
            (loss / recipe.accumulate).backward()
            loss.item()
        if recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
        optimizer.step()

    return step


def seconds_of(work: Callable[[], object], clock: Callable[[], float]) -> float:
    started = clock()
    work()
    return clock() - started


def measure(sample: str, steps: int, limit: int, clock: Callable[[], float]) -> None:
    path = sample_path(sample)
    assert path is not None, sample
    plain_step = plain(load_recipe(path, 0))
    with (
        Session(load_recipe(path, 0), capture="off") as without,
        Session(load_recipe(path, 0), capture="off", timeline_bytes=limit) as session,
    ):
        rounds = []
        for _ in range(steps):
            rounds.append(
                tuple(seconds_of(work, clock) for work in (plain_step, without.next_batch, session.next_batch))
            )
        # The first ones make the optimizer's state, and walk through the model.
        rounds = rounds[steps // 6 :]
        step = statistics.median(times[0] for times in rounds)
        added = statistics.median(times[2] - times[1] for times in rounds)
        kept = session.timeline.checkpoints
        size = session.timeline.used_bytes / len(kept)
        near = kept[-2]
        back = statistics.median(seconds_of(lambda: session.go_to(near), clock) for _ in range(9))
        memory = torch.empty(int(size), dtype=torch.uint8)
        copy = statistics.median(seconds_of(memory.clone, clock) for _ in range(9))
        print(
            f"{sample:20} plain {1e3 * step:8.2f} ms   timeline adds {added / step:6.3f}x ({1e6 * added:6.0f} us)   "
            f"checkpoint {size / 2**20:8.2f} MiB   back {1e3 * back:7.2f} ms   (a copy {1e3 * copy:7.3f} ms)"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", default=SAMPLES)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--limit-mb", type=int, default=1024)
    parser.add_argument("--cpu-time", action="store_true", help="the processor's time of this thread, not the clock's")
    options = parser.parse_args()
    torch.set_num_threads(1)
    clock = time.thread_time if options.cpu_time else time.perf_counter
    for sample in options.samples.split(","):
        measure(sample, options.steps, options.limit_mb * 2**20, clock)


if __name__ == "__main__":
    main()
