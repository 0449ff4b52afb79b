"""The settings table: what is stored comes back typed, and nonsense becomes the default."""

from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QByteArray, QSettings
from pytestqt.qtbot import QtBot

from gradscope.ui.look.settings import MAX_RECENT_FILES, Setting, Settings, ThemeChoice, settings_path


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (Setting.PYTHON, "/opt/env/bin/python"),
        (Setting.SEED, 4294967295),
        (Setting.DEVICE, "cuda:1"),
        (Setting.THEME, ThemeChoice.DARK),
        (Setting.RUN_STEPS, 7),
        (Setting.RECENT_FILES, ["/a.py"]),
        (Setting.RECENT_FILES, ["/a.py", "/b, c.py"]),
        (Setting.SCRIPTS, '{"/w/train.py": {"arguments": ["--name", "a, b; c"]}}'),
        (Setting.GEOMETRY, QByteArray(b"\x00\x01\xff")),
    ],
)
def test_what_is_stored_comes_back(tmp_path: Path, key: Setting, value: Any) -> None:
    file = tmp_path / "settings.ini"
    first = Settings(file)
    first.set(key, value)
    first.sync()
    found = Settings(file).get(key)
    assert found == value
    assert type(found) is type(value)


def test_every_setting_has_a_default(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "settings.ini")
    defaults = {key: settings.get(key) for key in Setting}
    assert defaults[Setting.SEED] == 0
    assert defaults[Setting.DEVICE] == "cpu"
    assert defaults[Setting.RUN_STEPS] == 100
    assert defaults[Setting.THEME] is ThemeChoice.SYSTEM


@pytest.mark.parametrize(
    ("key", "nonsense"), [(Setting.SEED, "many"), (Setting.THEME, "pink"), (Setting.RUN_STEPS, "0")]
)
def test_nonsense_becomes_the_default(tmp_path: Path, key: Setting, nonsense: str) -> None:
    file = tmp_path / "settings.ini"
    store = QSettings(str(file), QSettings.Format.IniFormat)
    store.setValue(key.value, nonsense)
    store.sync()
    settings = Settings(file)
    assert settings.get(key) == Settings(tmp_path / "other.ini").get(key)


def test_changed_is_told_once_and_only_for_a_change(tmp_path: Path, qtbot: QtBot) -> None:
    settings = Settings(tmp_path / "settings.ini")
    told: list[str] = []
    settings.changed.connect(told.append)
    settings.set(Setting.SEED, 3)
    settings.set(Setting.SEED, 3)
    assert told == [Setting.SEED]


def test_an_override_counts_until_it_is_set_and_is_not_stored(tmp_path: Path) -> None:
    file = tmp_path / "settings.ini"
    settings = Settings(file)
    settings.set(Setting.SEED, 1)
    settings.override(Setting.SEED, 2)
    settings.sync()
    assert settings.get(Setting.SEED) == 2
    assert Settings(file).get(Setting.SEED) == 1
    settings.set(Setting.SEED, 3)
    assert settings.get(Setting.SEED) == 3


def test_recent_files_are_newest_first_without_doubles_and_few(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "settings.ini")
    for i in range(MAX_RECENT_FILES + 3):
        settings.add_recent_file(f"/{i}.py")
    settings.add_recent_file("/5.py")
    recent = settings.get(Setting.RECENT_FILES)
    assert recent[0] == "/5.py"
    assert len(recent) == len(set(recent)) == MAX_RECENT_FILES
    settings.remove_recent_file("/5.py")
    assert "/5.py" not in settings.get(Setting.RECENT_FILES)


def test_settings_live_in_the_users_configuration_folder(user_dirs: Path) -> None:
    assert settings_path().is_relative_to(user_dirs)


@pytest.mark.parametrize("seed", ["-7", "4294967296", "inf", "many", "1, 2"])
def test_a_seed_that_is_none_is_the_default(tmp_path: Path, seed: str) -> None:
    file = tmp_path / "settings.ini"
    file.write_text(f"[session]\nseed={seed}\n")
    assert Settings(file).get(Setting.SEED) == 0
