"""`gradscope.watch()` without a window: what it sees of a training that is there already, and that it leaves nothing."""

import gc
import json
import subprocess
import sys
import threading
import types
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.modules import module as nn_module
from torch.optim import optimizer as torch_optimizer

import gradscope
from gradscope.engine.script import gradient_calls
from gradscope.protocol.failure import BadInput

BEFORE = """import torch, gradscope
from torch import nn
from torch.nn.utils import clip_grad_value_, clip_grad_norm_
from torch.autograd import backward
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2))
opt = torch.optim.Adam(net.parameters(), lr=0.1)
plan = torch.optim.lr_scheduler.StepLR(opt, 1)
def train(steps=2):
    for _ in range(steps):
        opt.zero_grad()
        loss = net(torch.randn(5, 4)).pow(2).mean()
        backward(loss)
        clip_grad_norm_(net.parameters(), 0.5)
        clip_grad_value_(net.parameters(), 0.1)
        opt.step()
        plan.step()
"""


class Prompt:
    """As a person at a prompt, or in the cells of a notebook: each text is run in the names of those before."""

    def __init__(self, out: Path) -> None:
        self.names: dict[str, Any] = {"__name__": "__main__", "out": str(out)}
        self.run(BEFORE)

    def run(self, text: str) -> None:
        exec(compile(text, "<stdin>", "exec"), self.names)

    def __getitem__(self, name: str) -> Any:
        return self.names[name]


@pytest.fixture
def prompt(tmp_path: Path) -> Prompt:
    return Prompt(tmp_path / "out.jsonl")


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_training_that_was_made_before(prompt: Prompt, tmp_path: Path) -> None:
    prompt.run("with gradscope.watch(net, opt, jsonl=out): train()")
    lines = lines_of(tmp_path / "out.jsonl")
    assert [line["phase"] for line in lines] == ["forward", "backward", "step"] * 2 + ["end"]
    kinds = [[station["kind"] for station in line["stations"]] for line in lines]
    assert kinds[:3] == [["zero grad", "forward", "loss"], ["backward"], ["clip", "clip", "step"]]
    assert kinds[3][0] == "schedule" and kinds[-1] == ["schedule"]
    assert lines[0]["loss_name"] == "loss" and lines[0]["calls"] == ["net"]
    assert lines[2]["optimizer"] == "opt" and lines[2]["clip"]["norm"] > 0.1
    assert lines[0]["line"]["file"] == "<stdin>" and lines[0]["line"]["line"] == 13
    activations = [subject["name"] for subject in lines[0]["subjects"] if subject["kind"] == "activation"]
    assert activations == ["net.0", "net.1", "net.2", "net.3", "net"]
    assert lines[-1]["exit_code"] == 0


def test_without_things_all_is_found(prompt: Prompt, tmp_path: Path) -> None:
    prompt.run("with gradscope.watch(jsonl=out): train()")
    lines = lines_of(tmp_path / "out.jsonl")
    assert [line["phase"] for line in lines] == ["forward", "backward", "step"] * 2 + ["end"]
    assert lines[0]["calls"] == ["net"] and lines[2]["optimizer"] == "opt"


def test_only_what_is_given_is_looked_for(prompt: Prompt, tmp_path: Path) -> None:
    prompt.run("other = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=1.0)")
    prompt.run("with gradscope.watch(net, jsonl=out): train(1)")
    assert lines_of(tmp_path / "out.jsonl")[2]["optimizer"] == "opt"


@pytest.mark.parametrize(
    "things", ["", "net", "net, opt", "opt", "plan", "[net], (opt, plan)", "net, opt, nn.MSELoss()"]
)
def test_whatever_is_given_the_steps_are_the_same(prompt: Prompt, tmp_path: Path, things: str) -> None:
    prompt.run(f"with gradscope.watch({things}{',' if things else ''} jsonl=out): train()")
    steps = [line for line in lines_of(tmp_path / "out.jsonl") if line["phase"] == "step"]
    assert [step["optimizer"] for step in steps] == ["opt", "opt"]
    moved = [subject["name"] for subject in steps[0]["subjects"] if subject["kind"] == "parameter"]
    assert moved == ["net.0.weight", "net.0.bias", "net.3.weight", "net.3.bias"]


def test_attach_until_detach(prompt: Prompt, tmp_path: Path) -> None:
    prompt.run("handle = gradscope.attach(net, opt, jsonl=out)\ntrain(1)")
    assert prompt["handle"].is_on
    written = lines_of(tmp_path / "out.jsonl")
    assert [line["phase"] for line in written] == ["forward", "backward", "step"], "before it is over"
    prompt.run("handle.detach()\ntrain(1)\nhandle.detach()")
    assert [line["phase"] for line in lines_of(tmp_path / "out.jsonl")] == ["forward", "backward", "step", "end"]


