"""Arrays in messages do not depend on what numpy's aliases are at run time, which changes with its version."""

import dataclasses
import re
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

import gradscope
from gradscope.protocol.arrays import ArrayOf
from gradscope.protocol.codec import MESSAGE_TYPES
from tests.patience import patient

PACKAGE = Path(gradscope.__file__).parent

OPAQUE = """
import numpy as np
import numpy.typing

class Opaque:
    def __class_getitem__(cls, item):
        return cls()

numpy.typing.NDArray = Opaque
from gradscope.protocol.codec import Decoder, encode
from gradscope.protocol.messages import Schedule

(frame,) = Decoder().feed(encode(Schedule(first_step=3, rates=np.array([[0.5, 0.25]]))))
print(frame.message.rates.tolist())
"""


def test_an_array_arrives_whatever_numpys_alias_is() -> None:
    command = [sys.executable, "-c", OPAQUE]
    done = subprocess.run(command, cwd=PACKAGE.parent, capture_output=True, text=True, timeout=patient(60))
    assert (done.stdout, done.stderr) == ("[[0.5, 0.25]]\n", "")


def leaves(hint: object) -> Iterator[object]:
    """What an annotation is made of: classes, and the arrays of arrays.py."""
    if typing.get_origin(hint) is typing.Annotated:
        arrays = [extra for extra in hint.__metadata__ if isinstance(extra, ArrayOf)]  # type: ignore[attr-defined]
        # What is annotated for another reason, the length of a text, is a type as any other.
        yield from arrays or leaves(hint.__origin__)  # type: ignore[attr-defined]
    elif dataclasses.is_dataclass(hint):
        for annotation in typing.get_type_hints(hint, include_extras=True).values():
            yield from leaves(annotation)
    elif typing.get_args(hint):
        for argument in typing.get_args(hint):
            yield from leaves(argument)
    else:
        yield hint


@pytest.mark.parametrize("cls", MESSAGE_TYPES.values(), ids=lambda cls: cls.__name__)
def test_every_array_of_a_message_says_what_it_holds(cls: type) -> None:
    for leaf in leaves(cls):
        assert isinstance(leaf, (type, ArrayOf)) or leaf is Ellipsis
        assert getattr(leaf, "__module__", "") != "numpy", "a plain NDArray is no annotation that the codec can read"


def test_nothing_asks_whether_a_type_is_numpys() -> None:
    asked = re.compile(r"(\bis|\bis not|==|!=) (np|numpy)\.ndarray\b")
    assert [path for path in PACKAGE.rglob("*.py") if asked.search(path.read_text("utf-8"))] == []
