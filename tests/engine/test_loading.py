"""Loading a recipe file: every mistake is one sentence with the user's lines, and leaves the process as it was."""

from __future__ import annotations

import importlib
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import plain
import pytest
import torch

from gradscope import BadInput, Session, load_recipe

GOOD = """
import torch
from torch import nn
from gradscope import Recipe

def recipe():
    model = nn.Linear(2, 3)
    data = torch.utils.data.TensorDataset(torch.randn(8, 2), torch.zeros(8, dtype=torch.long))
    fields = dict(model=model, dataset=data, loss=nn.CrossEntropyLoss(), optimizer=torch.optim.SGD(model.parameters(), 0.1))
    {change}
    return Recipe(**fields)
"""

Write = Callable[..., Path]


def refused(path: Path | str, seed: int = 0) -> tuple[str, str]:
    """(sentence, traceback); the process has to be as before."""
    before = process_state()
    with pytest.raises(BadInput) as error:
        load_recipe(path, seed)
    plain.assert_same(before, process_state())
    failure = error.value.failure
    assert "\n" not in failure.sentence and len(failure.sentence) < 500
    return failure.sentence, failure.traceback


def process_state() -> list[object]:
    own = {name: id(module) for name, module in sys.modules.items() if is_ours(name, module)}
    return [list(sys.path), dict(sorted(own.items())), random.getstate(), np.random.get_state(), torch.get_rng_state()]


def is_ours(name: str, module: object) -> bool:
    """torch may import more of itself; what lies beside a recipe may not stay."""
    return name.startswith("gradscope_recipe_") or "/project/" in (getattr(module, "__file__", None) or "")


def test_a_good_file(write_recipe: Write) -> None:
    file = write_recipe(GOOD.format(change=""))
    recipe = load_recipe(file, 7)
    assert recipe.source is not None
    assert (recipe.source.path, recipe.source.seed, recipe.name) == (file, 7, "recipe")
    assert len(recipe.source.sha256) == 64
    with Session(recipe) as session:
        assert session.seed == 7
        session.next_batch()


def test_the_seed_comes_before_the_import(write_recipe: Write) -> None:
    file = write_recipe(
        "import random, torch, numpy\nDRAWN = random.random(), torch.rand(()), numpy.random.rand()\n"
        + GOOD.format(change="fields['name'] = repr(DRAWN)")
    )
    plain.seed_all(5)
    expected = repr((random.random(), torch.rand(()), np.random.rand()))
    assert load_recipe(file, 5).name == expected
    assert load_recipe(str(file), 5).name == load_recipe(file, 5).name != load_recipe(file, 6).name


