"""`gradscope check` and `gradscope run --findings` as a shell sees them: exit codes, text, JSON, and what is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gradscope.engine.findings.catalogue import CATALOGUE
from gradscope.engine.headless.findings_text import evidence_text
from gradscope.engine.headless.preflight_words import FINE
from gradscope.engine.session import Session
from gradscope.protocol.findings import Certainty, Check, Evidence, Finding, Findings, Severity, Source, Verdict
from gradscope.protocol.phases import Phase
from tests.test_cli_run import GOOD, RECIPE, gradscope, in_process, strict

DEAD = Finding(
    id="dead-units",
    severity=Severity.WARNING,
    where="1",
    title="Most units of a layer never fire",
    why="They do not come back.",
    do="Start its biases at 0.",
    instead="The other layers fire.",
    certainty=Certainty.WINDOW,
    source=Source.MONITOR,
    evidence=(Evidence(name="units that never fired", value=90.6, threshold=50, unit="%"),),
    near=("3", "5"),
    phase=Phase.FORWARD,
    step=19,
    first_step=4,
)
NOTE = Finding(
    id="never-called",
    severity=Severity.INFO,
    where="spare",
    title="A layer with parameters never runs",
    why="It is not trained.",
    do="Call it.",
    certainty=Certainty.WINDOW,
    source=Source.MONITOR,
    evidence=(Evidence(name="calls", value=math.nan),),
    root="dead-units",
)
CHECKS = (
    Check(id="dead-units", verdict=Verdict.FOUND),
    Check(id="double-softmax", verdict=Verdict.QUIET),
    Check(id="future-leak", verdict=Verdict.NOT_JUDGED, reason="The targets are no tokens"),
)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    file = tmp_path / "recipe.py"
    file.write_text(RECIPE.format(loss=GOOD), encoding="utf-8")
    return file


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """What a session is to find."""

    def find(*findings: Finding) -> None:
        whole = Findings(findings=findings, checks=CHECKS, steps=3, forward=7, backward=2, seconds=1.5)
        monkeypatch.setattr(Session, "findings", lambda session: whole)
        monkeypatch.setattr(Session, "check_up", lambda session, only=None, progress=None: whole)

    return find


def test_every_id_has_a_line_for_where_all_is_well() -> None:
    assert list(FINE) == list(CATALOGUE)


def test_a_finding_is_a_block_and_the_exit_code_is_three(
    recipe: Path, found: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    found(DEAD, NOTE)
    done = in_process(capsys, "check", recipe, "--steps", "3")
    assert done.returncode == 3
    lines = done.stdout.splitlines()
    at = lines.index("warning: Most units of a layer never fire: 1")
    assert lines[at + 1 : at + 6] == [
        "  seen  units that never fired: 90.6 %, where 50 % is the limit",
        "  also  at 3, 5",
        "  why   They do not come back.",
        "  not   The other layers fire.",
        "  do    Start its biases at 0.",
    ]
    assert "info: A layer with parameters never runs: spare" in lines
    assert lines[-1] == "recipe, 3 steps: 3 checks: 1 found, 1 quiet, 1 not judged (future-leak)"
    assert done.stderr == ""


def test_an_info_alone_is_no_failure(
    recipe: Path, found: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    found(NOTE)
    assert in_process(capsys, "check", recipe, "--steps", "3").returncode == 0


def test_the_json_is_what_is_promised(
    recipe: Path, found: Callable[..., None], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    found(DEAD, NOTE)
    out, lines = tmp_path / "out.json", tmp_path / "out.jsonl"
    done = in_process(capsys, "check", recipe, "--steps", "3", "--json", out, "--jsonl", lines, "--quiet")
    assert (done.returncode, done.stdout) == (3, "a word of the user's\n")
    content = strict(out.read_text(encoding="utf-8"))
    assert {"findings", "checks", "forward", "backward", "seconds"} <= set(content)
    assert (content["forward"], content["backward"], content["seconds"]) == (7, 2, 1.5)
    dead, note = content["findings"]
    assert {"id", "severity", "where", "near", "phase", "step", "title", "evidence", "why", "do", "root"} <= set(dead)
    assert (dead["id"], dead["severity"], dead["where"], dead["near"]) == ("dead-units", "warning", "1", ["3", "5"])
    assert (dead["phase"], dead["step"], dead["first_step"], dead["root"]) == ("forward", 19, 4, None)
    assert dead["evidence"] == [
        {"name": "units that never fired", "value": 90.6, "threshold": 50, "unit": "%", "text": ""}
    ]
    assert note["evidence"][0]["value"] is None and note["root"] == "dead-units" and note["phase"] is None
    assert content["checks"][2] == {
        "id": "future-leak",
        "verdict": "not judged",
        "reason": "The targets are no tokens",
    }
    first, second, last = map(strict, lines.read_text(encoding="utf-8").splitlines())
    assert (first["phase"], first["id"], first["during"], second["phase"]) == (
        "finding",
        "dead-units",
        "forward",
        "finding",
    )
    assert last["phase"] == "checked" and len(last["checks"]) == 3 and last["forward"] == 7


def test_json_on_standard_output_is_alone_there(
    recipe: Path, found: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    found()
    done = in_process(capsys, "check", recipe, "--steps", "1", "--json", "-")
    assert done.returncode == 0 and strict(done.stdout)["findings"] == []
    assert done.stderr == "a word of the user's\n"


def test_several_seeds_say_how_often_it_was_seen(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seeds: list[int] = []

    def check_up(session: Session, only: Any = None, progress: Any = None) -> Findings:
        seeds.append(session.seed)
        return Findings(findings=(NOTE, DEAD) if session.seed == 6 else (NOTE,), checks=CHECKS[1:], forward=1)

    monkeypatch.setattr(Session, "check_up", check_up)
    done = in_process(capsys, "check", recipe, "--steps", "1", "--seed", "5", "--seeds", "3", "--json", "-")
    content = strict(done.stdout)
    assert seeds == [5, 6, 7] and done.returncode == 3
    assert [(f["id"], f["seen"]) for f in content["findings"]] == [("dead-units", 1), ("never-called", 3)]
    assert (content["seeds"], content["forward"], len(content["checks"])) == (3, 3, 2)
    text = in_process(capsys, "check", recipe, "--steps", "1", "--seed", "5", "--seeds", "3").stdout
    assert "warning: Most units of a layer never fire: 1 (with 1 of 3 seeds)" in text


def test_only_some_findings(recipe: Path, found: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    found(DEAD, NOTE)
    done = in_process(capsys, "check", recipe, "--steps", "1", "--only", "never-called,future-leak", "--json", "-")
    content = strict(done.stdout)
    assert done.returncode == 0
    assert [f["id"] for f in content["findings"]] == ["never-called"]
    assert [check["id"] for check in content["checks"]] == ["future-leak"]


def test_the_list_before_a_training(
    recipe: Path, found: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    found(DEAD)
    lines = in_process(capsys, "check", recipe, "--steps", "0").stdout.splitlines()
    assert lines[1].startswith("     The first loss is ")
    # Three units for four random samples are too few.
    assert lines[2].startswith("note One batch is not learnt by heart: loss ")
    assert lines[3:6] == [
        "NO   Most units of a layer never fire: 1",
        "ok   Cross entropy gets logits, not probabilities",
        "--   not judged: The answer is not visible to the model (The targets are no tokens)",
    ]
    assert lines[-1].startswith("recipe, one batch: 3 checks")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--steps", "-1"], "--steps is -1"),
        (["--seeds", "0"], "--seeds is 0"),
        (["--only", "dead-unit"], "did you mean dead-units"),
        (["--only", "nothing-like-it"], "the id of no finding"),
        (["--json", "-", "--jsonl", "-"], "two different names"),
        (["--json", "/no/such/folder/x.json"], "--json"),
        (["--rules", "/no/such/rules.py"], "does not exist"),
    ],
)
def test_what_cannot_be_is_refused(
    recipe: Path, given: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    done = in_process(capsys, "check", recipe, *given)
    assert done.returncode == 2 and words in done.stderr


SCRIPT = """
import torch, gradscope
from torch import nn

