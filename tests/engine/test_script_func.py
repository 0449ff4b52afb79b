"""Training by torch.func: what a script takes with `grad` is its backward, and what cannot be seen is said with its line."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import torch
from scripted import HEAD_LINES, Followed, Recorder, follow

from gradscope.engine.book.values import ValuesUnavailable
from gradscope.engine.reports.report import PhaseReport
from gradscope.engine.script.session import ScriptSession
from gradscope.engine.script.stations import Passage
from gradscope.protocol.phases import Moment, Phase
from gradscope.protocol.subjects import SubjectKey, SubjectKind

NET = """\
from torch.func import functional_call, grad, grad_and_value, vmap
net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
def loss_of(params, x):
    return functional_call(net, params, (x,)).pow(2).mean()
"""
OPTIMIZER = (
    NET
    + """\
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
params = dict(net.named_parameters())
kept = []
for i in range(3):
    x = torch.randn(5, 3)
    grads = grad(loss_of)(params, x)
    for name, p in params.items():
        p.grad = grads[name].detach()
    kept.append({name: g.detach().clone() for name, g in grads.items()})
    optimizer.step()
"""
)
LAST_OF_NET = HEAD_LINES + 4


def notes_of(followed: Followed) -> str:
    return " ".join(followed.notes)


def test_an_optimizer_steps_by_what_grad_has_given(tmp_path: Path) -> None:
    seen: list[dict[str, torch.Tensor]] = []
    activations: list[torch.Tensor] = []

    def look(session: ScriptSession, report: PhaseReport, passage: Passage) -> None:
        session.keeper.keeps_all = True
        if report.phase is Phase.BACKWARD:
            names = session.observer.tensors()
            seen.append({name: session.values(SubjectKey(SubjectKind.GRAD, name)).clone() for name in names})
        if report.phase is Phase.FORWARD:
            with contextlib.suppress(ValuesUnavailable):
                activations.append(session.values(SubjectKey(SubjectKind.ACTIVATION, "net.2")).clone())

    followed = follow(tmp_path, OPTIMIZER, look=look)
    assert followed.order == "FBSFBSFBS"
    for mine, kept in zip(seen[1:], followed.space["kept"][1:], strict=True):
        assert {name.removeprefix("net."): value.tolist() for name, value in mine.items()} == {
            name: value.tolist() for name, value in kept.items()
        }
    losses = [report.loss for report in followed.reports(Phase.FORWARD)][1:]
    assert losses == pytest.approx([float(one.pow(2).mean()) for one in activations])
    assert {passage.loss_name for _, passage in followed.recorder.phases if passage.loss_name} == {"loss_of()"}
    assert followed.seen(Phase.BACKWARD, SubjectKind.ACTIVATION_GRAD) == {"net", "net.0", "net.1", "net.2"}
    assert "torch.func is the backward here was seen only by the step" in notes_of(followed)


def test_parameters_are_moved_in_place(tmp_path: Path) -> None:
    text = OPTIMIZER.replace("optimizer = torch.optim.SGD(net.parameters(), lr=0.1)\n", "").replace(
        "        p.grad = grads[name].detach()\n", "        with torch.no_grad(): p.sub_(0.1 * grads[name])\n"
    )
    followed = follow(tmp_path, text.replace("    optimizer.step()\n", ""))
    assert followed.order == "FBSFBSFBS"
    assert followed.names == {"net"}
    assert followed.seen(Phase.STEP, SubjectKind.UPDATE) == {"net.0.weight", "net.0.bias", "net.2.weight", "net.2.bias"}


RENEWED = (
    NET
    + """\
params = {name: p.detach() for name, p in net.named_parameters()}
for i in range(3):
    x = torch.randn(5, 3)
    grads = grad(loss_of)(params, x)
    params = {name: p - 0.1 * grads[name] for name, p in params.items()}
"""
)
OWN = {f"params['{name}']" for name in ("0.weight", "0.bias", "2.weight", "2.bias")}


def test_new_parameters_each_step_are_followed_under_the_scripts_names(tmp_path: Path) -> None:
    followed = follow(tmp_path, RENEWED)
    assert followed.order == "FBSFBSFBS"
    assert followed.names == OWN
    for phase, kind in ((Phase.BACKWARD, SubjectKind.GRAD), (Phase.STEP, SubjectKind.UPDATE)):
        assert followed.seen(phase, kind) == OWN
    assert f"torch.func (script.py, line {LAST_OF_NET + 4}) of tensors that are put in" in notes_of(followed)


def test_gradients_of_samples_are_named_with_their_line(tmp_path: Path) -> None:
    text = OPTIMIZER.replace("grad(loss_of)(params, x)", "vmap(grad(loss_of), (None, 0))(params, x)").replace(
        "grads[name].detach()", "grads[name].detach().mean(0)"
    )
    followed = follow(tmp_path, text)
    assert "torch.func (script.py, line 14) sample by sample (vmap)" in " ".join(
        [*followed.notes, *(followed.recorder.rest.notes if followed.recorder.rest else ())]
    )


# torch itself uses that inside of jvp.
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@pytest.mark.parametrize(
    ("gradients", "said"),
    [
        ("{n: g.mean(0) for n, g in vmap(grad(loss_of), (None, 0))(params, x).items()}", "sample by sample (vmap)"),
        ("jvp(lambda q: grad(loss_of)(q, x), (params,), (params,))[1]", "inside of another transform (jvp)"),
    ],
)
def test_a_forward_inside_of_other_transforms_is_looked_at_as_it_is(tmp_path: Path, gradients: str, said: str) -> None:
    text = OPTIMIZER.replace("import functional_call", "import jvp, functional_call").replace(
        "    grads = grad(loss_of)(params, x)\n",
        f"    optimizer.zero_grad(); net(x).mean().backward(); optimizer.step(); grads = {gradients}\n",
    )
    followed = follow(tmp_path, text)
    assert said in notes_of(followed)
    assert ("sample by sample" in notes_of(followed)) == ("sample" in said)


def test_a_gradient_of_something_else_is_no_backward(tmp_path: Path) -> None:
    text = (
        NET
        + """\
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for i in range(3):
    x = torch.randn(5, 3)
    slope = grad(lambda x: net(x).sum())(x)
    loss = net(x).pow(2).mean() + slope.mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""
    )
    followed = follow(tmp_path, text)
    assert followed.order == "FBSFBSFBS"
    assert "torch.func" not in notes_of(followed)
    assert {passage.loss_name for _, passage in followed.recorder.phases if passage.loss_name} == {"loss"}


def test_a_script_stopped_inside_of_grad_can_be_looked_at(tmp_path: Path) -> None:
    class Stopping(Recorder):
        sums = 0

        def stop(self, moment: Moment) -> None:
            session = self.sessions[0]
            for name in session.observer.tensors():
                # As the window asks: what is computed meanwhile is the script's no more.
                try:
                    float(session.values(SubjectKey(SubjectKind.PARAMETER, name)).sum())
                except ValuesUnavailable:
                    continue
                assert torch._C._functorch.peek_interpreter_stack() is None
                self.sums += 1

    plain = follow(tmp_path, OPTIMIZER, recorder=Recorder())
    recorder = Stopping(is_armed=True)
    followed = follow(tmp_path, OPTIMIZER, recorder=recorder)
    assert recorder.sums > 20
    for mine, kept in zip(followed.space["kept"], plain.space["kept"], strict=True):
        assert all(torch.equal(mine[name], kept[name]) for name in kept)
