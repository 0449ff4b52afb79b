"""Whose error it is, and that telling it neither raises nor goes on without end, whatever the exception is like."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gradscope import BadInput, Recipe, Session, UserCodeFailed
from gradscope.engine.model.modules import modules_in
from gradscope.engine.recipe.loading import load_recipe
from gradscope.engine.serving.server import Server
from gradscope.engine.surroundings.blame import failure_of, is_users_error, users_code
from gradscope.engine.surroundings.error_parts import wire_text
from gradscope.engine.surroundings.unwinding import CtrlC, Unwind, ctrl_c_told_apart, is_interruption
from gradscope.engine.surroundings.usercode import cut_traceback, describe_error
from gradscope.protocol.failure import FailureKind


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


class SaysNothing(Exception):
    def __str__(self) -> str:
        raise SystemExit("no")

    __repr__ = __str__


class SaysANumber(Exception):
    def __str__(self) -> str:
        return 3  # type: ignore[return-value]


class HasNoParts(Exception):
    args = __traceback__ = __cause__ = __context__ = __notes__ = property(lambda self: 1 / 0)  # type: ignore[assignment]


class Nameless(type):
    __name__ = property(lambda cls: 1 / 0)  # type: ignore[assignment]


class OfNoName(Exception, metaclass=Nameless):
    pass


class OurOwn(BadInput):
    def __init__(self) -> None:
        self.failure = 3  # type: ignore[assignment]


def chain(length: int) -> BaseException:
    newest = ValueError("the first")
    for i in range(length):
        error = ValueError(f"number {i}")
        error.__context__ = newest
        newest = error
    return newest


def cycle() -> BaseException:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    return one


def group() -> BaseException:
    found: BaseException = ExceptionGroup("group", [ValueError(i) for i in range(100_000)])
    for i in range(50):
        found = BaseExceptionGroup(f"group {i}", [found, KeyError(i)])
    return found


def deep() -> BaseException:
    def down() -> None:
        down()

    try:
        down()
    except RecursionError as error:
        return error
    raise AssertionError


ODD: dict[str, tuple[Callable[[], BaseException], str]] = {
    "__str__ raises": (SaysNothing, "SaysNothing: (its text cannot be had: SystemExit in its __str__)"),
    "__str__ is no text": (SaysANumber, "SaysANumber: (its text cannot be had: TypeError in its __str__)"),
    "parts that raise": (HasNoParts, "HasNoParts"),
    "no name": (lambda: OfNoName("x"), "OfNoName: x"),
    "ours": (OurOwn, "OurOwn"),
    "bytes in a SyntaxError": (lambda: SyntaxError(b"bad", (b"file", "7", b"x", b"text")), "SyntaxError: b'bad'"),
    "lone surrogates": (lambda: ValueError("half \udcff"), r"ValueError: half \udcff"),
    "100 MB": (lambda: ValueError("a" * 10**8), "ValueError: aaa"),
    "10 MB in a key": (lambda: KeyError("a" * 10**7), "KeyError: 'aaa"),
    "a chain of 10,000": (lambda: chain(10_000), "ValueError: number 9999"),
    "a cycle": (cycle, "ValueError: one"),
    "a huge group": (group, "group 49"),
    "a deep stack": (deep, "RecursionError"),
    "an exit code that raises": (lambda: SystemExit(SaysNothing()), "sys.exit("),
    "notes of no text": (lambda: with_notes(3), "ValueError: noted"),
}


def with_notes(notes: Any) -> BaseException:
    error = ValueError("noted")
    error.__notes__ = notes
    return error


@pytest.mark.parametrize("name", ODD)
def test_telling_an_odd_error(name: str) -> None:
    make, said = ODD[name]
    error, started = raised(make()), time.process_time()
    texts = describe_error(error), cut_traceback(error), failure_of(error).sentence
    assert time.process_time() - started < 20.0, "it takes less than one second on a machine at rest"
    assert said in texts[0]
    for text in texts:
        assert len(text) < 60_000
        assert json.dumps(text).encode() and text.encode("utf-8")


def test_what_an_error_came_from_is_told() -> None:
    try:
        try:
            raise KeyError("inner")
        except KeyError as inner:
            raise ValueError("outer") from inner
    except ValueError as error:
        error.add_note("look here")
        text = cut_traceback(error)
    assert text.index("KeyError: 'inner'") < text.index("direct cause") < text.index("ValueError: outer")
    assert text.endswith("look here")
    assert all(f'File "{__file__}"' in part for part in text.split("direct cause"))


def test_groups_are_told_with_what_they_hold() -> None:
    text = cut_traceback(raised(ExceptionGroup("two", [ValueError("a"), raised(KeyError("b"))])))
    assert "ExceptionGroup: two" in text and "ValueError: a" in text and "2 of 2" in text and "KeyError: 'b'" in text


# ------------------------------------------------------------------------------------------- whose it is


def test_the_door_tells_what_failed() -> None:
    said = r"^model.train\(\) failed: ZeroDivisionError: .*test_blame.py, line"
    with pytest.raises(UserCodeFailed, match=said), users_code("model.train()"):
        1 / 0  # noqa: B018
    for passes in (Unwind("wanted"), CtrlC()):
        with pytest.raises(type(passes)), users_code("anything"):
            raise passes


def test_our_errors_pass_the_door_and_those_that_look_like_ours_do_not() -> None:
    with pytest.raises(BadInput, match="does not exist"), users_code("anything"):
        load_recipe("/there/is/nothing.py")
    for error in (OurOwn(), BadInput("raised by a user")):
        with pytest.raises(UserCodeFailed), users_code("anything"):
            raise error


def test_an_error_is_judged_by_who_was_called_last(tmp_path: Path) -> None:
    def theirs() -> None:
        raise ValueError("theirs")

    with pytest.raises(ValueError, match="theirs") as caught:
        theirs()
    assert is_users_error(caught.value)
    assert failure_of(caught.value).kind is FailureKind.USER_CODE
    # Ours calls theirs, and theirs calls ours.
    error = _from_ours(lambda: theirs())
    assert is_users_error(error)
    error = _from_ours(None)
    assert not is_users_error(error)
    failure = failure_of(error)
    assert failure.kind is FailureKind.OUR_BUG and "error_parts.py" in failure.traceback


def _from_ours(read: Any) -> BaseException:
    """What comes out of a function of gradscope's."""
    try:
        if read is None:
            wire_text(3)  # type: ignore[arg-type]
        module = nn.Linear(1, 1)
        module.__class__ = type("Odd", (nn.Linear,), {"_modules": property(lambda self: read())})
        modules_in(module)
    except BaseException as error:
        return error
    raise AssertionError


