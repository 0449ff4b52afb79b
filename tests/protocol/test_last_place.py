"""Where the engine stands, in a file that two processes share."""

import os
from pathlib import Path

import pytest

from gradscope.protocol.last_place import PLACE_VARIABLE, LastPlace
from gradscope.protocol.phases import Moment, Position, Rest, SubStep

STANDS = Position(
    rest=Rest.IN_FORWARD, step=7, epoch=1, batch=2, batches_per_epoch=None, micro=1, window=3, optimizer="größe"
)


def test_what_one_writes_the_other_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = LastPlace.made()
    assert mine is not None and mine.read() is None
    monkeypatch.setenv(PLACE_VARIABLE, mine.path)
    engines = LastPlace.of_environment()
    assert engines is not None and PLACE_VARIABLE not in os.environ
    engines.write(STANDS)
    assert mine.read() == STANDS
    engines.write(Position(rest=Rest.READY, step=8, running=True, moment=Moment(step=8, substep=SubStep.LOSS)))
    assert mine.read() == Position(rest=Rest.READY, step=8)
    engines.write(Position())
    assert mine.read() is None
    mine.close()
    engines.close()
    assert not Path(mine.path).exists()


@pytest.mark.parametrize("path", ["", "/nowhere/at/all", "empty"])
def test_without_a_file_there_is_none(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").touch()
    monkeypatch.setenv(PLACE_VARIABLE, str(tmp_path / path) if path == "empty" else path)
    assert LastPlace.of_environment() is None


def test_a_name_that_is_too_long_leaves_the_place_before() -> None:
    place = LastPlace.made()
    assert place is not None
    place.write(STANDS)
    place.write(Position(rest=Rest.READY, optimizer="x" * 1000))
    assert place.read() == STANDS
    place.close()
