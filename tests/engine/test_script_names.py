"""What a script's models, tensors, optimizers and losses are called."""

from __future__ import annotations

import sys
import weakref
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from scripted import Followed, follow
from torch import nn

from gradscope.engine.script.finding import naming
from gradscope.engine.surroundings.frames import locals_of
from gradscope.protocol.phases import Phase, SubStep
from gradscope.protocol.subjects import SubjectKind

ONE_STEP = "optimizer.zero_grad(); loss = {model}(torch.randn(4, 3)).mean(); loss.backward(); optimizer.step()\n"


def step_of(model: str, *, optimizer: str = "optimizer") -> str:
    return ONE_STEP.replace("{model}", model).replace("optimizer", optimizer)


SGD = "torch.optim.SGD({}.parameters(), lr=0.1)"


@pytest.mark.parametrize(
    ("text", "model"),
    [
        (f"net = nn.Linear(3, 1)\noptimizer = {SGD.format('net')}\n{step_of('net')}", "net"),
        (f"m = nn.Linear(3, 1)\noptimizer = {SGD.format('m')}\n{step_of('m')}", "m"),
        (
            "nets = {'a': nn.Linear(3, 1)}\noptimizer = " + SGD.format("nets['a']") + "\n" + step_of("nets['a']"),
            "nets['a']",
        ),
        (f"nets = [nn.Linear(3, 1)]\noptimizer = {SGD.format('nets[0]')}\n{step_of('nets[0]')}", "nets[0]"),
        (
            "class Box: pass\nrun = Box(); run.parts = Box(); run.parts.net = nn.Linear(3, 1)\n"
            f"run.parts.opt = {SGD.format('run.parts.net')}\n{step_of('run.parts.net', optimizer='run.parts.opt')}",
            "run.parts.net",
        ),
        (
            f"def train(model):\n    optimizer = {SGD.format('model')}\n    {step_of('model')}\ntrain(nn.Linear(3, 1))\n",
            "model",
        ),
        (
            f"def train(module):\n    optimizer = {SGD.format('module')}\n    {step_of('module')}\n"
            "net = nn.Linear(3, 1)\ntrain(net)\n",
            "net",
        ),
        (
            "class Fit:\n    def __init__(self):\n        self.net = nn.Linear(3, 1)\n"
            f"        self.opt = {SGD.format('self.net')}\n"
            f"    def go(self):\n        {step_of('self.net', optimizer='self.opt')}\nFit().go()\n",
            "net",
        ),
    ],
    ids=["variable", "m", "dict", "list", "two deep", "local", "outermost first", "attribute of nobody"],
)
def test_a_model_is_called_as_the_script_does(tmp_path: Path, text: str, model: str) -> None:
    found = follow(tmp_path, text)
    assert found.order == "FBS"
    assert found.names == {model}
    assert found.seen(Phase.FORWARD, SubjectKind.ACTIVATION) == {model}
    assert found.seen(Phase.STEP, SubjectKind.UPDATE) == {f"{model}.weight", f"{model}.bias"}


def test_an_optimizer_is_called_as_the_script_does(tmp_path: Path) -> None:
    text = (
        "net = nn.Linear(3, 1)\nclass Box: pass\nbox = Box()\n"
        f"one = {SGD.format('net')}; box.opt = {SGD.format('net')}; many = {{'x': {SGD.format('net')}}}\n"
        + step_of("net", optimizer="one")
        + step_of("net", optimizer="box.opt")
        + step_of("net", optimizer="many['x']")
    )
    found = follow(tmp_path, text)
    assert [station.detail for station in found.stations(SubStep.STEP)] == ["one", "box.opt", "many['x']"]


def test_a_loss_is_called_as_the_script_does(tmp_path: Path) -> None:
    text = f"""
        net = nn.Linear(3, 1)
        optimizer = {SGD.format("net")}
        losses = {{}}
        for name in "abc":
            losses["cls"] = net(torch.randn(4, 3)).mean()
            losses["cls"].backward()
            optimizer.step()
        net(torch.randn(4, 3)).mean().backward()
    """
    found = follow(tmp_path, text)
    named = [passage.loss_name for report, passage in found.recorder.phases if report.phase is Phase.FORWARD]
    assert named == ["losses['cls']"] * 3 + [""]


K_FOLD = f"""
    import gc, weakref
    alive, optimizers = [], []
    def fold():
        global model, optimizer
        model = nn.Linear(3, 1)
        optimizer = {SGD.format("model")}
        alive.append(weakref.ref(model)), optimizers.append(weakref.ref(optimizer))
        for i in range(2):
            {step_of("model")}
    for k in range(4):
        fold()
    gc.collect()
"""


