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
        kept = [[] for _ in range(5000)]  # enough allocations for Python's own trigger
        assert knot() is not None
        qtbot.waitUntil(lambda: knot() is None)
        assert kept
    finally:
        collector.stop()
    assert gc.isenabled()