def test_parameters_are_the_same_bit_for_bit(tmp_path: Path) -> None:
    plain, watched = Prompt(tmp_path / "a"), Prompt(tmp_path / "b")
    plain.run("torch.manual_seed(1)\ntrain(3)\ntrain(2)\nmore = torch.rand(3)")
    watched.run("torch.manual_seed(1)\nwith gradscope.watch(jsonl=out): train(3)\ntrain(2)\nmore = torch.rand(3)")
    assert torch.equal(plain["more"], watched["more"]), "the random numbers too"
    for one, other in zip(plain["net"].parameters(), watched["net"].parameters(), strict=True):
        assert torch.equal(one, other)


# ------------------------------------------------------------------------------------------------------ nothing is left


def everything(prompt: Prompt) -> dict[str, Any]:
    """What could be changed in this process: names of modules and classes, hooks, modes, filters, the user's objects."""
    found: dict[str, Any] = {}
    for name, module in list(sys.modules.items()):
        if not name.startswith("torch") or not isinstance(module, types.ModuleType):
            continue
        for key, value in list(vars(module).items()):
            found[f"{name}.{key}"] = id(value)
            if issubclass(type(value), type) and value.__module__.startswith("torch"):
                inside = {inner: id(item) for inner, item in vars(value).items() if inner != "next_id"}
                found |= {f"{name}.{key}.{inner}": item for inner, item in inside.items()}
    hooks = [getattr(nn_module, key) for key in vars(nn_module) if key.startswith("_global_")]
    hooks += [getattr(torch_optimizer, key) for key in vars(torch_optimizer) if key.startswith("_global_")]
    found["hooks"] = [list(kept) for kept in hooks if hasattr(kept, "__len__")]
    found["filters"] = list(warnings.filters)
    found["modes"] = torch._C._len_torch_function_stack()
    found["meta_path"] = list(sys.meta_path)
    found["threads"] = threading.active_count()
    for name, value in prompt.names.items():
        found[f"name {name}"] = id(value) if name in BEFORE else 0
        if isinstance(value, nn.Module):
            for path, part in value.named_modules():
                found[f"module {name}.{path}"] = {key: _shape(item) for key, item in vars(part).items()}
            for path, parameter in value.named_parameters():
                found[f"parameter {name}.{path}"] = _hooks_of(parameter), sorted(vars(parameter))
        elif isinstance(value, (torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler)):
            found[f"keys of {name}"] = {key: _shape(item) for key, item in vars(value).items()}
        elif isinstance(value, torch.Tensor):
            found[f"tensor {name}"] = _hooks_of(value)
    return found


def _shape(value: Any) -> Any:
    return (type(value), list(value)) if isinstance(value, dict) else type(value)


def _hooks_of(tensor: torch.Tensor) -> tuple[int, int]:
    return len(tensor._backward_hooks or ()), len(getattr(tensor, "_post_accumulate_grad_hooks", None) or ())


def assert_same(before: dict[str, Any], after: dict[str, Any]) -> None:
    changed = [key for key in before if before[key] != after.get(key, "gone")]
    assert not changed
    tapped = [
        key
        for module in list(sys.modules.values())
        for key, value in list(getattr(module, "__dict__", {}).items())
        if type(value) is types.FunctionType and "__gradscope_tap__" in vars(value)
    ]
    assert not tapped


LEFT = {
    "done": "with gradscope.watch(net, opt, jsonl=out): train()",
    "twice": "for _ in range(2):\n    with gradscope.watch(jsonl=out): train()",
    "attached": "handle = gradscope.attach(jsonl=out)\ntrain()\nhandle.detach()",
    "nothing was trained": "with gradscope.watch(net, opt, jsonl=out): pass",
    "an exception": "try:\n    with gradscope.watch(jsonl=out):\n        train(1)\n        raise ValueError('x')\n"
    "except ValueError: pass",
    "an exception in a forward": "try:\n    with gradscope.watch(jsonl=out):\n        train(1)\n"
    "        net(torch.randn(2, 3))\nexcept RuntimeError: pass",
    "an interrupt in a layer": "def stop(*_): raise KeyboardInterrupt\ntry:\n"
    "    with gradscope.watch(jsonl=out):\n        train(1)\n        hook = net[1].register_forward_hook(stop)\n"
    "        net(torch.randn(2, 4))\nexcept KeyboardInterrupt: hook.remove()",
    "a graph that is still there": "with gradscope.watch(jsonl=out):\n    train(1)\n    kept = net(torch.randn(5, 4))\n"
    "    total = kept.pow(2).mean()",
    "imported inside": "with gradscope.watch(jsonl=out):\n    from torch.nn.utils import clip_grad_value_ as cut\n"
    "    train(1)",
    "moved by hand": "w = torch.zeros(3, requires_grad=True)\nwith gradscope.watch(jsonl=out):\n    for _ in range(2):\n"
    "        (w - 1).pow(2).sum().backward()\n        with torch.no_grad(): w -= 0.1 * w.grad\n        w.grad = None",
    "below a mode": "w = torch.zeros(3, requires_grad=True)\nwith gradscope.watch(jsonl=out):\n"
    "    (w - 1).pow(2).sum().backward()\n    torch.set_default_device('cpu')\ntorch.set_default_device(None)",
}