def test_a_loss_of_a_library_is_called_as_the_library_does_wherever_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An environment may be called "torch" itself."""
    packages = tmp_path / "envs" / "torch" / "lib" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "easy_training.py").write_text(
        "def train(loss):\n    halved = loss / 2\n    halved.backward()\n", "utf-8"
    )
    monkeypatch.syspath_prepend(packages)
    text = f"net = nn.Linear(3, 1)\noptimizer = {SGD.format('net')}\nfrom easy_training import train\n{step_of('net')}"
    found = follow(tmp_path, text.replace("loss.backward()", "train(loss)"))
    (loss,) = [passage.loss_name for report, passage in found.recorder.phases if report.phase is Phase.BACKWARD]
    assert loss == "halved"


def test_a_model_that_is_bound_anew_does_not_keep_the_old_one_alive(tmp_path: Path) -> None:
    found = follow(tmp_path, K_FOLD)
    assert found.order == "FBS" * 8
    assert found.names == {"model"}
    alive = [reference() for reference in found.space["alive"]]
    assert alive[:3] == [None] * 3 and alive[3] is found.space["model"]


def test_two_models_of_one_name(tmp_path: Path) -> None:
    """Each made in a function that calls it the same, and both alive."""
    text = f"""
        class Fit:
            def __init__(self):
                self.net = nn.Linear(3, 1)
                self.opt = {SGD.format("self.net")}
            def go(self):
                {step_of("self.net", optimizer="self.opt")}
        def both(first, second):
            for i in range(2):
                for fit in (first, second):
                    fit.go()
        both(Fit(), Fit())
    """
    found = follow(tmp_path, text)
    assert found.order == "FBS" * 4
    assert found.names == {"first.net", "second.net"}
    text = f"""
        kept = set()
        def train():
            model = nn.Linear(3, 1)
            optimizer = {SGD.format("model")}
            kept.add(model)
            {step_of("model")}
            return model, optimizer
        (a, b), (c, d) = train(), train()
        for model, optimizer in ((a, b), (c, d)):
            {step_of("model")}
    """
    found = follow(tmp_path, text)
    assert found.order == "FBS" * 4
    assert len(found.session.found.known_ids()) == 4, "both are still followed"


def test_a_layer_that_is_called_by_itself_has_the_name_of_its_model(tmp_path: Path) -> None:
    text = f"""
        net = nn.Sequential(nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 3)), nn.Linear(3, 1))
        optimizer = {SGD.format("net")}
        {step_of("net[0][0]")}
        {step_of("net")}
        holder = [nn.ModuleDict({{"a": nn.Linear(3, 1)}})]
        optimizer = {SGD.format("holder[0]")}
        {step_of("holder[0]['a']")}
    """
    found = follow(tmp_path, text)
    assert found.names == {"net", "holder[0]"}
    calls = [passage.calls for report, passage in found.recorder.phases if report.phase is Phase.FORWARD]
    assert calls == [("net.0.0",), ("net",), ("holder[0].a",)]


def test_a_bare_tensor_has_the_name_of_its_variable(tmp_path: Path) -> None:
    text = """
        w = torch.randn(3, 1, requires_grad=True)
        rest = {"b": torch.zeros(1, requires_grad=True)}
        optimizer = torch.optim.SGD([w, rest["b"]], lr=0.1)
        for i in range(2):
            optimizer.zero_grad()
            (torch.randn(4, 3) @ w + rest["b"]).mean().backward()
            optimizer.step()
    """
    found = follow(tmp_path, text)
    assert found.order == "FBSFBS"
    assert found.names == {"w", "rest['b']"}
    assert found.seen(Phase.STEP, SubjectKind.UPDATE) == {"w", "rest['b']"}


# ------------------------------------------------------------------------------------------ not keeping alive


def frame_with_tensor() -> tuple[weakref.ref[torch.Tensor], dict[str, Any]]:
    tensor = torch.ones(3)
    frame: FrameType = sys._getframe()
    seen = locals_of(frame)
    assert seen["tensor"] is tensor
    del seen
    reference = weakref.ref(tensor)
    del tensor
    return reference, {"is_gone": reference() is None}


def test_a_frame_that_was_looked_at_keeps_no_tensor() -> None:
    assert frame_with_tensor()[1] == {"is_gone": True}


def test_the_script_s_own_locals_stay() -> None:
    tensor = torch.ones(2)
    own = locals()
    assert locals_of(sys._getframe())["tensor"] is tensor
    assert own["tensor"] is tensor


def test_looking_for_a_name_asks_no_code_of_the_user() -> None:
    class Nasty:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("asked")

        def __eq__(self, other: object) -> bool:
            raise RuntimeError("asked")

        __hash__ = None  # type: ignore[assignment]

    nasty = Nasty()
    wanted = nn.Linear(1, 1)
    named, unnamed = naming.variable_of(wanted), naming.variable_of(object())
    assert (named, unnamed) == ("wanted", "")
    assert type(nasty) is Nasty


@pytest.mark.parametrize("capture", ["full", "norms", "off"])
def test_a_script_s_tensors_are_freed_when_it_deletes_them(tmp_path: Path, capture: str) -> None:
    """In a function, whose frame is asked for names."""
    text = f"""
        import gc, weakref
        gone = []
        def train():
            net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
            optimizer = {SGD.format("net")}
            for i in range(3):
                x = torch.randn(4, 3)
                out = net(x)
                loss = out.mean()
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                known = [weakref.ref(thing) for thing in (x, out, loss)]
                del x, out, loss
                gone.append([reference() is None for reference in known])
        train()
    """
    found: Followed = follow(tmp_path, text, capture=capture)
    assert found.order == "FBS" * 3
    assert found.space["gone"] == [[True] * 3] * 3
