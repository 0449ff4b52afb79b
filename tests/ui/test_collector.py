"""Garbage is collected from the event loop, and only from there."""

import gc
import weakref

from pytestqt.qtbot import QtBot

from gradscope.ui.upkeep.collector import Collector


class Knot:
    """Holds itself: only the cyclic collector can free it."""

    def __init__(self) -> None:
        self.myself = self


def test_knots_are_untied_by_the_event_loop_alone(qtbot: QtBot) -> None:
    collector = Collector()
    try:
        assert not gc.isenabled()
        knot = weakref.ref(Knot())
        kept: list[list[object]] = []

        def is_untied() -> bool:
            # An event that frees what an earlier test left takes from Python's count of allocations: some at once do not do.
            kept.extend([] for _ in range(5000))
            return knot() is None

        assert not is_untied()
        qtbot.waitUntil(is_untied)
    finally:
        collector.stop()
    assert gc.isenabled()


def test_what_is_there_when_it_begins_is_left_alone(qtbot: QtBot) -> None:
    before = gc.get_freeze_count()
    collector = Collector()
    try:
        assert gc.get_freeze_count() > before + 10_000
    finally:
        collector.stop()
    assert gc.get_freeze_count() == 0
