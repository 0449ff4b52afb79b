"""Views are told of what has changed one after the other, in turns of the event loop between which the window answers."""

import time

import pytest
import shiboken6
from PySide6.QtCore import QObject, QTimer
from pytestqt.exceptions import capture_exceptions
from pytestqt.qtbot import QtBot

from gradscope.state.topics import Topic
from gradscope.ui.actions.refreshes import Refreshes


class View(QObject):
    def __init__(self, told: list[tuple[str, set[Topic]]], name: str, secs: float = 0.0) -> None:
        super().__init__()
        self._told, self._name, self._secs = told, name, secs

    def on_refreshed(self, topics: set[Topic]) -> None:
        time.sleep(self._secs)
        self._told.append((self._name, topics))


@pytest.fixture
def told() -> list[tuple[str, set[Topic]]]:
    return []


def made(parent: QObject, *views: View) -> tuple[Refreshes, list[float]]:
    finished: list[float] = []
    refreshes = Refreshes(parent, finished.append)
    for view in views:
        refreshes.connect(view.on_refreshed)
    return refreshes, finished


def test_the_window_answers_between_two_slow_views(qtbot: QtBot, told: list[tuple[str, set[Topic]]]) -> None:
    views = [View(told, name, 0.03) for name in "abcd"]
    parent = QObject()
    refreshes, finished = made(parent, *views)
    turns: list[int] = []
    timer = QTimer(parent)
    timer.timeout.connect(lambda: turns.append(len(told)))
    timer.start(0)
    refreshes.emit({Topic.HISTORY})
    assert told == []
    qtbot.waitUntil(lambda: bool(finished))
    assert [name for name, _ in told] == list("abcd")
    assert {1, 2, 3} <= set(turns)
    assert finished[0] >= 0.12


def test_what_comes_meanwhile_is_told_together_and_nobody_is_left_out(
    qtbot: QtBot, told: list[tuple[str, set[Topic]]]
) -> None:
    parent = QObject()
    refreshes, finished = made(parent)

    def on_refreshed(topics: set[Topic]) -> None:
        told.append(("a", topics))
        if len(told) == 1:
            refreshes.emit({Topic.LOG})
            refreshes.emit({Topic.PINS})

    refreshes.connect(on_refreshed)
    last = View(told, "b")
    refreshes.connect(last.on_refreshed)
    refreshes.emit({Topic.HISTORY})
    qtbot.waitUntil(lambda: bool(finished))
    assert told == [
        ("a", {Topic.HISTORY}),
        ("b", {Topic.HISTORY, Topic.LOG, Topic.PINS}),
        ("a", {Topic.LOG, Topic.PINS}),
    ]


def test_finish_is_at_once(told: list[tuple[str, set[Topic]]]) -> None:
    parent = QObject()
    views = [View(told, name) for name in "ab"]
    refreshes, finished = made(parent, *views)
    refreshes.finish()
    assert finished == []
    refreshes.emit({Topic.LOG})
    refreshes.finish()
    assert [name for name, _ in told] == ["a", "b"] and len(finished) == 1


def test_a_view_that_fails_or_is_gone_keeps_none_from_being_told(told: list[tuple[str, set[Topic]]]) -> None:
    parent = QObject()
    first, gone, deleted, last = (View(told, name) for name in "abcd")
    refreshes, finished = made(parent, first, gone, deleted, last)
    refreshes.connect(lambda _topics: len(5))  # type: ignore[arg-type]
    refreshes.connect(last.on_refreshed)
    refreshes.emit({Topic.LOG})
    del gone

    shiboken6.delete(deleted)
    with capture_exceptions() as raised:
        refreshes.finish()
    assert [kind for kind, _, _ in raised] == [TypeError]
    assert [name for name, _ in told] == ["a", "d", "d"] and len(finished) == 1


def test_without_views_it_is_finished_all_the_same(qtbot: QtBot) -> None:
    parent = QObject()
    refreshes, finished = made(parent)
    refreshes.emit({Topic.LOG})
    qtbot.waitUntil(lambda: bool(finished))
