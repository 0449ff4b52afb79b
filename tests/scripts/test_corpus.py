"""Training scripts as people write them, plainly and under `gradscope run`: nothing differs, and the moments are right.

By default each script runs at one level of capture, and most of those that take long are left out;
GRADSCOPE_WHOLE_CORPUS=1 runs all of them at all levels, and so does run_all.py, which prints a table.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.patience import patient
from tests.scripts.cases import Case, cases
from tests.scripts.harness import FINDINGS, LEVELS, STOPPING, Ran, comparable, differences, run_plainly, run_watched
from tests.scripts.moments import wrong_moments

WHOLE = bool(os.environ.get("GRADSCOPE_WHOLE_CORPUS"))
EVERY = cases()

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the scripts fork, and send signals")


# By default: one level each, and all levels where they are most different. Some 4 minutes on one core.
NORMS = {
    "accelerate_accumulation", "checkpointing-reentrant", "func_transforms", "grads_by_hand", "maml",
    "order_mistakes-no_unscale", "plain_momentum",
}  # fmt: skip
OFF = {
    "bare_tensors", "dqn", "lbfgs_closure", "notebook", "order_mistakes-scheduler_first", "shapes.train", "tbptt",
    "workers_spawn",
}  # fmt: skip
STOPPED = {"dcgan_style", "lightning_auto", "step_in_backward"}
WITH_FINDINGS = {"mnist_style", "nanogpt_style", "hf_trainer"}
ALL_LEVELS = {"copies_and_files"}
LEFT_OUT = {
    "amp_scaler", "bf16_accumulation", "checkpointing-new", "compiled", "early_stopping-message", "frozen_backbone",
    "lightning_manual", "onecycle-cycle", "onecycle-lambda", "order_mistakes-none", "own_optimizer_class", "own_processes",
    "runner_attributes", "sam", "siamese", "sibling_module", "trainer_object", "two_backwards", "wgan_gp",
    "fabric_loop", "forward_forward", "sparse_embedding", "grads_beside", "grads_micro", "grads_renewed", "pcgrad",
    "amp_cpu", "best_weights", "command_line", "compiled_step", "evolution", "frozen_teacher", "graph_net",
    "hf_own_loss", "iterable_workers", "kfold", "last_window", "layerwise_hooks", "learner_callbacks", "lookahead",
    "micro_steps", "packed_sequences", "pgd_attack", "ppo", "sam_by_hand", "sequential_checkpoints", "style_image", "swa",
    "vmap_ensemble", "wgan_clipped", "bare_except", "distillation", "early_stopping-code", "ema_validation", "grads_assigned",
    "looks_at_itself", "multitask", "onecycle-warmup", "reinforce", "two_roots",
}  # fmt: skip
"""Much like others, or too long."""


def _levels(name: str) -> tuple[str, ...]:
    if WHOLE or name in ALL_LEVELS:
        return LEVELS
    if name in LEFT_OUT:
        return ()
    if name in STOPPED:
        return (STOPPING,)
    if name in WITH_FINDINGS:
        return (FINDINGS,)
    return ("norms",) if name in NORMS else ("off",) if name in OFF else ("full",)


def _runs() -> Iterator[Any]:
    for name in EVERY:
        for level in _levels(name):
            yield pytest.param(name, level)


Plain = Callable[[str], tuple[Ran, Path]]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Plain:
    """The plain run of a script, once, and the folder that it ran in."""

    @cache
    def run(name: str) -> tuple[Ran, Path]:
        folder = tmp_path_factory.mktemp("corpus") / "run"
        return run_plainly(EVERY[name], folder, timeout_secs=patient(60)), folder

    return run


@pytest.mark.slow
@pytest.mark.parametrize(("name", "level"), list(_runs()))
def test_script(name: str, level: str, plain: Plain) -> None:
    case = EVERY[name]
    _skip_what_is_missing(case)
    ran, folder = plain(name)
    watched = run_watched(case, folder, level=level, timeout_secs=patient(60))
    losses = comparable(case, ran)
    wrong = differences(case, ran, watched) + wrong_moments(case, watched.lines, level=level, losses=losses)
    assert wrong == [], "\n".join(wrong)


def test_the_choice_names_scripts() -> None:
    assert set(EVERY) >= NORMS | OFF | STOPPED | WITH_FINDINGS | ALL_LEVELS | LEFT_OUT


def _skip_what_is_missing(case: Case) -> None:
    if case.missing:
        pytest.skip(f"needs {', '.join(case.missing)}: pip install -e '.[dev-frameworks]'")
