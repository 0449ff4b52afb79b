"""Where the engine stands, in a file that two processes share."""

import json
import os
from pathlib import Path
from typing import Any

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


@pytest.mark.parametrize("path", ["", "/nowhere/at/all", "empty", "folder", "pipe"])
def test_without_a_file_there_is_none(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
    monkeypatch.setenv(PLACE_VARIABLE, path if path in ("", "/nowhere/at/all") else str(tmp_path / path))
    assert LastPlace.of_environment() is None


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a file that is open stays as it is")
@pytest.mark.parametrize("size", [0, 1, 100, 2**40])
def test_a_file_of_another_size_does_no_harm(size: int) -> None:
    place = LastPlace.made()
    assert place is not None
    place.write(STANDS)
    os.truncate(place.path, size)
    assert place.read() == (STANDS if size > 200 else None)
    place.close()


def test_the_layer_that_a_forward_is_in() -> None:
    place = LastPlace.made()
    assert place is not None

    def layer() -> str | None:
        position = place.read()
        assert position is not None
        return None if position.moment is None else position.moment.layer

    place.write(STANDS)
    assert layer() is None
    for name in ("größe.0", "", "x" * 255, "größe.0"):
        place.layer(name)
        assert layer() == name
    place.layer("ö" * 200)
    assert layer() == "ö" * 127
    place.write(Position(rest=Rest.IN_BACKWARD, step=7))
    assert layer() is None
    place.write(STANDS)
    place.layer(None)
    assert layer() is None
    place.close()


TOLD: dict[str, Any] = {"rest": "ready", "step": 1, "epoch": 0, "batch": 0, "micro": 0, "window": 1, "optimizer": ""}
LIES: dict[str, bytes] = {
    "a list": b"[1]",
    "deep": b"[" * 511,
    "a number of 400 digits": b"1" * 400,
    "not UTF-8": b"\xff" * 512,
    "half a text": b'{"rest": "rea',
    **{
        f"{name} {value!r}": json.dumps(TOLD | {name: value}).encode()
        for name, value in {
            "rest": "asleep",
            "step": -1,
            "epoch": 2**60,
            "batch": "7",
            "micro": None,
            "window": 0,
            "optimizer": [],
            "moment": 3,
            "colour": "red",
        }.items()
    },
}


@pytest.mark.parametrize("lie", LIES)
def test_what_cannot_be_a_place_is_none(lie: str) -> None:
    place = LastPlace.made()
    assert place is not None
    Path(place.path).write_bytes(LIES[lie].ljust(512, b"\0"))
    assert place.read() is None
    Path(place.path).write_bytes(json.dumps(TOLD).encode().ljust(512, b"\0"))
    assert place.read() == Position(rest=Rest.READY, step=1)
    place.close()


def test_a_name_that_is_too_long_leaves_the_place_before() -> None:
    place = LastPlace.made()
    assert place is not None
    place.write(STANDS)
    place.write(Position(rest=Rest.READY, optimizer="x" * 1000))
    assert place.read() == STANDS
    place.close()