MISTAKES = {
    "syntax": (
        "def recipe(:\n    pass\n",
        r"recipe.py cannot be compiled: SyntaxError: .* \(recipe.py, line 1\)",
        True,
    ),
    "indentation": ("def recipe():\nreturn 1\n", "cannot be compiled: IndentationError", True),
    "import": (
        "import no_such_module_here\n",
        "failed while it was imported: ModuleNotFoundError: No module named",
        True,
    ),
    "raises on import": ("x = 1\nx / 0\n", r"failed while it was imported: ZeroDivisionError.*recipe.py, line 2", True),
    "exits on import": ("import sys\nsys.exit('bye')\n", r"imported: sys.exit\('bye'\) was called", True),
    "no recipe": ("x = 1\n", r"has no function recipe\(\)", False),
    "recipe is no function": ("recipe = 3\n", "recipe in recipe.py is an int", False),
    "recipe takes arguments": ("def recipe(a): pass\n", r"recipe\(\) in recipe.py failed: TypeError", None),
    "returns nothing": ("def recipe(): pass\n", "returned a NoneType; expected a gradscope.Recipe", False),
    "returns something else": ("def recipe(): return {}\n", "returned a dict; expected a gradscope.Recipe", False),
    "raises": (
        "def recipe():\n    raise KeyError('lr')\n",
        r"recipe\(\) in recipe.py failed: KeyError: 'lr'.*line 2",
        True,
    ),
    "exits": ("def recipe():\n    exit()\n", r"sys.exit\(None\) was called", True),
    "null bytes": ("x = '\0'\n", "recipe.py", None),
    "raises in a library": (
        "import json\ndef recipe():\n    json.loads('{')\n",
        "JSONDecodeError.*recipe.py, line 3",
        True,
    ),
    "endless recursion": ("def recipe():\n    recipe()\n", "RecursionError", True),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_in_the_file(name: str, write_recipe: Write) -> None:
    text, pattern, has_traceback = MISTAKES[name]
    file = write_recipe(text)
    sentence, traceback = refused(file)
    assert re.search(pattern, sentence), sentence
    if has_traceback is not None:
        assert bool(traceback) is has_traceback
    assert_only_of(file, traceback)


def assert_only_of(file: Path, traceback: str) -> None:
    files = {line.split('"')[1] for line in traceback.splitlines() if line.lstrip().startswith("File ")}
    assert files <= {str(file)}


FIELDS = {
    "model": ("3", r"Recipe\(model=...\) is 3; expected a torch.nn.Module, or a dict"),
    "model as a class": ("model: nn.Linear", "is the class Linear"),
    "model with a result": (
        "model: {'w': torch.ones(1, requires_grad=True) * 2}",
        "'w'.*is the result of an operation",
    ),
    "model with a number": ("model: {'w': 1.0}", "has 'w': 1.0"),
    "empty model": ("model: {}", "is a dict; expected"),
    "dict without training_step": (
        "model: {'w': torch.ones(1, requires_grad=True)}",
        r"training_step=...\) is missing",
    ),
    "dataset": ("5", r"Recipe\(dataset=...\) is 5"),
    "dataset as text": ("dataset: 'digits'", "is 'digits'; expected a map-style or iterable dataset"),
    "loss": ("None", r"Recipe\(loss=...\) is missing"),
    "loss as a class": ("loss: nn.MSELoss", "is the class MSELoss"),
    "optimizer": ("None", r"Recipe\(optimizer=...\) is None; expected a torch.optim.Optimizer"),
    "optimizer as a class": ("optimizer: torch.optim.SGD", "is the class SGD"),
    "scheduler": ("'cosine'", r"Recipe\(scheduler=...\) is 'cosine'"),
    "scheduler on a plateau": (
        "scheduler: torch.optim.lr_scheduler.ReduceLROnPlateau(fields['optimizer'])",
        'expected scheduler_unit="epoch"',
    ),
    "scheduler_unit": ("'batch'", 'is \'batch\'; expected "step" or "epoch"'),
    "batch_size": ("0", r"Recipe\(batch_size=...\) is 0; expected a whole number from 1"),
    "batch_size as bool": ("batch_size: True", "is True"),
    "batch_size as float": ("batch_size: 3.5", "is 3.5"),
    "shuffle": ("'yes'", "is 'yes'; expected True or False"),
    "collate": ("1", r"Recipe\(collate=...\) is 1"),
    "training_step": ("1", r"Recipe\(training_step=...\) is 1"),
    "name": ("1", r"Recipe\(name=...\) is 1; expected a text"),
    "description": ("None", r"Recipe\(description=...\) is None"),
}


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_of_the_wrong_type_is_named(name: str, write_recipe: Write) -> None:
    value, pattern = FIELDS[name]
    field, _, other = value.partition(": ") if ": " in value and not value.startswith("{") else (name, "", value)
    file = write_recipe(GOOD.format(change=f"fields[{field!r}] = {other}"))
    sentence, traceback = refused(file)
    assert re.search(pattern, sentence), sentence
    assert_only_of(file, traceback)


def test_an_unknown_field_is_named(write_recipe: Write) -> None:
    sentence, _ = refused(write_recipe(GOOD.format(change="fields['epochs'] = 3")))
    assert "epochs" in sentence


@pytest.mark.parametrize(
    "dataset",
    [
        "[]",
        "torch.utils.data.TensorDataset(torch.zeros(0, 2))",
        "torch.utils.data.DataLoader(data, 16, drop_last=True)",
    ],
)
def test_an_empty_dataset(dataset: str, write_recipe: Write) -> None:
    recipe = load_recipe(write_recipe(GOOD.format(change=f"fields['dataset'] = {dataset}")))
    with pytest.raises(BadInput, match=r"dataset (is empty|gives no batch)"):
        Session(recipe)


def test_files_that_are_none(tmp_path: Path, write_recipe: Write) -> None:
    assert "does not exist" in refused(tmp_path / "nowhere.py")[0]
    assert "is a folder" in refused(tmp_path)[0]
    assert "is no Python file" in refused(write_recipe("x", "recipe.txt"))[0]
    assert "is no Python file" in refused(write_recipe("x", "README"))[0]


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(write_recipe: Write) -> None:
    file = write_recipe("x = 1")
    file.chmod(0)
    assert "cannot be read: Permission denied" in refused(file)[0]


@pytest.mark.parametrize("seed", [-1, 2**32, 0.5, True, "1", None])
def test_seeds_out_of_range(seed: object, write_recipe: Write) -> None:
    assert "expected a whole number from 0 to 4294967295" in refused(write_recipe(GOOD.format(change="")), seed)[0]  # type: ignore[arg-type]


def test_the_largest_seed(write_recipe: Write) -> None:
    assert load_recipe(write_recipe(GOOD.format(change="")), 2**32 - 1).source.seed == 2**32 - 1  # type: ignore[union-attr]


SIBLING = "from parts import NAME\n" + GOOD.format(change="fields['name'] = NAME")


def test_modules_beside_the_file_are_imported_and_imported_anew_after_an_edit(write_recipe: Write) -> None:
    file = write_recipe(SIBLING)
    write_recipe("NAME = 'first'", "parts.py")
    assert load_recipe(file).name == "first"
    assert str(file.parent) == sys.path[0]
    write_recipe("NAME = 'after the edit'", "parts.py")
    assert load_recipe(file).name == "after the edit"
    assert sys.path.count(str(file.parent)) == 1


def test_an_edit_within_the_same_second_that_keeps_the_length_is_seen(
    write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Python's cache knows a source file by its size and the second of its last change.
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    file = write_recipe(SIBLING)
    for name in ("one", "two", "six"):
        write_recipe(f"NAME = '{name}'", "parts.py")
        assert load_recipe(file).name == name
        write_recipe(GOOD.format(change=f"fields['name'] = '{name}!'"), "alone.py")
        assert load_recipe(file.parent / "alone.py").name == f"{name}!"


def test_modules_of_the_same_name_beside_two_files_are_two(tmp_path: Path) -> None:
    """One engine loads a recipe after the other; a module may be imported late, in a forward."""
    for name in ("one", "other", "one"):
        folder = tmp_path / "project" / name
        folder.mkdir(exist_ok=True, parents=True)
        for module in ("parts", "late_parts"):
            (folder / f"{module}.py").write_text(f"NAME = {name!r}")
        file = folder / "recipe.py"
        file.write_text(SIBLING)
        assert load_recipe(file).name == name
        late = importlib.import_module("late_parts")
        assert vars(late)["NAME"] == name


def test_what_was_imported_before_stays_where_another_file_is_loaded(tmp_path: Path, write_recipe: Write) -> None:
    """Somebody's program imports modules of its own, and loads recipes beside them and elsewhere."""
    folder = tmp_path / "program"
    folder.mkdir(parents=True)
    (folder / "programs_own.py").touch()
    (folder / "recipe.py").write_text(GOOD.format(change=""))
    sys.path.insert(0, str(folder))
    own = importlib.import_module("programs_own")
    load_recipe(write_recipe(GOOD.format(change="")))
    assert sys.modules["programs_own"] is own
    load_recipe(folder / "recipe.py")
    own = importlib.import_module("programs_own")
    load_recipe(write_recipe(GOOD.format(change="")))
    assert sys.modules["programs_own"] is own


def test_a_package_beside_the_file(write_recipe: Write) -> None:
    file = write_recipe("from deep.inner import NAME\n" + GOOD.format(change="fields['name'] = NAME"))
    (file.parent / "deep").mkdir()
    (file.parent / "deep/__init__.py").touch()
    for name in ("first", "the second"):
        (file.parent / "deep/inner.py").write_text(f"NAME = {name!r}")
        assert load_recipe(file).name == name


def test_a_failure_brings_the_old_modules_back(write_recipe: Write) -> None:
    file = write_recipe(SIBLING)
    write_recipe("NAME = 'first'", "parts.py")
    load_recipe(file)
    old = sys.modules["parts"], sys.modules["recipe"]
    write_recipe(SIBLING + "\nraise ValueError('edited')\n")
    write_recipe("NAME = 'edited, too'\nimport more_parts", "parts.py")
    write_recipe("", "more_parts.py")
    refused(file)
    assert (sys.modules["parts"], sys.modules["recipe"]) == old
    assert "more_parts" not in sys.modules


def test_a_mistake_in_a_sibling_names_the_sibling(write_recipe: Write) -> None:
    file = write_recipe(SIBLING)
    write_recipe("def broken(:", "parts.py")
    sentence, traceback = refused(file)
    assert "parts.py cannot be compiled" in sentence
    assert "parts.py" in traceback


@pytest.mark.parametrize("name", ["with spaces.py", "dots.in.name.py", "ünïcödé-模型.py", "1-class.py", "torch.py"])
def test_odd_names(name: str, write_recipe: Write) -> None:
    file = write_recipe(GOOD.format(change=""), name)
    assert load_recipe(file).name == file.stem


def test_odd_contents(write_recipe: Write) -> None:
    file = write_recipe("\ufeff# ünïcödé\n" + GOOD.format(change="fields['name'] = 'größe 模型'"))
    assert load_recipe(file).name == "größe 模型"
    file.write_bytes(
        b"# -*- coding: latin-1 -*-\nNAME = '\xe9'\n" + GOOD.format(change="fields['name'] = NAME").encode()
    )
    assert load_recipe(file).name == "é"
    file.write_bytes(GOOD.format(change="").replace("\n", "\r\n").encode())
    load_recipe(file)
    file.write_bytes(b"x = '\xff'\n")
    assert "recipe.py" in refused(file)[0]


def test_a_link_to_a_recipe(write_recipe: Write, tmp_path: Path) -> None:
    link = tmp_path / "link.py"
    link.symlink_to(write_recipe(SIBLING))
    write_recipe("NAME = 'beside the real file'", "parts.py")
    assert load_recipe(link).name == "beside the real file"


def test_dataclasses_and_pickle_find_the_recipes_module(write_recipe: Write) -> None:
    text = "from __future__ import annotations\nimport dataclasses, pickle\n"
    text += "@dataclasses.dataclass\nclass C:\n    x: int = 1\n"
    file = write_recipe(text + GOOD.format(change="fields['name'] = repr(pickle.loads(pickle.dumps(C(2))))"))
    assert load_recipe(file).name == "C(x=2)"


def test_a_script_beside_the_recipe_stays_the_main_module(write_recipe: Write) -> None:
    write_recipe(GOOD.format(change=""))
    script = write_recipe(
        "import sys\nfrom gradscope import load_recipe\nload_recipe('recipe.py')\nassert '__main__' in sys.modules\n",
        "script.py",
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, script.name], cwd=script.parent, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
