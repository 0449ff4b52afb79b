"""Work in another thread: results on this one, in order, and nothing after the end."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from pytestqt.exceptions import capture_exceptions
from pytestqt.qtbot import QtBot

from gradscope.client.background import Background


@pytest.fixture
def background(qtbot: QtBot) -> Iterator[Background]:
    background = Background()
    yield background
    background.shut_down()


def test_results_come_back_here_and_in_order(background: Background, qtbot: QtBot) -> None:
    here, done = threading.get_ident(), list[tuple[int, bool, bool]]()
    for i in range(20):
        background.run(
            lambda i=i: (i, threading.get_ident() != here),
            lambda pair: done.append((*pair, threading.get_ident() == here)),
        )
    assert done == [], "never at once: what asks is done first"
    qtbot.waitUntil(lambda: len(done) == 20)
    assert done == [(i, True, True) for i in range(20)]


def test_a_mistake_is_told_here(background: Background, qtbot: QtBot) -> None:
    done: list[int] = []
    with capture_exceptions() as errors:
        background.run(lambda: 1 // 0, done.append)
        background.run(lambda: 7, done.append)
        qtbot.waitUntil(lambda: bool(done))
    assert done == [7] and [kind for kind, *_ in errors] == [ZeroDivisionError]


def test_nobody_hears_of_it_after_the_end(background: Background, qtbot: QtBot) -> None:
    begun, go_on, done = threading.Event(), threading.Event(), list[object]()

    def work() -> None:
        begun.set()
        go_on.wait(10)

    background.run(work, done.append)
    background.run(lambda: done.append("begun after the end"), done.append)
    begun.wait(10)
    threading.Timer(0.05, go_on.set).start()
    background.shut_down()
    qtbot.wait(20)
    assert done == []