@pytest.mark.parametrize("text", LEFT.values(), ids=list(LEFT))
def test_nothing_is_left(prompt: Prompt, text: str) -> None:
    # What torch and gradscope import at the first time stays.
    prompt.run("with gradscope.watch(jsonl=out): train(1)")
    prompt.run("def stop(*_): pass\nhook = net[1].register_forward_hook(stop)\nhook.remove()")
    before = everything(prompt)
    prompt.run(text)
    after = everything(prompt)
    assert_same(before, after)
    for name in ("kept", "total"):
        if name in prompt.names:
            assert _hooks_of(prompt[name]) == (0, 0)
    if "cut" in prompt.names:
        assert prompt["cut"] is torch.nn.utils.clip_grad_value_
        assert not hasattr(prompt["cut"], "__gradscope_tap__")
    prompt.run("if 'total' in globals(): total.backward()\ntrain(1)")


def test_what_others_put_over_it_stays(prompt: Prompt, monkeypatch: pytest.MonkeyPatch) -> None:
    over: Callable[..., Any] = lambda *a, **k: inner(*a, **k)  # noqa: E731
    with gradscope.watch(jsonl=prompt["out"]):
        inner = torch.autograd._engine_run_backward
        monkeypatch.setattr(torch.autograd, "_engine_run_backward", over)
        prompt.run("clip_grad_value_ = len\ntorch.ones(1, requires_grad=True).sum().backward()")
    assert torch.autograd._engine_run_backward is over
    assert prompt["clip_grad_value_"] is len
    prompt.run("torch.ones(1, requires_grad=True).sum().backward()")
    monkeypatch.undo()
    torch.autograd._engine_run_backward = torch.autograd.graph._engine_run_backward


def test_nobody_keeps_a_model_alive(prompt: Prompt) -> None:
    prompt.run("with gradscope.watch(net, opt, jsonl=out) as seen: train()")
    model = weakref.ref(prompt["net"])
    for name in ("net", "opt", "plan", "train"):
        del prompt.names[name]
    gc.collect()
    assert model() is None


def test_warnings_that_were_shown_are_not_shown_again(prompt: Prompt) -> None:
    prompt.run("import warnings\ndef warn(): warnings.warn('once')")
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("default")
        prompt.run("warn()\nwith gradscope.watch(jsonl=out): warn()\nwarn()")
    assert len(shown) == 1


# ------------------------------------------------------------------------------------------------------------ going on


def test_a_cell_that_was_interrupted_is_run_again(prompt: Prompt, tmp_path: Path) -> None:
    prompt.run("handle = gradscope.attach(net, opt, jsonl=out)\ntrain(1)")
    prompt.run("def stop(*_): raise KeyboardInterrupt\nhook = net[1].register_forward_hook(stop)")
    with pytest.raises(KeyboardInterrupt):
        prompt.run("train(1)")
    prompt.run("hook.remove()\ntrain(1)\nhandle.detach()")
    lines = lines_of(tmp_path / "out.jsonl")
    assert [line["phase"] for line in lines] == ["forward", "backward", "step"] * 2 + ["end"]
    seen = [[s["name"] for s in line["subjects"] if s["kind"] == "activation"] for line in lines[:-1:3]]
    assert seen[0] == seen[1], "nothing of the forward that was broken off"
    assert all(s["call"] == 0 for s in lines[3]["subjects"])


def test_a_thread_that_trains(prompt: Prompt, tmp_path: Path) -> None:
    prompt.run("import threading\nnet(torch.randn(1, 4))")
    prompt.run(
        "with gradscope.watch(net, opt, jsonl=out):\n"
        "    for _ in range(2):\n"
        "        worker = threading.Thread(target=train, args=(2,)); worker.start(); worker.join()"
    )
    lines = lines_of(tmp_path / "out.jsonl")
    assert [line["phase"] for line in lines] == ["forward", "backward", "step"] * 4 + ["end"]
    assert all(any(s["kind"] == "activation" for s in line["subjects"]) for line in lines[:-1:3])


