"""What evaluated code sees, what is told of it, and what it cannot do to the training. Autograd is the oracle."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import plain
import pytest
import torch
import zoo
import zoo_parts
from torch import Tensor, nn

from gradscope import Session
from gradscope.engine.evaluate import door
from gradscope.engine.surroundings.frames import users_frames
from gradscope.engine.surroundings.unwinding import Unwind, interruptible_by_signal
from gradscope.protocol.messages.evaluate import PAGE_SIDE
from gradscope.protocol.phases import Moment
from gradscope.protocol.subjects import MAX, MEAN, MIN, NAN, SubjectKey, SubjectKind


@pytest.fixture
def session() -> Iterator[Session]:
    with Session(plain.seeded(zoo.batchnorm_dropout_conv)) as session:
        yield session


def after_backward(session: Session) -> Session:
    session.forward()
    session.backward()
    return session


# ------------------------------------------------------------------------------------------- what it sees


def test_an_expression_gives_its_value(session: Session) -> None:
    evaluation = session.evaluate("1 + 1")
    assert (evaluation.value, evaluation.text, evaluation.error) == (2, "2", "")


def test_statements_give_the_value_of_the_expression_at_their_end(session: Session) -> None:
    evaluation = session.evaluate("total = 0\nfor i in range(4):\n    total += i\ntotal")
    assert evaluation.value == 6
    assert session.evaluate("total + _").value == 12
    assert session.evaluate("def twice(n): return 2 * n").text == ""
    assert session.evaluate("[twice(n) for n in range(3)]").value == [0, 2, 4]


def test_the_training_is_there_by_name(session: Session) -> None:
    assert session.evaluate("model").value is session.recipe.model
    assert session.evaluate("loss is None and batch is None").value is True
    report = session.forward()
    assert session.evaluate("loss.item()").value == report.loss
    assert torch.equal(session.evaluate("output").value, session.values(SubjectKey(SubjectKind.ACTIVATION, "")))
    assert session.evaluate("batch[0] is x and batch[1] is target").value is True
    assert session.evaluate("(step, epoch)").value == (0, 0)
    assert session.evaluate("optimizer.param_groups[0]['lr']").value == 0.01


@pytest.mark.parametrize("has_top", [True, False])
def test_hooks_on_saved_tensors_do_not_see_it(session: Session, monkeypatch: pytest.MonkeyPatch, has_top: bool) -> None:
    """As a checkpointed part of a forward has them. torch 2.6 cannot say which there are."""
    if not has_top:
        monkeypatch.delattr(torch._C._autograd, "_top_saved_tensors_default_hooks", raising=False)
    session.forward()
    seen: list[Tensor] = []
    code = "output = model(x).sum(); output.backward(); model[6].weight.grad"
    expected = session.evaluate(code)
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: (seen.append(tensor), tensor)[1], lambda tensor: tensor
    ):
        evaluation = session.evaluate(code)
        assert seen == [] and evaluation.error == ""
        torch.ones(2, requires_grad=True) ** 2
    assert len(seen) == 1, "they are back"
    assert torch.equal(evaluation.value, expected.value)


def test_a_backward_inside_of_a_backward_is_refused_where_torch_would_hang(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As torch 2.6 does."""
    monkeypatch.setattr(door, "NESTED_BACKWARD_HANGS", True)
    code = "model(x).sum().backward()"
    session.forward()
    assert session.evaluate(code).error == ""
    said: list[str] = []
    model = session.recipe.model
    assert isinstance(model, nn.Sequential)
    codes = (code, "torch.autograd.grad(model(x).sum(), model[6].weight)")
    model[0].weight.register_hook(lambda _: said.extend(session.evaluate(code).error for code in codes))
    session.backward()
    assert "hangs where a backward begins inside of another one" in said[0] and said[1] == ""
    assert session.evaluate(code).error == ""


def test_gradients_are_those_of_autograd(session: Session) -> None:
    after_backward(session)
    model = session.recipe.model
    assert isinstance(model, nn.Sequential)
    gradient = model[6].weight.grad
    assert gradient is not None
    for code in ('grad("6.weight")', "model[6].weight.grad"):
        assert torch.equal(session.evaluate(code).value, gradient)
    assert (
        session.evaluate("(model[0].weight.grad == 0).float().mean()").value
        == (model[0].weight.grad == 0).float().mean()
    )
    expected = session.values(SubjectKey(SubjectKind.ACTIVATION_GRAD, "6"))
    assert torch.equal(session.evaluate('grad("6")').value, expected)
    assert torch.equal(
        session.evaluate('activation("6")').value, session.values(SubjectKey(SubjectKind.ACTIVATION, "6"))
    )


