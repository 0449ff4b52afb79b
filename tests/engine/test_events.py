"""`gradscope run --tensorboard`: event files, read back with TensorBoard's reader, against the JSON lines of the run."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from gradscope.assets import sample_path
from gradscope.engine.headless.outputs import EXIT_BAD_INPUT, EXIT_DONE, EXIT_USER_CODE
from gradscope.engine.headless.recipe import RunOptions, run
from tests.snapshots.events import read, scalars

RECIPE = """
import torch
from torch import nn
from gradscope import Recipe

class Net(nn.Sequential):
    calls = 0
    def forward(self, x):
        self.calls += 1
        {misbehave}
        return super().forward(x)

def recipe():
    model = Net(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 3))
    data = torch.utils.data.TensorDataset(torch.randn(24, 2), torch.zeros(24, dtype=torch.long))
    return Recipe(model=model, dataset=data, loss=nn.CrossEntropyLoss(), batch_size=4,
                  optimizer=torch.optim.SGD(model.parameters(), 0.1, momentum=0.9), {fields})
"""

Write = Callable[[str], Path]


def go(path: Path, folder: Path, steps: int) -> int:
    outputs = {"jsonl": f"{folder}.jsonl", "tensorboard": str(folder)}
    return run(RunOptions(path=path, steps=steps, quiet=True, keep_going=True, **outputs))


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in Path(f"{folder}.jsonl").read_text().splitlines()]


def test_every_number_of_every_step(write_recipe: Write, tmp_path: Path) -> None:
    fields = "accumulate=2, clip_norm=0.05, validation=data, metrics={'top': lambda output, target: output.max()}"
    path = write_recipe(RECIPE.format(misbehave="", fields=fields))
    folder = tmp_path / "run"
    assert go(path, folder, 7) == EXIT_DONE
    reader, seen = read(folder), set()

    def check(tag: str, expected: dict[int, float]) -> None:
        seen.add(tag)
        assert scalars(reader, tag) == pytest.approx(expected, rel=1e-6), tag

    steps = [line for line in lines(folder) if line["phase"] == "step"]
    check("loss", {line["step"]: line["loss"] for line in steps})
    check("learning_rate/group_0", {line["step"]: line["lr"][0] for line in steps})
    check("clip/norm", {line["step"]: line["clip"]["norm"] for line in steps})
    check("clip/coefficient", {line["step"]: line["clip"]["coefficient"] for line in steps})
    validations = [line for line in lines(folder) if line["phase"] == "validation"]
    assert len(validations) == 2
    check("validation/loss", {line["step"]: line["loss"] for line in validations})
    check("validation/top", {line["step"]: line["metrics"]["top"] for line in validations})

    subjects: dict[str, dict[int, dict]] = {}
    for line in lines(folder):
        for subject in line.get("subjects", ()):
            tag = f"{subject['kind']}/{subject['name'] or '(model)'}"
            # Of a window's micro-batches the last one stays.
            subjects.setdefault(tag + (f":{subject['leaf']}" if subject["leaf"] else ""), {})[line["step"]] = subject
    for tag, by_step in subjects.items():
        for name in ("l2", "mean", "std", "min", "max"):
            check(f"{tag}/{name}", {step: subject[name] for step, subject in by_step.items()})
        events = reader.Histograms(tag)
        assert {event.step: event.histogram_value.num for event in events} == {
            step: subject["count"] for step, subject in by_step.items()
        }
    for name in ("0.weight", "2.bias"):
        update, size = subjects[f"update/{name}"], subjects[f"parameter/{name}"]
        check(f"update_ratio/{name}", {step: update[step]["l2"] / size[step]["l2"] for step in update})
    assert set(reader.Tags()["scalars"]) - seen == {"update_ratio/0.bias", "update_ratio/2.weight"}


def test_what_is_not_finite_is_counted(write_recipe: Write, tmp_path: Path) -> None:
    path = write_recipe(RECIPE.format(misbehave="x = x / (0 if self.calls == 3 else 1)", fields=""))
    assert go(path, tmp_path / "run", 5) == EXIT_DONE
    reader = read(tmp_path / "run")
    loss = scalars(reader, "loss")
    assert [math.isnan(loss[step]) for step in range(5)] == [False, False, True, True, True]
    counts = {
        line["step"]: s["nan"]
        for line in lines(tmp_path / "run")
        for s in line["subjects"]
        if s["kind"] == "grad" and s["name"] == "2.weight"
    }
    assert scalars(reader, "grad/2.weight/nan") == {step: count for step, count in counts.items() if step >= 2}
    assert "parameter/0.weight/nan" in reader.Tags()["scalars"] and "grad/2.weight/inf" not in reader.Tags()["scalars"]


def test_a_long_run_has_64_histograms_with_the_last_step(write_recipe: Write, tmp_path: Path) -> None:
    path = write_recipe(RECIPE.format(misbehave="", fields=""))
    assert go(path, tmp_path / "run", 150) == EXIT_DONE
    reader = read(tmp_path / "run")
    assert len(scalars(reader, "activation/0/mean")) == 150
    assert [event.step for event in reader.Histograms("activation/0")] == [*range(0, 150, 3), 149]


def test_what_was_seen_before_a_failure_is_there(write_recipe: Write, tmp_path: Path) -> None:
    path = write_recipe(RECIPE.format(misbehave="assert self.calls < 3, 'no more'", fields=""))
    assert go(path, tmp_path / "run", 9) == EXIT_USER_CODE
    assert list(scalars(read(tmp_path / "run"), "loss")) == [0, 1]


def test_a_folder_in_use_is_refused_before_anything_runs(
    write_recipe: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_recipe(RECIPE.format(misbehave="", fields=""))
    assert go(path, tmp_path / "run", 1) == EXIT_DONE
    capsys.readouterr()
    assert go(path, tmp_path / "run", 1) == EXIT_BAD_INPUT
    assert "--tensorboard: " in (error := capsys.readouterr().err) and "holds event files already" in error
    assert error.count("\n") == 1


def test_the_rates_of_several_optimizers_have_their_names(tmp_path: Path) -> None:
    gan = sample_path("gan")
    assert gan is not None
    assert go(gan, tmp_path / "run", 2) == EXIT_DONE
    rates = {tag for tag in read(tmp_path / "run").Tags()["scalars"] if tag.startswith("learning_rate")}
    assert rates == {"learning_rate/discriminator", "learning_rate/generator"}
