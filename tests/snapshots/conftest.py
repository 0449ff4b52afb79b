"""A snapshot that tests read and copy, made once."""

from pathlib import Path

import pytest

from tests.snapshots import made


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.write(tmp_path_factory.mktemp("snapshots") / "shot")


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.write(tmp_path_factory.mktemp("snapshots") / "shot.zip")


@pytest.fixture
def spoiled(folder: Path, tmp_path: Path) -> made.Spoiled:
    return made.Spoiled(folder, tmp_path / "spoiled")
