"""A process that has waited knows whether what it has imported is still what is there."""

import importlib
import os
import site
import sys
from pathlib import Path

import pytest

from gradscope.engine.serving.freshness import Freshness


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "a_module_of_a_package.py"
    path.write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module(path.stem)
    monkeypatch.delitem(sys.modules, path.stem, raising=False)
    importlib.import_module(path.stem)
    return path


def test_it_holds_while_nothing_changes(module: Path) -> None:
    freshness = Freshness()
    (module.parent / "another.py").write_text("")
    assert freshness.holds()


def test_another_version_of_what_was_imported(module: Path) -> None:
    freshness = Freshness()
    os.utime(module, (1, 1))
    assert not freshness.holds()


def test_what_was_imported_is_gone(module: Path) -> None:
    freshness = Freshness()
    module.unlink()
    assert not freshness.holds()


def test_a_package_was_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packages = tmp_path / "site-packages"
    packages.mkdir()
    os.utime(packages, (1, 1))
    monkeypatch.setattr(site, "getsitepackages", lambda: [str(packages)])
    freshness = Freshness()
    assert freshness.holds()
    (packages / "another.dist-info").mkdir()
    assert not freshness.holds()
