"""The comparison of JSON lines with the truth: right lines pass, and each way of being wrong is told."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from tests.scripts import make_truth
from tests.scripts.cases import CORPUS, Case, cases
from tests.scripts.harness import LEVELS, Ran, differences, told, watched_command
from tests.scripts.moments import Losses, wrong_moments

Lines = list[dict[str, Any]]

SCRIPT = """\
scheduler = make(optimizer)
for x, y in loader:
    optimizer.zero_grad()
    loss = criterion(model(x), y)
    loss.backward()
    clip(model)
    optimizer.step()
    scheduler.step()
"""
TRUTH: dict[str, Any] = {
    "script": "fake.py",
    "run": {"argv": ["--lr", "1"], "module": None, "torchrun": None, "exit_code": 0},
    "optimizer_steps": 2,
    "training_steps": 2,
    "skipped_steps": 1,
    "backward_calls": 3,
    "trained": ["model.module.w"],
    "first_steps": [
        {
            "events": [
                {"kind": "batch"},
                {"kind": "forward", "calls": ["model"]},
                {"kind": "zero_grad"},
                {"kind": "backward", "loss": 0.5, "name": "loss"},
                {"kind": "backward", "loss": 0.25, "name": "extra"},
                {"kind": "clip"},
                {"kind": "step", "optimizer": "optimizer"},
            ]
        },
        {
            "events": [
                {"kind": "schedule"},
                {"kind": "evaluate"},
                {"kind": "batch"},
                {"kind": "zero_grad"},
                {"kind": "forward", "calls": ["model"]},
                {"kind": "forward", "calls": ["model"]},
                {"kind": "backward", "loss": 0.375, "name": "loss"},
                {"kind": "step", "optimizer": "optimizer", "skipped": True},
            ]
        },
    ],
    "after_last_step": ["schedule", "evaluate"],
    "counts": {"clip": 1, "schedule": 2},
    "notes": [{"words": ["clip", "scale|scaled"], "line": 6}],
}


@pytest.fixture
def case(tmp_path: Path) -> Case:
    script = tmp_path / "fake.py"
    script.write_text(SCRIPT, "utf-8")
    return Case("fake", script, TRUTH)


@pytest.fixture
def lines(case: Case) -> Lines:
    def at(number: int) -> dict[str, Any]:
        return {"file": str(case.script), "line": number, "function": "<module>"}

    def station(kind: str, number: int) -> dict[str, Any]:
        return {"kind": kind, "line": at(number)}

    grads = [{"kind": "grad", "name": "model.w"}]
    return [
        {
            "phase": "forward",
            "loss": 0.5,
            "loss_name": "loss",
            "calls": ["model"],
            "line": at(5),
            "subjects": [{"kind": "activation", "name": "model.0"}],
            # Gradients are cleared where there are none yet.
            "stations": [station("zero grad", 3), station("batch", 2), station("forward", 4), station("loss", 4)],
        },
        {"phase": "backward", "loss": 0.5, "loss_name": "loss", "line": at(5), "subjects": grads},
        {"phase": "backward", "loss": 0.25, "loss_name": "extra", "line": at(5), "stations": [station("backward", 5)]},
        {
            "phase": "step",
            "optimizer": "optimizer",
            "line": at(7),
            "stations": [station("clip", 6), station("step", 7)],
            "notes": ["clip: the gradients are still scaled (fake.py, line 6)"],
        },
        {"phase": "validation", "loss": 3.0},
        {
            "phase": "forward",
            "loss": 0.375,
            "loss_name": "loss",
            "calls": ["model", "model"],
            "line": at(5),
            "stations": [
                station("schedule", 8),
                station("batch", 2),
                station("evaluate", 4),
                station("batch", 2),
                station("evaluate", 4),
                station("batch", 2),
                station("zero grad", 3),
                station("zero grad", 3),
                station("forward", 4),
            ],
        },
        {"phase": "backward", "loss": 0.375, "loss_name": "loss", "line": at(5), "subjects": grads},
        {"phase": "step", "optimizer": "optimizer", "skipped": True, "line": at(7), "stations": [station("step", 7)]},
        {"phase": "forward", "failed": True, "stations": [station("schedule", 8), station("forward", 4)]},
        {"phase": "end", "stations": [station("batch", 2), station("evaluate", 4)]},
    ]


def test_right_lines_are_right(case: Case, lines: Lines) -> None:
    assert wrong_moments(case, lines, level="full") == []


def test_without_subjects_at_level_off(case: Case, lines: Lines) -> None:
    for line in lines:
        line.pop("subjects", None)
    assert wrong_moments(case, lines, level="off") == []
    assert "trained" in wrong_moments(case, lines, level="norms")[0]


@pytest.mark.parametrize(
    ("number", "change", "says"),
    [
        (0, {"calls": ["net"]}, "calls ['net']"),
        (1, {"loss": 0.5000001}, "loss 0.5000001"),
        (1, {"loss": None}, "loss None"),
        (1, {"loss_name": "l"}, "is called 'l'"),
        (1, {"subjects": [{"kind": "grad", "name": "model.w"}, {"kind": "grad", "name": "t.w"}]}, "too many ['t.w']"),
        (2, {"phase": "other"}, "step 0: "),
        (3, {"optimizer": "Adam"}, "optimizer 'Adam'"),
        (3, {"optimizer": None}, "optimizer '(by hand)'"),
        (3, {"skipped": True}, "said to be skipped"),
        (3, {"stations": []}, "clip"),
        (3, {"notes": []}, "no note"),
        (3, {"notes": ["clip while scaled, line 7"]}, "does not name line 6"),
        (0, {"loss": 0.75}, "the forward tells the loss 0.75"),
        (7, {"skipped": False}, "not said to be skipped"),
        (7, {"phase": "other"}, "steps: 1"),
        (9, {"stations": []}, "after the last step"),
        (3, {"stations": [{"kind": "clip", "line": {"file": "", "line": 0}}]}, "a clip without a line"),
    ],
)
def test_what_is_wrong_is_told(case: Case, lines: Lines, number: int, change: dict[str, Any], says: str) -> None:
    lines[number].update(change)
    wrong = wrong_moments(case, lines, level="full")
    assert any(says in text for text in wrong), wrong


def test_a_line_that_makes_no_such_call(case: Case, lines: Lines) -> None:
    lines[3]["stations"][0]["line"]["line"] = 5
    assert wrong_moments(case, lines, level="full") == ["clip: fake.py, line 5 makes no such call"]


@pytest.mark.parametrize(
    "note",
    [
        "The gradients are clipped (a.py, line 6) while they are still multiplied with the loss scale",
        "The gradients are unscaled (a.py, line 6) after they were clipped (a.py, line 5): the limit",
        "The scheduler is stepped (a.py, line 6) before the optimizer: this step",
        "The gradients were cleared (a.py, line 6) between backward and this step: what",
        "No parameter of this optimizer has a gradient: the step (a.py, line 6) moves nothing",
    ],
)
def test_a_mistake_that_is_none(case: Case, lines: Lines, note: str) -> None:
    right = Case("fake", case.script, TRUTH | {"notes": []})
    lines[3]["notes"] = ["the learning rate has changed"]
    assert wrong_moments(right, lines, level="full") == []
    lines[3]["notes"].append(note)
    assert wrong_moments(right, lines, level="full") == [f"no mistake, but: {note}"]


def test_losses_of_another_machine(case: Case, lines: Lines) -> None:
    for line in lines:
        if line.get("loss") == 0.5:
            line["loss"] = 0.50001
    assert wrong_moments(case, lines, level="full", losses=Losses.CLOSE) == []
    assert len(wrong_moments(case, lines, level="full")) == 1


def test_losses_of_other_random_numbers(case: Case, lines: Lines) -> None:
    for line in lines:
        if line.get("loss") == 0.5:
            line["loss"] = 0.7
        line["calls"] = line.get("calls", []) * 2
    assert wrong_moments(case, lines, level="full", losses=Losses.OTHER) == []
    assert len(wrong_moments(case, lines, level="full", losses=Losses.CLOSE)) > 1
    for line in lines:
        if line.get("loss") == 0.7:
            line["loss"] = None
    assert len(wrong_moments(case, lines, level="full", losses=Losses.OTHER)) == 1


def test_steps_inside_a_backward_are_one(case: Case, lines: Lines) -> None:
    truth = copy.deepcopy(TRUTH) | {"optimizer_steps": 4, "notes": []}
    inner = truth["first_steps"][0]["events"]
    inner += [{"kind": "zero_grad"}, {"kind": "step", "optimizer": "optimizers[p]"}, {"kind": "zero_grad"}]
    assert wrong_moments(Case("fake", case.script, truth), lines, level="full") == []


def test_outputs_are_compared_but_for_ours_and_for_times(case: Case) -> None:
    plain = Ran(code=0, out="a\nFINAL 12\n{'eval_runtime': '0.1', 'x': 1}\n", err="1it [00:00,  3.1it/s]\nw\n", secs=1)
    other = Ran(
        code=0,
        out="a\nFINAL 12\n{'eval_runtime': '0.4', 'x': 1}\n",
        err="1it [00:00, ?it/s]\ngradscope: done\nw\n",
        secs=2,
    )
    assert differences(case, plain, other) == []
    wrong = differences(case, plain, Ran(code=3, out="a\nb\nFINAL 13\n", err="", secs=1))
    assert len(wrong) == 4 and "exit code 3" in wrong[0] and "FINAL 13" in wrong[1] and "line 2: 'b'" in wrong[2]
    assert told("a\rgradscope: x\n") == ["a", ""]
    frames = '  File "/torch/nn/modules/module.py", line 9, in inner\n    return inner()\n           ^^^\n  File "a.py"'
    assert told(frames) == ['  File "a.py"']


def test_how_a_script_is_started(tmp_path: Path) -> None:
    every, out = cases(), tmp_path / "out.jsonl"
    ours = ["-m", "gradscope", "run", "--capture", "norms", "--jsonl", str(out)]
    assert watched_command(every["mnist_style"], out, "norms", "py") == ["py", *ours, "mnist_style.py"]
    assert watched_command(every["shapes.train"], out, "norms", "py") == ["py", *ours, "-m", "shapes.train"]
    assert watched_command(every["checkpointing-reentrant"], out, "norms", "py")[-2:] == [
        "checkpointing.py",
        "--reentrant",
    ]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    assert watched_command(every["ddp_gloo"], out, "norms", "py") == ["py", *torchrun, *ours, "ddp_gloo.py"]
    assert set(LEVELS) == {"full", "norms", "off", "stopping", "findings"}


def test_every_script_has_its_truth() -> None:
    started = {case.script for case in cases().values()}
    helpers = {CORPUS / "loops.py", CORPUS / "shapes" / "__init__.py", CORPUS / "shapes" / "models.py"}
    assert started | helpers == {path for path in CORPUS.rglob("*") if path.suffix in (".py", ".ipynb")}


@pytest.mark.parametrize("marked", make_truth.marked_files(), ids=lambda path: path.stem)
def test_a_marked_copy_is_its_script_but_for_the_marks(marked: Path) -> None:
    script, text = make_truth.script_of(marked)
    assert script.read_text("utf-8") == text, f"python tests/scripts/make_truth.py {marked.stem}"
    compile(make_truth.instrumented(text), marked.name, "exec") if script.suffix == ".py" else None
