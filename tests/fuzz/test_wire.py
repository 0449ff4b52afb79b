"""A fixed part of what `wire.py` does, and what is as large as it may be."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path
from random import Random

import pytest
from pytestqt.qtbot import QtBot

from gradscope.protocol.codec import ProtocolError
from tests.fuzz.lying import INPUTS_PER_STATE, Liar, Stage, bombs, take_in

COUNT = 300
DRAW_EVERY = 10
BOMBS = dict(bombs())
MOST_MB = 250
"""Beyond what there is before: the text of a frame, and the frame itself, are in memory several times."""


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_lies_are_refused_or_can_be_shown(qtbot: QtBot, tmp_path: Path) -> None:
    random = Random(5)
    liar = Liar(random)
    stage = Stage(tmp_path, liar, random)
    qtbot.addWidget(stage.window)
    taken = 0
    for number in range(COUNT):
        if number % INPUTS_PER_STATE == 0:
            state = liar.state()
        try:
            taken += bool(take_in(state, liar.lie()))
        except ProtocolError:
            continue
        if taken % DRAW_EVERY == 0:
            stage.show(state)
    assert COUNT / 10 < taken < COUNT / 2


@pytest.mark.skipif(sys.platform != "linux", reason="the largest memory is counted in kilobytes")
@pytest.mark.parametrize("name", BOMBS)
def test_what_is_large_takes_little_time_and_memory(name: str) -> None:
    state = Liar(Random(0)).state()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    said = ""
    try:
        take_in(state, BOMBS[name])
    except ProtocolError as error:
        said = str(error)
    assert len(said) < 600
    assert time.process_time() - started < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_MB * 1024
