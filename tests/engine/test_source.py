"""Which line of the user's made each call, where training is stopped, and the texts of the user's files."""

from __future__ import annotations

import linecache
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from gate import Gate
from peer import Peer

from gradscope import Session, load_recipe
from gradscope.engine.capture import sites
from gradscope.engine.serving.sources import Sources
from gradscope.engine.surroundings.source import users_line, users_stack
from gradscope.engine.surroundings.usercode import is_users_file
from gradscope.protocol import messages as m
from gradscope.protocol.phases import Rest, Verb
from gradscope.protocol.source import MAX_SOURCE, MAX_STACK, SourceLine, StackFrame

BLOCKS = """
import torch
from torch import nn

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.act = nn.ReLU()

    def forward(self, x):
        x = self.linear(x)  # the linear layer
        return self.act(x)  # the activation
"""
NESTED = """
import torch
from torch import nn
from blocks import Block
from gradscope import Recipe

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = Block()
        self.head = nn.Sequential(nn.Linear(4, 3), nn.Tanh())

    def forward(self, x):
        for _ in range(2):
            x = self.block(x)  # the block
        {wait}
        x = self.block(x)  # the block once more
        return self.head(x)  # the head

def recipe():
    model = Net()
    data = torch.utils.data.TensorDataset(torch.randn(24, 4), torch.randint(0, 3, (24,)))
    return Recipe(model=model, dataset=data, loss=nn.CrossEntropyLoss(), batch_size=8,
                  optimizer=torch.optim.SGD(model.parameters(), lr=0.01))
"""


@pytest.fixture
def nested(tmp_path: Path) -> Path:
    return written(tmp_path, wait="pass")


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.close()


def written(folder: Path, wait: str) -> Path:
    """A recipe whose model has a module of the user's in another file, called in a loop."""
    (folder / "blocks.py").write_text(BLOCKS)
    path = folder / "nested.py"
    path.write_text(NESTED.format(wait=wait))
    return path


def marked(path: Path, comment: str) -> int:
    """The number of the line with this comment."""
    lines = path.read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.endswith(f"# {comment}"))


def lines_of(places: list[m.Place]) -> dict[tuple[str, int], SourceLine | None]:
    return {(place.layer, place.call): place.line for place in places if place.event == "call"}


def expected(path: Path) -> dict[tuple[str, int], SourceLine]:
    blocks = path.with_name("blocks.py")
    linear = SourceLine(str(blocks), marked(blocks, "the linear layer"), "Block.forward")
    act = SourceLine(str(blocks), marked(blocks, "the activation"), "Block.forward")
    comments = ("the block", "the block", "the block once more")
    found: dict[tuple[str, int], SourceLine] = {}
    for call, comment in enumerate(comments):
        found["block", call] = SourceLine(str(path), marked(path, comment), "Net.forward")
        found["block.linear", call], found["block.act", call] = linear, act
    # torch's own Sequential calls the layers in it: the line is the one that called the Sequential.
    for layer in ("head", "head.0", "head.1"):
        found[layer, 0] = SourceLine(str(path), marked(path, "the head"), "Net.forward")
    return found


def test_every_call_of_a_layer_has_its_line(nested: Path) -> None:
    with Session(load_recipe(nested)) as session:
        session.forward()
        found = lines_of(session.observer.tables.places.rows)
    # Who called the model itself is whoever holds the session: here, this test.
    model = found.pop(("", 0))
    assert (
        model is not None
        and model.file == __file__
        and model.function == test_every_call_of_a_layer_has_its_line.__name__
    )
    assert found == expected(nested)


