"""Finding what travels with gradscope, and reading samples without running them."""

from pathlib import Path

import pytest

from gradscope import assets

EXPLOSIVE = 'raise SystemExit("a sample was executed")\n'


@pytest.fixture
def samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty `sample_models` folder of an installed gradscope."""
    monkeypatch.setattr(assets, "_PACKAGE", tmp_path / "gradscope")
    folder = tmp_path / "gradscope" / "_bundled" / "sample_models"
    folder.mkdir(parents=True)
    return folder


def write_sample(folder: Path, name: str) -> None:
    (folder / f"{name}.py").write_text(f"{EXPLOSIVE}def recipe():\n    pass\n", encoding="utf-8")


def test_samples_come_in_the_order_in_which_they_teach(samples: Path) -> None:
    for name in ("zebra", "aardvark", "vanishing_gradients", "digits_mlp", "linear_regression"):
        write_sample(samples, name)
    names = [path.stem for path in assets.sample_paths()]
    assert names == ["linear_regression", "digits_mlp", "vanishing_gradients", "aardvark", "zebra"]


def test_groups_hold_every_sample_once_and_in_order(samples: Path) -> None:
    for name in ("zebra", "resnet", "dead_relu", "digits_mlp", "linear_regression"):
        write_sample(samples, name)
    names = {group: [path.stem for path in paths] for group, paths in assets.sample_groups().items()}
    assert names == {
        assets.SampleGroup.STEP: ["linear_regression", "digits_mlp"],
        assets.SampleGroup.MODELS: ["resnet"],
        assets.SampleGroup.LESSONS: ["dead_relu", "zebra"],
    }


def test_every_shipped_sample_is_in_a_group_by_name() -> None:
    known = {stem for stems in assets._TEACHING_ORDER.values() for stem in stems}
    assert {path.stem for path in assets.sample_paths()} == known


def test_only_a_top_level_recipe_makes_a_sample(samples: Path) -> None:
    (samples / "helper.py").write_text(EXPLOSIVE, encoding="utf-8")
    (samples / "method.py").write_text("class A:\n    def recipe(self): ...\n", encoding="utf-8")
    (samples / "variable.py").write_text("recipe = 1\n", encoding="utf-8")
    (samples / "broken.py").write_text("def recipe(:\n", encoding="utf-8")
    (samples / "null.py").write_bytes(b"def recipe(): ...\n\0")
    (samples / "recipe.txt").write_text("def recipe(): ...\n", encoding="utf-8")
    assert assets.sample_paths() == []


def test_a_sample_is_found_by_its_name(samples: Path) -> None:
    write_sample(samples, "digits_mlp")
    expected = samples / "digits_mlp.py"
    assert assets.sample_path("digits_mlp") == assets.sample_path("digits_mlp.py") == expected
    assert assets.sample_path("digits") is None
    assert assets.sample_path("") is None


@pytest.mark.parametrize(
    ("source", "docs"),
    [
        ('"""A line.\n\n    Watch it.\n    Twice.\n"""\n', ("A line", "Watch it.\nTwice.")),
        ('"""Only a title"""\n', ("Only a title", "")),
        ("x = 1\n", ("Deep_net", "")),
        ("def (\n", ("Deep_net", "")),
    ],
)
def test_docs_are_the_docstring(source: str, docs: tuple[str, str], tmp_path: Path) -> None:
    path = tmp_path / "deep_net.py"
    path.write_text(source + EXPLOSIVE, encoding="utf-8")
    title, text = docs
    assert assets.sample_docs(path) == (title.replace("_", " "), text)


def test_the_wheels_copy_comes_before_a_folder_beside_the_package(samples: Path, tmp_path: Path) -> None:
    (tmp_path / "sample_models").mkdir()
    (tmp_path / "pyproject.toml").touch()
    assert assets.sample_models_dir() == samples


def test_a_folder_in_site_packages_is_somebody_elses(samples: Path, tmp_path: Path) -> None:
    (tmp_path / "resources").mkdir()
    with pytest.raises(assets.AssetsMissingError, match=r"resources folder is missing: .*install gradscope again"):
        assets.resources_dir()
    (tmp_path / "pyproject.toml").touch()
    assert assets.resources_dir() == tmp_path / "resources"


def test_every_shipped_sample_has_a_title_and_a_text() -> None:
    paths = assets.sample_paths()
    assert paths
    for path in paths:
        title, text = assets.sample_docs(path)
        assert title
        assert text, path


def test_a_sample_that_has_changed_is_read_again(samples: Path) -> None:
    write_sample(samples, "little")
    path = samples / "little.py"
    assert assets.sample_docs(path) == ("Little", "")
    path.write_text('"""Another title."""\ndef recipe():\n    pass\n', encoding="utf-8")
    assert assets.sample_docs(path) == ("Another title", "")
    path.write_text('"""Another title."""\n', encoding="utf-8")
    assert assets.sample_paths() == []
