"""The taps change nothing of a training, and leave nothing in torch."""

from __future__ import annotations

import os
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from scripted import HEAD, Followed, Recorder, follow
from torch import nn
from torch.nn.modules import module as nn_module
from torch.optim import Optimizer, lr_scheduler
from torch.optim import optimizer as optimizer_module
from torch.utils.data import dataloader

from gradscope.engine.script.following import Following
from gradscope.engine.script.gradient_calls import GradientCalls
from gradscope.engine.script.taps import Taps
from gradscope.protocol.capture import Capture
from gradscope.protocol.phases import Phase, SubStep
from gradscope.protocol.scripts import Script, ScriptKind
from gradscope.protocol.subjects import SubjectKind

SCRIPT = Script(kind=ScriptKind.FILE, name="script.py")


def all_of_torch() -> dict[tuple[str, str], Any]:
    """What the taps replace is in these; and where torch keeps its global hooks."""
    clip = sys.modules["torch.nn.utils.clip_grad"]
    owners = [torch.autograd, Optimizer, nn.Module, dataloader._BaseDataLoaderIter, clip, torch.nn.utils]
    owners += [torch.amp.GradScaler, torch.Tensor, dataloader, optimizer_module, lr_scheduler]
    owners += [value for value in vars(lr_scheduler).values() if isinstance(value, type)]
    owners += [value for value in vars(torch.optim).values() if isinstance(value, type)]
    found = {(str(owner), name): value for owner in owners for name, value in list(vars(owner).items())}
    for name, value in vars(nn_module).items():
        if name.startswith("_global_"):
            found["hooks", name] = dict(value) if hasattr(value, "items") else value
    for name in ("_global_optimizer_pre_hooks", "_global_optimizer_post_hooks"):
        found["optimizer hooks", name] = dict(getattr(optimizer_module, name))
    return found


def differences(before: dict[Any, Any], after: dict[Any, Any]) -> set[Any]:
    return {key for key in {*before, *after} if before.get(key, key) is not after.get(key, key)} - {
        key for key in before if isinstance(before[key], (dict, bool)) and before[key] == after.get(key)
    }


def new_taps() -> Taps:
    return Taps(Following(SCRIPT, Recorder(), capture=Capture.parse("full"), budget_bytes=1 << 20))


def test_removing_them_leaves_nothing() -> None:
    before = all_of_torch()
    taps = new_taps()
    taps.install()
    assert taps.errors == []
    replaced = differences(before, all_of_torch())
    assert {name for _, name in replaced} >= {
        *("_engine_run_backward", "add_param_group", "zero_grad", "__next__", "_clip_grads_with_norm_"),
        *("clip_grad_value_", "scale", "unscale_", "step", "update", "__init__", "_initial_step"),
        *("_global_forward_hooks", "_global_forward_pre_hooks", "_global_optimizer_pre_hooks"),
    }
    taps.remove()
    assert differences(before, all_of_torch()) == set()


def test_a_whole_script_leaves_nothing(tmp_path: Path) -> None:
    text = """
        class Own(torch.optim.lr_scheduler.LRScheduler):
            def get_lr(self): return [0.1 for group in self.optimizer.param_groups]
            def step(self, *args): return super().step(*args)
        own_step = vars(Own)["step"]
        w = torch.ones(2, requires_grad=True)
        net = nn.Linear(2, 1)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        own = Own(optimizer)
        for i in range(2):
            (net(w) ** 2).mean().backward()
            optimizer.step()
            own.step()
            with torch.no_grad():
                w -= 0.1 * w.grad
            w.grad = None
    """
    # Some of torch's modules are imported, and an optimizer's class is prepared, when they are first used.
    plain: dict[str, Any] = {}
    exec(HEAD + textwrap.dedent(text), plain)
    unobserved = plain["own"]
    before = all_of_torch()
    found = follow(tmp_path, text)
    assert "S" in found.order
    assert differences(before, all_of_torch()) == set()
    own = found.space["Own"]
    assert vars(own)["step"] is found.space["own_step"]
    assert torch._C._len_torch_function_stack() == 0
    net, optimizer = found.space["net"], found.space["optimizer"]
    assert not net._forward_hooks and not net._forward_pre_hooks and "forward" not in vars(net)
    assert not optimizer._optimizer_step_pre_hooks and not optimizer._optimizer_step_post_hooks
    assert set(found.space["own"].state_dict()) == set(unobserved.state_dict())