def test_a_layer_that_is_not_there_is_told_with_one_that_is(session: Session) -> None:
    session.forward()
    assert (
        session.evaluate('grad("6.weigt")').error
        == "There is no layer '6.weigt' in the model; did you mean '6.weight'?"
    )
    assert "There is no gradient" in session.evaluate('grad("6.weight")').error


def test_inside_a_forward_the_variables_of_the_users_code_are_there(session: Session) -> None:
    class Middle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(zoo_parts.FEATURES, 4), nn.Linear(4, zoo_parts.CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            hidden = self.first(x).relu()
            threshold = 0.0
            return self.second(hidden * (hidden > threshold))

    class Look:
        def __init__(self) -> None:
            self.is_armed = True
            self.seen: list[Any] = []

        def stop(self, moment: Moment) -> None:
            if moment.layer != "second" or moment.event != "enter":
                return
            frame = next(f for f in users_frames() if f.f_code.co_name == "forward")
            told = inner.evaluate("[(h > threshold).sum().item() for h in hidden], self is model", frame=frame)
            kept = inner.evaluate("threshold = 6", keep=True, frame=frame).told.notes
            self.seen += [told.value, kept, inner.evaluate("threshold = 5", frame=frame).told.notes]

    look = Look()
    inner = Session(plain.seeded(lambda: zoo_parts.classifier(Middle())), gate=look)
    with inner:
        inner.forward()
    (counts, is_model), kept, own = look.seen
    assert len(counts) == zoo_parts.BATCH and is_model is True
    assert bool(kept) == (sys.version_info < (3, 13)) and all("cannot assign from outside" in note for note in kept)
    assert "threshold is a variable of the console now" in own[0]


def test_names_that_the_code_takes_can_be_had_back(session: Session) -> None:
    session.forward()
    assert "x is a variable of the console now" in session.evaluate("x = 5").told.notes[0]
    assert session.evaluate("x").value == 5
    session.evaluate("del x")
    assert session.evaluate("x is batch[0]").value is True


# ------------------------------------------------------------------------------------------- what is told


def test_a_large_tensor_is_told_by_its_summary(session: Session) -> None:
    told = session.evaluate("t = torch.arange(10000.0).reshape(100, 100); t[0, 0] = float('nan'); t").told
    assert told.text.startswith("Tensor 100 x 100, float32 on cpu: min 1, mean 5000, max 9999, 1 NaN")
    (tensor,) = told.tensors
    assert tensor.shape == (100, 100) and tensor.values.shape == (PAGE_SIDE, PAGE_SIDE)
    assert (tensor.summary[NAN], tensor.summary[MIN], tensor.summary[MAX], tensor.summary[MEAN]) == (1, 1, 9999, 5000)
    assert tensor.counts.sum() == 9999 and np.isnan(tensor.values[0, 0])


def test_a_tensor_of_the_panels_is_told_as_that(session: Session) -> None:
    after_backward(session)
    codes = {
        "model[6].weight": SubjectKind.PARAMETER,
        "model[6].weight.grad": SubjectKind.GRAD,
        'grad("6.weight")': SubjectKind.GRAD,
    }
    for code, kind in codes.items():
        assert session.evaluate(code).told.tensors[0].subject == SubjectKey(kind, "6.weight")
    assert session.evaluate("model[1].running_mean").told.tensors[0].subject == SubjectKey(
        SubjectKind.BUFFER, "1.running_mean"
    )
    assert session.evaluate("model[6].weight + 0").told.tensors[0].subject is None


def test_long_values_are_cut(session: Session) -> None:
    assert len(session.evaluate("list(range(10**6))").text) < 400
    assert len(session.evaluate("'a' * 10**7").text) < 9000
    assert len(session.evaluate("{i: 'x' * 1000 for i in range(10**4)}").text) < 12_000
    deep = "a = []\nfor i in range(100): a = [a]\na"
    assert session.evaluate(deep).text == "[[[[[[...]]]]]]"
    told = session.evaluate("print('y' * 10**6)").told
    assert "more characters were printed" in told.output and len(told.output) < 16_000


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("class A:\n    def __repr__(self): raise ValueError('no')\nA()", "(a A whose text cannot be had: ValueError)"),
        ("class A:\n    def __repr__(self): return 'z' * 10**6\nA()", "zzz"),
        ("torch.zeros(3, device='meta')", "Tensor 3, float32 on meta"),
        ("torch.eye(100).to_sparse()", "Tensor 100 x 100"),
        ("torch.zeros(0)", "tensor([])"),
        ("np.arange(3)", "array([0, 1, 2])"),
    ],
)
def test_any_value_is_told(session: Session, code: str, text: str) -> None:
    evaluation = session.evaluate(code)
    assert not evaluation.error
    assert evaluation.text.startswith(text) or text in evaluation.text