def test_nobody_looks_for_lines_in_later_steps(nested: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[FrameType | None] = []
    monkeypatch.setattr(sites, "users_line", lambda frame: looked.append(frame) or users_line(frame))
    with Session(load_recipe(nested)) as session:
        session.forward()
        assert len(looked) == 1 + 3 * 3 + 3
        session.backward()
        session.step()
        for _ in range(2):
            session.forward()
            session.backward()
            session.step()
    assert len(looked) == 1 + 3 * 3 + 3


def test_a_code_cell_of_a_notebook_is_the_users() -> None:
    assert is_users_file("<train.ipynb, cell 3>")
    assert not is_users_file("<string>")
    assert not is_users_file("<frozen runpy>")
    cell = "def ask(look):\n    return look()\n"
    names: dict[str, object] = {}
    exec(compile(cell, "<train.ipynb, cell 3>", "exec"), names)
    line = names["ask"](lambda: users_line(sys._getframe(1)))  # type: ignore[operator]
    assert line == SourceLine("<train.ipynb, cell 3>", 2, "ask")


def test_libraries_between_the_users_lines_are_counted() -> None:
    def inner(_: object) -> int:
        stacks.append(users_stack(sys._getframe()))
        return 0

    stacks: list[tuple[StackFrame, ...]] = []
    # Python's own, written in Python: one call of a library.
    re.sub("a", lambda found: str(inner(found)), "a")
    stack = stacks[0]
    assert [frame.line.function.rpartition(".")[2] for frame in stack[:3]] == [
        "inner",
        "<lambda>",
        test_libraries_between_the_users_lines_are_counted.__name__,
    ]
    assert [frame.folded for frame in stack[:2]] == [0, 1]


def test_calls_of_gradscope_are_no_library() -> None:
    names: dict[str, Any] = {}
    exec(compile("def of_gradscope(call):\n    return call()\n", sites.__file__, "exec"), names)
    stack = names["of_gradscope"](lambda: users_stack(sys._getframe()))
    assert [frame.line.function.rpartition(".")[2] for frame in stack[:2]] == [
        "<lambda>",
        "test_calls_of_gradscope_are_no_library",
    ]
    assert stack[0].folded == 0


def test_a_stack_has_an_end() -> None:
    def deep(levels: int) -> tuple[StackFrame, ...]:
        return deep(levels - 1) if levels else users_stack(sys._getframe())

    assert len(deep(300)) == MAX_STACK
    assert len(users_stack(sys._getframe(), most=1)) == 1
    assert users_stack(None) == ()


# ----------------------------------------------------------------------------------------------- texts


def test_a_file_is_shown_as_it_was_when_it_was_told_of(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_bytes(b"x = 1\r\ny = 2\r\n")
    sources = Sources()
    sources.note(str(file))
    file.write_text("z = 3\n")
    assert sources.answer(str(file)) == m.SourceText(file=str(file), text="x = 1\ny = 2\n")
    # A new session reads it anew, whatever Python remembers.
    later = Sources()
    later.note(str(file))
    assert later.answer(str(file)) == m.SourceText(file=str(file), text="z = 3\n")


def test_a_cell_of_a_notebook_has_a_text() -> None:
    name, cell = "<t.ipynb, cell 1>", "a = 1\nb = 2\n"
    linecache.cache[name] = (len(cell), None, cell.splitlines(True), name)
    sources = Sources()
    sources.note(name)
    assert sources.answer(name) == m.SourceText(file=name, text=cell)


def test_no_other_file_is_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("nobody's business")
    assert Sources().answer(str(secret)) == m.NoSource(
        file=str(secret), reason="secret.txt is no file that this training has run"
    )


def test_what_was_typed_has_no_text() -> None:
    sources = Sources()
    sources.note("<stdin>")
    reason = "The source of <stdin> cannot be read: Python has not kept it"
    assert sources.answer("<stdin>") == m.NoSource(file="<stdin>", reason=reason)


@pytest.mark.parametrize("name", ["gone.py", "a\0b.py", "\ud800.py"])
def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path, name: str) -> None:
    file = f"{tmp_path}/{name}"
    sources = Sources()
    sources.note(file)
    answer = sources.answer(file)
    assert isinstance(answer, m.NoSource) and "cannot be read" in answer.reason


def test_a_large_file_is_cut_at_a_line(tmp_path: Path) -> None:
    file = tmp_path / "large.py"
    file.write_text("x = 12345\n" * 150_000)
    sources = Sources()
    sources.note(str(file))
    answer = sources.answer(str(file))
    assert isinstance(answer, m.SourceText) and answer.truncated
    assert answer.text == "x = 12345\n" * (MAX_SOURCE // 10)


# ----------------------------------------------------------------------------------------------- a real engine


def test_a_stop_inside_a_layer_tells_the_stack(peer: Peer, tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    path = written(tmp_path, wait=gate.code)
    peer.open(path)
    going = peer.send(m.Go(verb=Verb.FORWARD))
    gate.wait()
    peer.ask(m.Pause())
    gate.open()
    assert peer.reply(going).paused
    told = [frame.message for frame in peer.frames if isinstance(frame.message, m.Whereabouts)]
    assert len(told) == 1
    stack = told[0].stack
    assert [frame.line for frame in stack] == [
        SourceLine(str(path), marked(path, "the block once more"), "Net.forward")
    ]

    blocks = str(path.with_name("blocks.py"))
    assert peer.ask(m.FetchSource(file=blocks)) == m.SourceText(file=blocks, text=BLOCKS)
    assert isinstance(peer.ask(m.FetchSource(file="/etc/hostname")), m.NoSource)

    assert peer.go(Verb.FORWARD).position.rest is Rest.FORWARD
    told = [frame.message for frame in peer.frames if isinstance(frame.message, m.Whereabouts)]
    assert told[1:] == [m.Whereabouts()]


def test_the_recipe_can_be_shown_before_anything_has_run(peer: Peer, nested: Path) -> None:
    opened = peer.open(nested)
    assert peer.ask(m.FetchSource(file=opened.session.path)).text == nested.read_text()