def test_what_this_torch_lacks_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.amp.GradScaler, "unscale_")
    taps = new_taps()
    taps.install()
    taps.remove()
    assert taps.errors == ["This torch has no GradScaler.unscale_: unscaling cannot be seen"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_is_off(tmp_path: Path) -> None:
    text = """
        import os
        net = nn.Linear(2, 1)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        def step():
            optimizer.zero_grad()
            net(torch.ones(1, 2)).mean().backward()
            optimizer.step()
        step()
        child = os.fork()
        if child == 0:
            try:
                step()
                os._exit(7)
            finally:
                os._exit(1)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        step()
    """
    pid = os.getpid()
    told: list[int] = []
    found = follow(tmp_path, text, look=lambda *_: told.append(os.getpid()) if os.getpid() == pid else os._exit(3))
    assert found.space["code"] == 7, "3: it was told of the child's training"
    assert found.order == "FBSFBS"


def test_another_thread_is_not_followed(tmp_path: Path) -> None:
    text = """
        import threading
        net = nn.Linear(2, 1)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        def step():
            net(torch.ones(1, 2)).mean().backward()
            optimizer.step()
        step()
        thread = threading.Thread(target=step)
        thread.start(); thread.join()
        step()
    """
    threads: set[int] = set()
    found = follow(tmp_path, text, look=lambda *_: threads.add(threading.get_ident()))
    assert found.order == "FBSFBS" and threads == {threading.get_ident()}


# ------------------------------------------------------------------------------------------ exceptions that a script catches

CATCHING = """\
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(2, 3), nn.Linear(3, 1)
        self.fails = False
    def forward(self, x):
        x = self.a(x)
        if self.fails:
            raise ValueError("in forward")
        return self.b(x)
class Opt(torch.optim.SGD):
    fails = False
    def step(self, closure=None):
        if self.fails:
            raise ValueError("in step")
        return super().step(closure)
class Fails(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x): return x.clone()
    @staticmethod
    def backward(ctx, g): raise ValueError("in backward")
net = Net()
optimizer = Opt(net.parameters(), lr=0.1, momentum=0.9)
caught = []
def closure():
    optimizer.zero_grad()
    loss = net(torch.randn(3, 2)).pow(2).mean()
    if where == "closure" and i == 1:
        raise ValueError("in closure")
    (Fails.apply(loss) if where == "backward" and i == 1 else loss).backward()
    return loss
for i in range(4):
    net.fails, optimizer.fails = where == "forward" and i == 1, where == "step" and i == 1
    try:
        if with_closure:
            optimizer.step(closure)
        else:
            closure()
            optimizer.step()
    except ValueError as error:
        caught.append(str(error))
final = [p.detach().clone() for p in net.parameters()]
"""


@pytest.mark.parametrize("with_closure", [False, True])
@pytest.mark.parametrize("where", ["forward", "backward", "step", "closure"])
@pytest.mark.parametrize("capture", ["full", "off"])
def test_a_script_that_catches_its_exceptions_goes_on(
    tmp_path: Path, where: str, with_closure: bool, capture: str
) -> None:
    text = f"where, with_closure = {where!r}, {with_closure}\n{CATCHING}"
    found = follow(tmp_path, text, capture=capture)
    plain: dict[str, Any] = {}
    exec(HEAD + text, plain)
    assert found.space["caught"] == plain["caught"] == [f"in {where}"]
    assert all(torch.equal(a, b) for a, b in zip(found.space["final"], plain["final"], strict=True))
    assert found.order.count("S") == 3
    # After the failed round the phases are as ever.
    assert found.order.endswith("FBSFBS")
    assert len(found.session.history) == 3
    if capture == "full":
        _is_as_measured(found)


def _is_as_measured(found: Followed) -> None:
    """The newest step's update takes each parameter from what it was to what it is."""
    (report,) = found.reports(Phase.STEP)[-1:]
    updates = {s.name: s for s in report.subjects if s.kind == SubjectKind.UPDATE.value}
    assert set(updates) == {"net.a.weight", "net.a.bias", "net.b.weight", "net.b.bias"}
    assert all(update.l2 > 0 for update in updates.values())
    forward = found.reports(Phase.FORWARD)[-1]
    activations = [s.name for s in forward.subjects if s.kind == SubjectKind.ACTIVATION.value]
    assert sorted(activations) == ["net", "net.a", "net.b"]


def test_errors_of_ours_never_reach_the_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("ours")

    for name in (
        "root_entered",
        "root_left",
        "backward_begins",
        "backward_ends",
        "step_begins",
        "step_ends",
    ):
        monkeypatch.setattr(Following, name, fails)
    monkeypatch.setattr(GradientCalls, "cleared", fails)
    text = f"where, with_closure = '', False\n{CATCHING}"
    found = follow(tmp_path, text, errors=("Following the script failed: RuntimeError: ours",))
    plain: dict[str, Any] = {}
    exec(HEAD + text, plain)
    assert all(torch.equal(a, b) for a, b in zip(found.space["final"], plain["final"], strict=True))
    assert found.recorder.phases == []
    assert torch._C._len_torch_function_stack() == 0


# ------------------------------------------------------------------------------------------ levels


LEVELS = """\
net = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.Linear(3, 3), nn.Tanh()), nn.Linear(3, 1))
optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
for i in range(3):
    optimizer.zero_grad()
    net(torch.randn(4, 2)).pow(2).mean().backward()
    nn.utils.clip_grad_norm_(net.parameters(), 0.1)
    optimizer.step()
final = [p.detach().clone() for p in net.parameters()]
"""
LAYERS = {"net", "net.0", "net.1", "net.1.0", "net.1.1", "net.2"}


@pytest.mark.parametrize(
    ("capture", "layers", "moved"),
    [
        ("full", LAYERS, {f"net.{n}.{p}" for n in ("0", "1.0", "2") for p in ("weight", "bias")}),
        ("norms", LAYERS, {f"net.{n}.{p}" for n in ("0", "1.0", "2") for p in ("weight", "bias")}),
        ("layers:net.1", {"net.1", "net.1.0", "net.1.1"}, {"net.1.0.weight", "net.1.0.bias"}),
        ("off", set(), set()),
    ],
)
def test_levels_of_capture(tmp_path: Path, capture: str, layers: set[str], moved: set[str]) -> None:
    found = follow(tmp_path, LEVELS, capture=capture)
    plain: dict[str, Any] = {}
    exec(HEAD + LEVELS, plain)
    assert all(torch.equal(a, b) for a, b in zip(found.space["final"], plain["final"], strict=True))
    assert found.order == "FBS" * 3
    assert found.seen(Phase.FORWARD, SubjectKind.ACTIVATION) == layers
    assert found.seen(Phase.BACKWARD, SubjectKind.GRAD) == moved
    assert found.seen(Phase.STEP, SubjectKind.UPDATE) == moved
    assert found.seen(Phase.STEP, SubjectKind.CLIPPED_GRAD) == moved
    assert [len(found.stations(kind)) for kind in (SubStep.CLIP, SubStep.STEP, SubStep.LOSS)] == [3, 3, 3]
    assert all(report.loss is not None and report.clip is not None for report in found.reports(Phase.STEP))


def test_the_first_nan_is_told_once(tmp_path: Path) -> None:
    text = f"""{LEVELS.replace("mean()", "mean().mul(float('nan') if i == 1 else 1)")}"""
    found = follow(tmp_path, text)
    first = [report for report, _ in found.recorder.phases if report.first_nonfinite is not None]
    assert len(first) == 1
    assert (first[0].step, first[0].phase) == (1, Phase.FORWARD)
    assert found.session.first_nonfinite is first[0].first_nonfinite


def test_what_a_script_sees_of_hooks_is_what_the_docs_say(tmp_path: Path) -> None:
    text = """\
    net = nn.Sequential(nn.Linear(3, 2), nn.Tanh())
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    seen, of_outputs = [], []
    def look():
        for part in net.modules():
            seen.extend(len(value) for key, value in vars(part).items() if key.endswith("hooks"))
        seen.extend(len(value) for key, value in vars(optimizer).items() if key.endswith("hooks"))
        seen.extend(len(p._backward_hooks or ()) for p in net.parameters())
    for i in range(2):
        look()
        out = net(torch.randn(4, 3))
        look()
        of_outputs.append(len(out._backward_hooks or ()))
        loss = out.sum()
        of_outputs.append(len(loss._backward_hooks or ()))
        loss.backward()
        look()
        optimizer.step()
        look()
    """
    space = follow(tmp_path, text).space
    assert len(space["seen"]) > 100
    assert set(space["seen"]) == {0}
    # Of the last layer, and of the model that hands its output on.
    assert space["of_outputs"] == [2, 0, 2, 0]
    assert set(follow(tmp_path, text, capture="off").space["of_outputs"]) == {0}