@gradscope.finding(id="big-gradient", needs="grad", title="The gradient is big")
def big(gradients):
    return {"where": "model.0.weight", "evidence": {"norm": (gradients["model.0.weight"].l2, 0)}}

model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), 0.1)
for step in range(6):
    optimizer.zero_grad()
    nn.functional.mse_loss(model(torch.randn(8, 2)), torch.randn(8, 1)).backward()
    optimizer.step()
    print("step", step)
"""


@pytest.mark.parametrize("steps", [3, 50])
def test_a_script_is_ended_after_its_steps_and_owns_its_loop(tmp_path: Path, steps: int) -> None:
    script, out = tmp_path / "train.py", tmp_path / "out.json"
    script.write_text(SCRIPT, encoding="utf-8")
    done = gradscope("check", "--steps", steps, "--json", out, script, "--an-option-of-its-own")
    assert done.returncode == 3, done.stderr
    content = strict(out.read_text(encoding="utf-8"))
    assert content["steps"] == min(steps, 6)
    (own,) = [finding for finding in content["findings"] if finding["source"] == "own rule"]
    assert (own["id"], own["where"], own["title"]) == ("big-gradient", "model.0.weight", "The gradient is big")
    checks = {check["id"]: check for check in content["checks"]}
    assert "owns its loop" in checks["lr-too-high"]["reason"]
    # What the script prints goes to standard error, and what is found to standard output.
    assert "step 1" in done.stderr and ("step 4" in done.stderr) is (steps > 6)
    assert done.stdout.splitlines()[0] == "warning: The gradient is big: model.0.weight"


def test_a_script_that_fails_and_one_that_does_not_train(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT + "raise ValueError('no more')\n", encoding="utf-8")
    done = gradscope("check", script)
    assert done.returncode == 1 and "no more" in done.stderr and "The gradient is big" in done.stdout
    script.write_text("print('nothing')\n", encoding="utf-8")
    done = gradscope("check", script)
    assert done.returncode == 2 and "no training step was seen" in done.stderr


@pytest.mark.parametrize("given", [["--seed", "1"], ["--seeds", "2"], ["--device", "cpu"], ["--steps", "0"]])
def test_what_is_for_recipes_is_refused_for_a_script(tmp_path: Path, given: list[str]) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT, encoding="utf-8")
    done = gradscope("check", *given, script)
    assert done.returncode == 2 and given[0] in done.stderr and len(done.stderr.splitlines()) == 1


def test_rules_of_a_file_are_asked_with_a_recipe(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = tmp_path / "rules.py"
    rules.write_text(
        "import gradscope\n\n@gradscope.finding(needs='activation', severity='error')\ndef too_wide(layers):\n"
        "    assert set(layers) == {'', '0', '1'}\n    layers['0'].tensor.zero_()\n    return 'three is a crowd'\n",
        encoding="utf-8",
    )
    given = ("check", recipe, "--steps", "2", "--no-experiments", "--rules", rules, "--only", "too-wide", "--json", "-")
    done = in_process(capsys, *given)
    content = strict(done.stdout)
    assert done.returncode == 3 and [check["verdict"] for check in content["checks"]] == ["found"]
    (own,) = content["findings"]
    assert (own["id"], own["severity"], own["evidence"][0]["text"]) == ("too-wide", "error", "three is a crowd")


def test_code_that_fails_ends_with_one_after_what_was_found(
    tmp_path: Path, found: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    found(DEAD)
    file = tmp_path / "fails.py"
    file.write_text(RECIPE.format(loss="raise ValueError('no loss')"), encoding="utf-8")
    done = in_process(capsys, "check", file, "--steps", "2")
    assert done.returncode == 1
    assert "no loss" in done.stderr and "warning: Most units" in done.stdout


def test_run_tells_findings_at_its_end(recipe: Path, found: Callable[..., None], tmp_path: Path) -> None:
    """With a process of its own: what the monitors really say."""
    out = tmp_path / "out.jsonl"
    done = gradscope("run", recipe, "--steps", "2", "--findings", "--jsonl", out)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert lines[-1]["phase"] == "checked" and lines[-1]["steps"] == 2
    assert "2 steps, " in done.stderr and "quiet" in done.stderr


def test_evidence_in_words() -> None:
    assert evidence_text(Evidence(name="steps", value=3)) == "steps: 3"
    assert evidence_text(Evidence(name="ratio", value=1e-5, threshold=1e-4)) == "ratio: 1e-5, where 1e-4 is the limit"
    assert evidence_text(Evidence(name="x", value=None)) == "x"
    assert evidence_text(Evidence(name="x", value=2, text="two of them")) == "two of them"
