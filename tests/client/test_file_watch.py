"""A file that is saved is noticed, however the editor writes it; what is not a change is none."""

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from gradscope.client.file_watch import FileWatch, digest_of


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.py"
    path.write_text("first")
    return path


@pytest.fixture
def watch(qtbot: QtBot, file: Path) -> Iterator[FileWatch]:
    watch = FileWatch()
    watch.watch(str(file), digest_of(str(file)))
    yield watch
    watch.deleteLater()


def in_place(file: Path, text: str) -> None:
    file.write_text(text)


def by_rename(file: Path, text: str) -> None:
    other = file.with_suffix(".swp")
    other.write_text(text)
    other.replace(file)


def with_a_backup(file: Path, text: str) -> None:
    file.rename(file.with_suffix(".bak"))
    file.write_text(text)


def after_removing(file: Path, text: str) -> None:
    file.unlink()
    file.write_text(text)


@pytest.mark.parametrize("save", [in_place, by_rename, with_a_backup, after_removing])
def test_every_save_is_noticed(watch: FileWatch, file: Path, qtbot: QtBot, save: Callable[[Path, str], None]) -> None:
    assert not watch.has_changed
    for text in ("second", "third", "fourth"):
        save(file, text)
        qtbot.waitUntil(lambda text=text: watch.seen == hashlib.sha256(text.encode()).hexdigest())
        assert watch.has_changed
    save(file, "first")
    qtbot.waitUntil(lambda: not watch.has_changed)


def test_a_file_that_was_away(watch: FileWatch, file: Path, qtbot: QtBot) -> None:
    file.unlink()
    qtbot.waitUntil(lambda: watch.seen == "")
    assert not watch.has_changed, "there is nothing to open"
    file.write_text("back, and other")
    qtbot.waitUntil(lambda: watch.has_changed)
    file.write_text("first")
    qtbot.waitUntil(lambda: not watch.has_changed)


def test_a_file_that_is_not_there_yet(qtbot: QtBot, tmp_path: Path) -> None:
    watch = FileWatch()
    watch.watch(str(tmp_path / "new.py"), "")
    assert not watch.has_changed
    (tmp_path / "new.py").write_text("here")
    qtbot.waitUntil(lambda: watch.has_changed)
    watch.deleteLater()


def test_the_same_content_is_no_change(watch: FileWatch, file: Path, qtbot: QtBot) -> None:
    told = []
    watch.changed.connect(lambda: told.append(watch.has_changed))
    by_rename(file, "first")
    os.utime(file)
    (file.parent / "neighbour.py").write_text("not ours")
    qtbot.wait(400)
    assert told == []


def test_another_file_is_watched_instead(watch: FileWatch, file: Path, qtbot: QtBot) -> None:
    other = file.with_name("other.py")
    other.write_text("other")
    watch.watch(str(other), digest_of(str(other)))
    file.write_text("second")
    other.write_text("more")
    qtbot.waitUntil(lambda: watch.has_changed)
    watch.watch("", "")
    assert not watch.has_changed
    watch.watch(str(other), digest_of(str(other)))
    assert not watch.has_changed
    watch.watch(str(other), "what was known earlier")
    assert watch.has_changed


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_what_cannot_be_read_is_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    with (tmp_path / "huge.py").open("wb") as huge:
        huge.truncate(1 << 34)
    for name in ("pipe.py", "huge.py", "", "missing.py", "\0", "x" * 5000):
        assert digest_of(str(tmp_path / name)) == "", name
