"""The controller with a snapshot before the session: what goes to which, and what is dropped."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from gradscope.protocol import messages as m
from gradscope.protocol.phases import Position, Rest, Verb
from gradscope.protocol.subjects import SubjectKey, SubjectKind
from gradscope.snapshots.format.reading import GivenUp, Reading
from gradscope.state.engine import EngineStatus
from gradscope.state.log import Source
from gradscope.state.selection import Selection
from tests.client.test_controller import Lab
from tests.snapshots import made

KEY = SubjectKey(SubjectKind.PARAMETER, "0.weight")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(made.write(tmp_path_factory.mktemp("controller") / "shot"))


@pytest.fixture
def lab(qtbot: QtBot, tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path)
    yield lab
    lab.controller.background.shut_down()


def show(lab: Lab, path: str, qtbot: QtBot) -> None:
    lab.controller.open_snapshot(path)
    qtbot.waitUntil(lambda: lab.controller.state.opening is None)


def test_no_engine_is_needed(lab: Lab, path: str, qtbot: QtBot) -> None:
    show(lab, path, qtbot)
    pages: list[m.Page] = []
    lab.controller.fetch(m.FetchPage(subject=KEY), pages.append)
    qtbot.waitUntil(lambda: bool(pages))
    assert pages[0].values.shape == (4, 6)
    assert not lab.client.started and lab.client.requests == []


def test_the_session_waits_behind_it(lab: Lab, path: str, qtbot: QtBot) -> None:
    lab.opened()
    session = lab.state
    lab.controller.select(Selection.of_subject(KEY))
    lab.client.requests.clear()
    show(lab, path, qtbot)
    assert lab.controller.state is not session and lab.controller.state.log is session.log
    lab.controller.select(Selection.of_subject(SubjectKey(SubjectKind.GRAD, "2.bias")))
    lab.controller.go(Verb.FORWARD)
    lab.controller.reset()
    lab.controller.export_snapshot("/s", frozenset(), (), lambda reply: None)
    assert lab.client.requests == [], "nothing of this is meant for the engine"
    lab.client.message_received.emit(m.Moved(position=Position(rest=Rest.FORWARD, step=7)))
    lab.client.message_received.emit(m.Note(text="behind"))
    lab.client.output_received.emit("printed\n", Source.STDOUT)
    assert lab.controller.state.position.step == 1 and session.position.step == 7
    lab.controller.flush()
    assert [line.text for line in session.log.lines][-2:] == ["Step 7: behind", "printed"]
    lab.controller.close_snapshot()
    lab.controller.flush()
    assert lab.controller.state is session and session.selection.subject == KEY
    lab.controller.go(Verb.BACKWARD)
    assert lab.client.requests[-1] == m.Go(verb=Verb.BACKWARD)


def test_an_answer_of_a_snapshot_that_is_closed_is_dropped(lab: Lab, path: str, qtbot: QtBot) -> None:
    show(lab, path, qtbot)
    replies: list[object] = []
    lab.controller.fetch(m.FetchPage(subject=KEY), replies.append)
    lab.controller.close_snapshot()
    done: list[int] = []
    lab.controller.background.run(lambda: 1, done.append)
    qtbot.waitUntil(lambda: bool(done))
    assert replies == []


def test_only_the_last_of_several_is_shown(lab: Lab, path: str, qtbot: QtBot, tmp_path: Path) -> None:
    lab.controller.open_snapshot(str(tmp_path / "nothing"))
    show(lab, path, qtbot)
    assert lab.controller.state.snapshot is not None and lab.failed == []


def test_a_recipe_gives_up_what_is_being_read(lab: Lab, path: str, qtbot: QtBot) -> None:
    lab.ready()
    lab.controller.open_snapshot(path)
    lab.controller.open_recipe("/a.py")
    assert lab.state.opening == "/a.py"
    done: list[int] = []
    lab.controller.background.run(lambda: 1, done.append)
    qtbot.waitUntil(lambda: bool(done))
    assert lab.controller.state is lab.state and lab.state.opening == "/a.py"


def test_a_failure_is_told_and_changes_nothing(lab: Lab, tmp_path: Path, qtbot: QtBot) -> None:
    show(lab, str(tmp_path / "nothing.zip"), qtbot)
    assert [failure.sentence for failure in lab.failed] == [
        f"There is no snapshot {tmp_path / 'nothing.zip'}; expected a folder or a .zip file"
    ]
    assert lab.controller.state is lab.state and lab.state.failure == lab.failed[0]


def test_a_comparison_with_nothing_fails_in_a_sentence(lab: Lab, path: str, qtbot: QtBot, tmp_path: Path) -> None:
    request = m.FetchDifferences(path=str(tmp_path / "nothing"), subjects=(KEY,))
    replies: list[object] = []
    lab.controller.fetch(request, replies.append)
    assert isinstance(replies[0], m.Failed)
    show(lab, path, qtbot)
    lab.controller.fetch(request, replies.append)
    qtbot.waitUntil(lambda: len(replies) == 2)
    assert isinstance(replies[1], m.Failed) and "nothing" in lab.failed[0].sentence


def test_a_dead_engine_leaves_it_alone(lab: Lab, path: str, qtbot: QtBot) -> None:
    lab.opened()
    show(lab, path, qtbot)
    lab.client.become(EngineStatus.DEAD, "It was killed")
    assert lab.controller.state.engine.status is EngineStatus.DEAD
    assert lab.controller.state.position.rest is Rest.BACKWARD
    assert lab.state.position.rest is Rest.EMPTY


class Slow:
    """Holds a reading up until it is given up or let go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.may_go_on, self.began = threading.Event(), threading.Event()
        self.broken_off = 0
        real = Reading.advance

        def advance(reading: Reading, what: str = "", share: float = 0.0) -> None:
            self.began.set()
            try:
                while not self.may_go_on.wait(0.01):
                    real(reading, what, share)
                real(reading, what, share)
            except GivenUp:
                self.broken_off += 1
                raise

        monkeypatch.setattr(Reading, "advance", advance)


def test_a_reading_is_broken_off(lab: Lab, path: str, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch)
    lab.opened()
    lab.controller.open_snapshot(path)
    qtbot.waitUntil(slow.began.is_set)
    assert lab.controller.reading_progress is not None and lab.controller.state.opening == path
    lab.controller.cancel_snapshot()
    assert lab.controller.reading_progress is None and lab.controller.state.opening is None
    qtbot.waitUntil(lambda: slow.broken_off == 1)
    slow.may_go_on.set()
    show(lab, path, qtbot)
    assert lab.controller.state.snapshot is not None and lab.controller.state.failure is None
    assert lab.controller.reading_progress is None


def test_values_that_nobody_waits_for_are_not_read_to_the_end(
    lab: Lab, path: str, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    show(lab, path, qtbot)
    slow = Slow(monkeypatch)
    answers: list[object] = []
    lab.controller.fetch(m.FetchHistogram(subject=KEY), answers.append)
    qtbot.waitUntil(slow.began.is_set)
    lab.controller.close_snapshot()
    qtbot.waitUntil(lambda: slow.broken_off == 1)
    qtbot.wait(20)
    assert answers == []


def test_the_app_ends_while_a_snapshot_is_read(
    lab: Lab, path: str, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(monkeypatch)
    monkeypatch.setattr(lab.client, "shut_down", lambda: None, raising=False)
    lab.controller.open_snapshot(path)
    qtbot.waitUntil(slow.began.is_set)
    lab.controller.shut_down()
    assert slow.broken_off == 1
