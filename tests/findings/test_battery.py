"""Faulty and healthy programs, each in a process of its own: what is wrong is named and placed, nothing healthy is alarmed.

A sample of them runs by default, spread over the kinds of faults; GRADSCOPE_WHOLE_BATTERY=1 runs every program with its
control and with three seeds, which takes an hour (`tests/findings/run_all.py` does the same, and shows a table).
"""

from __future__ import annotations

import os

import pytest

from tests.findings.adapter import PROGRAMS, Variant, source_of, steps_of, truth_of
from tests.findings.run_all import run, scored
from tests.findings.score import Score, is_at, score

TRUTH = truth_of()
IS_WHOLE = os.environ.get("GRADSCOPE_WHOLE_BATTERY", "0") != "0"
SAMPLE = (
    "d04_adam_lr_one",
    "d08_sigmoid_then_ce",
    "d12_loss_sign_flipped",
    "d14_lstm_not_batch_first",
    "d16_target_is_the_input",
    "d22_layers_in_a_dict",
    "d34_dataset_ignores_index",
    "d46_zero_grad_lost_in_subclass",
    "d51_entropy_layer_zero_log_zero",
    "e16_average_is_written_back",
    "e17_both_factors_are_zero",
    "e20_physics_without_a_graph",
    "g01_gan",
    "g08_rezero_deep",
    "g17_label_noise",
    "g20_twins_start_equal",
    "g25_accumulate_and_clip_always",
)
"""Fast ones; of each kind of rule and experiment one."""
CONTROLS = ("d04_adam_lr_one", "d14_lstm_not_batch_first")


def variants() -> list[Variant]:
    if not IS_WHOLE:
        return [*map(Variant, SAMPLE), *(Variant(name, is_control=True) for name in CONTROLS)]
    every = [Variant(name, seed=seed) for seed in range(3) for name in TRUTH]
    return [*every, *(Variant(v.name, seed=v.seed, is_control=True) for v in every if TRUTH[v.name]["control"])]


@pytest.mark.slow
@pytest.mark.parametrize("variant", variants(), ids=lambda variant: variant.title)
def test_what_is_wrong_is_named_and_placed_and_nothing_else(variant: Variant) -> None:
    content = run(variant, PROGRAMS)
    assert "error" not in content, content.get("error")
    verdict = scored(variant, content, TRUTH)
    assert verdict.is_right, verdict.words


def test_every_program_has_its_truth_and_every_control_fits() -> None:
    assert {path.stem for path in PROGRAMS.glob("*.py")} == set(TRUTH)
    for name, truth in TRUTH.items():
        assert steps_of(name) >= 20
        assert bool(truth["fault"]) == bool(truth["accept"]) == bool(truth["control"])
        if truth["control"]:
            assert source_of(Variant(name, is_control=True)) != source_of(Variant(name))


def test_another_seed_moves_every_seed_of_a_program() -> None:
    own, other = (source_of(Variant("d04_adam_lr_one", seed=seed)) for seed in (0, 2))
    numbers = [line for line in own.splitlines() if "manual_seed" in line]
    moved = [line for line in other.splitlines() if "manual_seed" in line]
    assert numbers and all(a != b and "20" in b for a, b in zip(numbers, moved, strict=True))


def finding(id: str, where: str = "", severity: str = "warning") -> dict[str, str]:
    return {"id": id, "where": where, "severity": severity}


FAULTY = {"fault": "dead-units", "where": "body.act", "accept": ["dead-units"], "neighbours": ["body.norm"]}
HEALTHY = {"fault": "", "where": "", "accept": []}


@pytest.mark.parametrize(
    ("found", "truth", "words"),
    [
        ([finding("dead-units", "body.act")], FAULTY, "right"),
        ([finding("dead-units", "body")], FAULTY, "right"),
        ([finding("dead-units", "body.norm.0")], FAULTY, "right"),
        ([finding("dead-units", "body.acts")], FAULTY, "named, at another place"),
        ([finding("dead-units", "")], FAULTY, "named, at another place"),
        ([finding("dead-units", "body.act", "info")], FAULTY, "MISSED"),
        ([finding("saturated", "body.act")], FAULTY, "MISSED + saturated@body.act"),
        ([finding("dead-units", "body.act"), finding("lr-too-high")], FAULTY, "right + lr-too-high@"),
        ([finding("dead-units", "x")], HEALTHY, "ALARM dead-units@x"),
        ([finding("dead-units", "x", "info")], HEALTHY, "quiet"),
    ],
)
def test_scores(found: list[dict[str, str]], truth: dict[str, object], words: str) -> None:
    assert score(found, truth).words == words


def test_a_control_that_says_what_its_program_says_is_an_alarm() -> None:
    assert score([finding("dead-units", "body.act")], FAULTY, is_healthy=True) == Score(
        is_faulty=False, named=False, placed=False, extra=("dead-units@body.act",)
    )
    assert is_at("anywhere", {"where": ""})