@pytest.fixture(autouse=True)
def pythons_own_handler() -> Iterator[None]:
    """Whatever has started the tests: in a shell's background, SIGINT is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_where_nobody_listens_a_keyboard_interrupt_is_the_users_own() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert not is_interruption(KeyboardInterrupt())


def test_keyboard_interrupt_is_the_users_own_where_we_listen() -> None:
    assert is_interruption(KeyboardInterrupt()), "in a script of theirs it is Ctrl+C"
    with ctrl_c_told_apart():
        assert not is_interruption(KeyboardInterrupt())
        with pytest.raises(CtrlC):
            signal.raise_signal(signal.SIGINT)
        assert is_interruption(CtrlC())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert Server.__module__.startswith("gradscope."), "whose handler it is, is told by its module"


# ------------------------------------------------------------------------------------------- a session of it


class Data:
    def __init__(self, length: Callable[[], int]) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length()

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.ones(3), torch.ones(2)


def recipe_with(model: nn.Module | None = None, **fields: Any) -> Recipe:
    model = nn.Linear(3, 2) if model is None else model
    data = [(torch.ones(3), torch.ones(2))] * 8
    optimizer = torch.optim.SGD(nn.Module.parameters(model), lr=0.1)
    return Recipe(**{"model": model, "dataset": data, "loss": nn.MSELoss(), "optimizer": optimizer, **fields})


@pytest.mark.parametrize(
    "error",
    [AttributeError("a"), ValueError("v"), SystemExit("s"), RecursionError("r"), OSError("o"), KeyboardInterrupt()],
)
@pytest.mark.parametrize("field", ["dataset", "validation"])
def test_a_length_that_raises(field: str, error: BaseException) -> None:
    def length() -> int:
        raise error

    said = r"(?i)dataset.*test_blame.py, line"
    with ctrl_c_told_apart(), pytest.raises((UserCodeFailed, BadInput), match=said) as failed:
        Session(recipe_with(**{field: Data(length)}))
    assert "test_blame.py" in failed.value.failure.traceback


@pytest.mark.parametrize("method", ["train", "named_parameters", "to", "modules"])
def test_a_model_whose_methods_raise(method: str) -> None:
    def broken(self: Any, *args: Any, **options: Any) -> Any:
        raise KeyError("mine")

    model = nn.Linear(3, 2)
    recipe = recipe_with(model)
    model.__class__ = type("Broken", (nn.Linear,), {method: broken})
    if method == "modules":
        # Training does not need it, and neither do we.
        with Session(recipe) as session:
            session.next_batch()
        return
    with pytest.raises((UserCodeFailed, BadInput), match=r"KeyError: 'mine' \(test_blame.py, line"):
        Session(recipe)
    model.__class__ = nn.Linear
    assert not model._forward_hooks and not model._forward_pre_hooks, "nothing is left on the model"


def test_rates_that_are_no_numbers() -> None:
    with Session(recipe_with()) as session:
        group = session.training.optimizers[0].param_groups[0]
        group["lr"] = "fast"
        with pytest.raises(UserCodeFailed, match="learning rates failed: ValueError"):
            session.forward()
        group["lr"] = 0.1
        session.next_batch()


@pytest.mark.parametrize("groups", [None, [3], [{"lr": 0.1}], [{"params": None}]])
def test_groups_that_are_none(groups: Any) -> None:
    recipe = recipe_with()
    recipe.optimizers[""].param_groups = groups
    with pytest.raises(UserCodeFailed, match="Reading the optimizer's param_groups failed"):
        Session(recipe)


def test_a_state_dict_that_raises_is_told_where_it_is_asked_for(tmp_path: Path) -> None:
    class Broken(nn.Linear):
        def state_dict(self, *args: Any, **options: Any) -> Any:
            raise KeyError("mine")

    with Session(recipe_with(Broken(3, 2))) as session:
        session.next_batch()
        with pytest.raises(UserCodeFailed, match=r"model.state_dict\(\) failed: KeyError: 'mine'"):
            session.save_checkpoint(tmp_path / "model.pt")
        session.next_batch()


class Carrying(nn.Linear):
    """Keeps its output for the next step, and its graph with it."""

    kept: torch.Tensor | float = 0.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.kept = super().forward(x) + self.kept
        return self.kept


class Sharp(torch.optim.SGD):
    def step(self, closure: Any = None) -> Any:  # type: ignore[override]
        return closure()


def test_what_to_do_is_said_where_the_error_does_not() -> None:
    with Session(recipe_with(Carrying(3, 2), batch_size=4)) as session:
        session.next_batch()
        with pytest.raises(UserCodeFailed, match=r"backward of step 1 failed: .* detach\(\) what is carried over"):
            session.next_batch()
    model = nn.Linear(3, 2)
    with Session(recipe_with(model, optimizer=Sharp(model.parameters(), lr=0.1))) as session:
        (note,) = session.next_batch()[2].raw.notes
        assert note.startswith(
            "Sharp.step() is given a closure from now on: without one it failed (TypeError: 'NoneType'"
        )
