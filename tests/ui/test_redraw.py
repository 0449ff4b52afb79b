"""One failed redraw, and the next."""

import pytest
from PySide6.QtCore import QObject, QStringListModel, Signal
from pytestqt.qtbot import QtBot

from gradscope.state.topics import Topic
from gradscope.ui.widgets.redraw import Held, owing, resetting


class View(QObject):
    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[set[Topic]] = []
        self.is_broken = False

    @owing
    def on_refreshed(self, topics: set[Topic]) -> None:
        if self.is_broken:
            raise ZeroDivisionError
        self.drawn.append(topics)


def test_what_could_not_be_drawn_comes_again(qtbot: QtBot) -> None:
    view = View()
    view.is_broken = True
    for topic in (Topic.SESSION, Topic.PINS):
        with pytest.raises(ZeroDivisionError):
            view.on_refreshed({topic})
    view.is_broken = False
    view.on_refreshed({Topic.HISTORY})
    view.on_refreshed({Topic.LOG})
    assert view.drawn == [{Topic.SESSION, Topic.PINS, Topic.HISTORY}, {Topic.LOG}]


def test_each_view_owes_its_own(qtbot: QtBot) -> None:
    class Source(QObject):
        refreshed = Signal(object)

    source, first, second = Source(), View(), View()
    source.refreshed.connect(first.on_refreshed)
    source.refreshed.connect(second.on_refreshed)
    first.is_broken = True
    with qtbot.captureExceptions() as exceptions:
        source.refreshed.emit({Topic.SESSION})
    assert [kind for kind, *_ in exceptions] == [ZeroDivisionError]
    first.is_broken = False
    source.refreshed.emit({Topic.LOG})
    assert second.drawn == [{Topic.SESSION}, {Topic.LOG}]
    assert first.drawn == [{Topic.SESSION, Topic.LOG}]


def test_what_is_held_is_let_go_however_it_ends() -> None:
    held = Held()

    def hold() -> None:
        with held:
            with held:
                assert held
            assert held
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        hold()
    assert not held


def test_views_hear_of_the_end_of_a_reset_that_fails(qtbot: QtBot) -> None:
    model = QStringListModel(["one"])
    with (
        pytest.raises(ZeroDivisionError),
        qtbot.waitSignals([model.modelAboutToBeReset, model.modelReset]),
        resetting(model),
    ):
        raise ZeroDivisionError