def test_attached_and_detached_while_another_thread_trains(prompt: Prompt, tmp_path: Path) -> None:
    prompt.run("import threading\nis_over = threading.Event()\nerrors = []")
    prompt.run(
        "def work():\n    try:\n        while not is_over.is_set(): train(1)\n"
        "    except BaseException as error: errors.append(error)"
    )
    prompt.run("worker = threading.Thread(target=work); worker.start()")
    try:
        for _ in range(5):
            prompt.run(
                "import time, os\nhandle = gradscope.attach(net, opt, jsonl=out)\n"
                "began = time.monotonic()\n"
                "while os.path.getsize(out) == 0 and time.monotonic() - began < 20: time.sleep(0.01)\n"
                "handle.detach()"
            )
            assert lines_of(tmp_path / "out.jsonl")[0]["phase"] in ("forward", "backward")
    finally:
        prompt.run("is_over.set(); worker.join()")
    assert prompt["errors"] == []


def test_attaching_asks_for_no_gradient(prompt: Prompt, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread's backward may be writing it, without Python's lock."""
    prompt.run("train(1)")
    with monkeypatch.context() as patch:
        patch.setattr(gradient_calls, "gradient_identity", pytest.fail)
        prompt.run("handle = gradscope.attach(opt, jsonl=out)")
    prompt.run("train(1)\nhandle.detach()")


def test_outputs_that_fail_stop_nothing(prompt: Prompt, capsys: pytest.CaptureFixture[str]) -> None:
    prompt.names["out"] = "/dev/full"
    prompt.run("with gradscope.watch(net, opt, jsonl=out): train(3)")
    assert prompt["opt"].state[prompt["net"][0].weight]["step"] == 3
    told = capsys.readouterr().err
    assert "cannot be written" in told and "Traceback" not in told


def test_a_snapshot_and_event_files(prompt: Prompt, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prompt.names |= {"events": tmp_path / "events", "snapshot": tmp_path / "last.zip"}
    prompt.run("with gradscope.watch(net, export=snapshot): train(2)")
    assert (tmp_path / "last.zip").stat().st_size > 1000
    pytest.importorskip("tensorboard")
    prompt.run("with gradscope.watch(net, tensorboard=events): train(2)")
    assert list((tmp_path / "events").rglob("events.out*"))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        ("gradscope.watch(3, jsonl=out)", "an object of class int; expected models"),
        ("gradscope.watch(net.parameters, jsonl=out)", "expected models"),
        ("gradscope.watch(jsonl=out, capture='half')", "'half' is no capture level"),
        ("gradscope.attach(jsonl='/nowhere/x')", "gradscope.watch: jsonl: /nowhere/x cannot be written"),
        ("gradscope.attach(export='/')", "gradscope.watch: export: / exists already"),
        ("gradscope.watch(window=False)", "shows nothing: expected jsonl="),
        ("gradscope.watch(jsonl=out).__enter__().__enter__()", "is on already in this process"),
    ],
)
def test_what_is_refused(prompt: Prompt, call: str, sentence: str) -> None:
    with pytest.raises(BadInput, match=r"gradscope|capture") as refused:
        prompt.run(f"from gradscope.engine.watching.watch import Watch\n{call}")
    assert sentence in str(refused.value) and "\n" not in str(refused.value)
    prompt.run("Watch._active and Watch._active.detach()")


def test_in_a_script_that_gradscope_runs_it_changes_nothing(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(BEFORE + "with gradscope.watch(net, opt): train()\nprint('done')")
    command = [sys.executable, "-m", "gradscope", "run", "--jsonl", "out", str(script)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    assert done.stderr == "gradscope: gradscope runs this script already: gradscope.watch() in it changes nothing\n"
    assert [line["phase"] for line in lines_of(tmp_path / "out")] == ["forward", "backward", "step"] * 2 + ["end"]


def test_of_several_processes_one_is_watched(prompt: Prompt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    prompt.run("with gradscope.watch(net, opt, jsonl=out): train()")
    assert not (tmp_path / "out.jsonl").exists()


def test_a_process_that_ends_without_detach_has_written_all(tmp_path: Path) -> None:
    text = BEFORE + "gradscope.attach(net, opt, jsonl='out')\ntrain()"
    subprocess.run([sys.executable, "-c", text], cwd=tmp_path, check=True)
    assert [line["phase"] for line in lines_of(tmp_path / "out")] == ["forward", "backward", "step"] * 2 + ["end"]


def test_a_watch_in_a_watch(prompt: Prompt, tmp_path: Path) -> None:
    prompt.names["other"] = str(tmp_path / "other")
    with pytest.raises(BadInput, match="leave that `with`"):
        prompt.run("with gradscope.watch(jsonl=out):\n    train(1)\n    with gradscope.watch(jsonl=other): train(1)")
    assert [line["phase"] for line in lines_of(tmp_path / "out.jsonl")] == ["forward", "backward", "step", "end"]
    prompt.run("once = gradscope.watch(jsonl=out)\nwith once: train(1)")
    with pytest.raises(BadInput, match="was left already"):
        prompt.run("with once: pass")