def test_an_error_is_told_with_its_lines(session: Session) -> None:
    told = session.evaluate("def f(a):\n    return a / 0\nf(1)").told
    assert told.error == "ZeroDivisionError: division by zero"
    assert "return a / 0" in told.traceback and "gradscope" not in told.traceback


def test_a_syntax_error_says_where(session: Session) -> None:
    told = session.evaluate("a = 1\nb = a +").told
    assert told.error.startswith("SyntaxError: invalid syntax (line 2, column") and told.line == 2
    assert told.traceback.splitlines()[-1].endswith("^")
    assert "null byte" in session.evaluate("a\0b").error


# ------------------------------------------------------------------------------------------- what it cannot do


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("import sys; sys.exit(3)", "sys.exit() was called"),
        ("input()", "EOFError: input() was called"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("bytearray(10**18)", "MemoryError"),
        ("def f(): return f()\nf()", "RecursionError"),
        ("exit()", "sys.exit(None) was called"),
    ],
)
def test_what_ends_a_program_ends_nothing(session: Session, code: str, error: str) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert session.evaluate(code).error.split(":")[0] in (error.split(":")[0], "sys.exit() was called")
    finally:
        signal.signal(signal.SIGINT, before)
    assert session.evaluate("2 * 3").value == 6


def test_a_forked_child_is_not_another_engine(session: Session) -> None:
    told = session.evaluate("import os\nchild = os.fork()\n'in both'").told
    assert told.text == "'in both'"
    _, status = os.waitpid(session.evaluate("child").value, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_an_endless_loop_can_be_broken_off(session: Session) -> None:
    after_backward(session)
    before = session.recipe.model.state_dict()["6.weight"].clone()  # type: ignore[union-attr]
    timer = threading.Timer(0.3, lambda: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT))
    code = session.evaluator.place.user_code
    timer.start()
    with interruptible_by_signal(lambda: code.is_on), pytest.raises(Unwind):
        session.evaluate("while True:\n    model[6].weight.data.add_(1)")
    assert torch.equal(session.recipe.model.state_dict()["6.weight"], before)  # type: ignore[union-attr]
    session.step()


def test_the_graph_of_the_training_outlives_a_backward_through_it(session: Session) -> None:
    session.forward()
    graph = session.loop._graph
    session.evaluator.own["live"] = graph
    assert not session.evaluate("live.backward(); live.backward(); model[6].weight.grad.norm()").error
    session.backward()


def test_what_is_kept_stays_and_is_told(session: Session) -> None:
    after_backward(session)
    told = session.evaluate(
        "model[6].bias.data.add_(1); optimizer.param_groups[0]['lr'] = 0.5; torch.rand(1)", keep=True
    ).told
    assert "model.6.bias" in told.moved and "random numbers" in told.moved
    assert any("param_groups" in name for name in told.moved)
    assert session.training.optimizers[0].param_groups[0]["lr"] == 0.5
    assert session.evaluate("model[6].bias.grad = None", keep=True).told.moved == ("6.bias.grad",)


def test_what_cannot_be_put_back_is_told(session: Session) -> None:
    session.forward()
    session.evaluator.own["numbers"] = numbers = (n for n in range(9))
    session.recipe.model.numbers = numbers  # type: ignore[union-attr]
    (note,) = session.evaluate("next(numbers)").told.moved
    assert "model.numbers" in note and "cannot be put back" in note


def test_before_a_lazy_model_has_a_shape_nothing_is_evaluated() -> None:
    from gradscope.protocol.failure import BadInput

    with Session(plain.seeded(zoo.ZOO["lazy"])) as session:
        with pytest.raises(BadInput, match="no shape yet"):
            session.evaluate("model")
        session.forward()
        assert not session.evaluate("model").error


def test_hooks_of_capture_are_not_seen_and_stay(session: Session) -> None:
    after_backward(session)
    assert session.evaluate("len(model[0]._forward_hooks)").value == 0
    session.step()
    assert any(subject.kind == "activation" and subject.name == "0" for subject in session.forward().subjects)
