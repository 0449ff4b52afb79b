"""What observing costs: whole training steps, plain and observed in turns, as a ratio of times.

    python tests/benchmarks/overhead.py [--workloads mlp,gpt] [--threads 1,2] [--seconds 20] [--device cpu]

Every way of observing trains its own copy of the model, a few steps at a time, in turns with the plain loop, so that a
machine that is busy with other things slows all of them. Printed: milliseconds of a plain step, and for each way the median
ratio with the quartiles of the rounds; "full", "norms", "one layer" and "off" are gradscope's capture levels, "findings" is
"full" with the monitors of findings, "script" and "script off" the same plain loop followed from outside, as `gradscope run
train.py` does it. "floor" reads every tensor once and computes
nothing else: what counts is how far above it a way is. `--apart` has a process for each way, and they take turns: in one
process each would run on the others' caches and allocator; "full kept" is then "full" with glibc told to keep large blocks,
as in the engine. Others are measured where they are installed (wandb, tensorboard, torchlens). `--cpu-time` counts the
processor's time of this thread instead of the clock's: for a machine that has other things to do. The peak memory is measured
in a process of its own for each way. What was measured where is in README.md beside this file.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import gc
import importlib.util
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from torch import Tensor, nn

from gradscope import Recipe, Session
from gradscope.engine.quantities import summary
from gradscope.engine.quantities.fused_on_device import reason_for_torch
from gradscope.engine.quantities.kernel.building import active_path
from gradscope.engine.script.following import Following
from gradscope.engine.script.taps import Taps
from gradscope.engine.surroundings.allocator import keep_large_blocks, reason_to_leave
from gradscope.engine.surroundings.randomness import seed_everything
from gradscope.protocol.capture import Capture
from gradscope.protocol.scripts import Script, ScriptKind
from tests.benchmarks.apart import KEPT, measure_apart, work
from tests.benchmarks.workloads import GPU_WORKLOADS, WORKLOADS

Step = Callable[[], None]
PEAK = "peak_bytes:"
RECIPES = WORKLOADS | GPU_WORKLOADS
ROUND_SECS = 0.3
"""How long each way trains before it is another's turn."""


def plain(recipe: Recipe, device: torch.device) -> Step:
    model, optimizer, loss_fn = recipe.model, recipe.optimizer, recipe.loss
    assert isinstance(model, nn.Module) and loss_fn is not None and isinstance(optimizer, torch.optim.Optimizer)
    model.to(device).train()
    batches = iter(recipe.dataset)

    def step() -> None:
        x, y = (tensor.to(device) for tensor in next(batches))
        optimizer.zero_grad(set_to_none=True)
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
        loss.item()

    return step


def gradscope_at(
    capture: str, *, has_kernel: bool = True, findings: bool = False, keeps_all: bool = False
) -> Callable[[Recipe, torch.device], Step]:
    """gradscope at a capture level; "layers" is the last layer with parameters. `has_kernel`: with the C kernel, if there.
    `findings`: with the monitors, and judged as often as an app would."""

    def make(recipe: Recipe, device: torch.device) -> Step:
        wanted = capture
        if capture == "layers":
            assert isinstance(recipe.model, nn.Module)
            own = [name for name, module in recipe.model.named_modules() if module._parameters]
            wanted = f"layers:{own[-1]}"
        session = Session(recipe, str(device), capture=wanted, findings=findings)
        # In a run, copies of activations are kept only for what is selected; where one steps by hand, of all.
        session.keeper.keeps_all = keeps_all
        kernel = summary.KERNEL if has_kernel else None

        def step() -> None:
            before, summary.KERNEL = summary.KERNEL, kernel
            session.forward()
            session.backward()
            session.step()
            if session.verdicts is not None and session.verdicts.is_due():
                session.findings()
            summary.KERNEL = before

        return step

    return make


class ScriptStep:
    """A plain step, followed as a script's is: the taps are in torch only while it is its turn."""

    def __init__(self, capture: str, recipe: Recipe, device: torch.device) -> None:
        self._step = plain(recipe, device)
        script = Script(kind=ScriptKind.FILE, name=__file__)
        following = Following(script, Nobody(), capture=Capture.parse(capture), budget_bytes=2**28)
        self._taps = Taps(following)
        following.found.optimizers.note(recipe.optimizer)  # type: ignore[arg-type]

    @contextlib.contextmanager
    def around(self) -> Iterator[None]:
        self._taps.install()
        try:
            yield
        finally:
            self._taps.remove()
            assert not self._taps.errors, self._taps.errors

    def __call__(self) -> None:
        self._step()


class Nobody:
    """Is told of a script, and does nothing."""

    is_armed = False

    def stop(self, moment: object) -> None: ...

    def session_found(self, session: Any) -> None:
        session.keeper.keeps_all = False

    def session_changed(self, session: object) -> None: ...

    def phase_ended(self, session: object, report: object, passage: object) -> None: ...

    def script_ended(self, session: object, end: object, rest: object) -> None: ...


def hand_written(recipe: Recipe, device: torch.device) -> Step:
    """What people write: separate reductions of every output, its gradient, every parameter, its gradient and its change."""
    model = recipe.model
    assert isinstance(model, nn.Module)
    found: list[list[Tensor]] = []

    def note(tensor: Tensor) -> None:
        value = tensor.detach().float()
        found.append([value.min(), value.max(), value.mean(), value.std(), value.norm(), (value == 0).sum()])

    def on_output(_module: nn.Module, _args: Any, output: Any) -> None:
        for tensor in output if isinstance(output, tuple) else (output,):
            if isinstance(tensor, Tensor):
                note(tensor)
                if tensor.requires_grad:
                    tensor.register_hook(note)

    for module in model.modules():
        module.register_forward_hook(on_output)
    one_step, before = plain(recipe, device), [p.detach().clone() for p in model.parameters()]

    def step() -> None:
        found.clear()
        one_step()
        for parameter, old in zip(model.parameters(), before, strict=True):
            note(parameter)
            note(parameter - old)
            if parameter.grad is not None:
                note(parameter.grad)
            old.copy_(parameter.detach())
        torch.stack([torch.stack([value.double() for value in row]) for row in found]).tolist()

    return step


def empty_hooks(recipe: Recipe, device: torch.device) -> Step:
    """Hooks that do nothing: what Python alone costs."""
    model = recipe.model
    assert isinstance(model, nn.Module)

    def on_output(_module: nn.Module, _args: Any, output: Any) -> None:
        for tensor in output if isinstance(output, tuple) else (output,):
            if isinstance(tensor, Tensor) and tensor.requires_grad:
                tensor.register_hook(lambda gradient: None)

    for module in model.modules():
        module.register_forward_hook(on_output)
    return plain(recipe, device)


def floor(recipe: Recipe, device: torch.device) -> Step:
    """The least that whole numbers can cost on this machine: each output, its gradient, each parameter, its gradient and its
    previous value are read once."""
    model = recipe.model
    assert isinstance(model, nn.Module)

    def read(tensor: Tensor) -> None:
        tensor.detach().sum()

    def on_output(_module: nn.Module, _args: Any, output: Any) -> None:
        for tensor in output if isinstance(output, tuple) else (output,):
            if isinstance(tensor, Tensor):
                read(tensor)
                if tensor.requires_grad:
                    tensor.register_hook(read)

    for module in model.modules():
        module.register_forward_hook(on_output)
    one_step, before = plain(recipe, device), [p.detach().clone() for p in model.parameters()]

    def step() -> None:
        one_step()
        for parameter, old in zip(model.parameters(), before, strict=True):
            for tensor in (parameter, parameter.grad, old):
                if tensor is not None:
                    read(tensor)

    return step


def wandb_watch(recipe: Recipe, device: torch.device) -> Step:
    import wandb

    run = wandb.init(mode="offline", dir=tempfile.mkdtemp())
    run.watch(recipe.model, log="all", log_freq=1)
    one_step = plain(recipe, device)

    def step() -> None:
        one_step()
        run.log({})

    return step


def tensorboard_histograms(recipe: Recipe, device: torch.device) -> Step:
    from torch.utils.tensorboard import SummaryWriter

    writer, one_step, count = SummaryWriter(tempfile.mkdtemp()), plain(recipe, device), [0]
    model = recipe.model
    assert isinstance(model, nn.Module)

    def on_output(module: nn.Module, _args: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            writer.add_histogram(f"activation/{names[module]}", output, count[0])

    names = {module: name or "model" for name, module in model.named_modules()}
    for module in model.modules():
        module.register_forward_hook(on_output)

    def step() -> None:
        one_step()
        count[0] += 1
        for name, parameter in model.named_parameters():
            writer.add_histogram(f"value/{name}", parameter, count[0])
            if parameter.grad is not None:
                writer.add_histogram(f"grad/{name}", parameter.grad, count[0])

    return step


def torchlens_log(recipe: Recipe, device: torch.device) -> Step:
    import torchlens

    model = recipe.model
    one_step, x = plain(recipe, device), next(iter(recipe.dataset))[0].to(device)

    # Its name before version 2.
    trace = torchlens.trace if "trace" in dir(torchlens) else torchlens.log_forward_pass

    def step() -> None:
        trace(model, x)
        one_step()

    return step


WAYS: dict[str, tuple[Callable[[Recipe, torch.device], Step], str]] = {
    "plain": (plain, ""),
    "full": (gradscope_at("full"), ""),
    "full without kernel": (gradscope_at("full", has_kernel=False), ""),
    "findings": (gradscope_at("full", findings=True), ""),
    "norms": (gradscope_at("norms"), ""),
    "one layer": (gradscope_at("layers"), ""),
    "off": (gradscope_at("off"), ""),
    "script": (partial(ScriptStep, "full"), ""),
    "script off": (partial(ScriptStep, "off"), ""),
    "full, all kept": (gradscope_at("full", keeps_all=True), ""),
    "floor": (floor, ""),
    "empty hooks": (empty_hooks, ""),
    "hand-written hooks": (hand_written, ""),
    "wandb.watch": (wandb_watch, "wandb"),
    "TensorBoard histograms": (tensorboard_histograms, "tensorboard"),
    "TorchLens": (torchlens_log, "torchlens"),
}
"""name -> (how to make its step, the module that it needs)."""


def measure(
    workload: str, ways: list[str], device: torch.device, seconds: float, clock: Callable[[], float], optimizer: str
) -> dict[str, list[float]]:
    """way -> milliseconds of a step, one median a round; the rounds of all ways take turns."""
    steps: dict[str, Step] = {}
    for way in ways:
        seed_everything(0)
        steps[way] = WAYS[way][0](recipe_of(workload, optimizer), device)
        with around(steps[way]):
            for _ in range(3):
                steps[way]()
    found: dict[str, list[float]] = {way: [] for way in ways}
    deadline = time.perf_counter() + seconds * len(ways)
    while time.perf_counter() < deadline or len(found["plain"]) < 3:
        for way in ways:
            times: list[float] = []
            until = time.perf_counter() + ROUND_SECS
            with around(steps[way]):
                while not times or time.perf_counter() < until:
                    start = clock()
                    steps[way]()
                    if device.type == "cuda":
                        torch.cuda.synchronize(device)
                    times.append(1000 * (clock() - start))
            found[way].append(statistics.median(times))
    return found


def recipe_of(workload: str, optimizer: str) -> Recipe:
    recipe = RECIPES[workload]()
    if optimizer == "adamw":
        assert isinstance(recipe.model, nn.Module)
        return dataclasses.replace(recipe, optimizer=torch.optim.AdamW(recipe.model.parameters(), lr=1e-3))
    return recipe


def _work(options: argparse.Namespace) -> None:
    """In a process of its own, see `apart`."""
    way = options.ways.removesuffix(KEPT)
    if way != options.ways and not keep_large_blocks():
        raise SystemExit(f"glibc's allocator is left as it is here: {reason_to_leave()}")
    torch.set_num_threads(int(options.threads))
    seed_everything(0)
    step = WAYS[way][0](recipe_of(options.workloads, options.optimizer), torch.device(options.device))
    with around(step):
        work(step, time.thread_time if options.cpu_time else time.perf_counter, options.worker)


def around(step: Step) -> contextlib.AbstractContextManager[None]:
    return step.around() if isinstance(step, ScriptStep) else contextlib.nullcontext()


def peak_bytes(workload: str, way: str, device: str) -> int:
    """The most memory that a process which trains so has needed, beyond what it needed before the model was made."""
    # This file as a program of its own: some tools start processes, or refuse to work in one of multiprocessing's.
    command = [sys.executable, __file__, "--peak", "--workloads", workload, "--ways", way, "--device", device]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    # The tools print, too.
    return next(int(line.split()[1]) for line in output.splitlines() if line.startswith(PEAK))


def _peak(workload: str, way: str, device: str) -> int:
    where = torch.device(device)
    torch.set_num_threads(1)
    before = _highest_since_now()
    seed_everything(0)
    step = WAYS[way][0](RECIPES[workload](), where)
    with around(step):
        for _ in range(3):
            step()
    return torch.cuda.max_memory_allocated(where) if where.type == "cuda" else _highest() - before


def _highest_since_now() -> int:
    """Memory of this process; on Linux its peak is counted anew from here."""
    if sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")
    return _highest()


def _highest() -> int:
    """The most memory that this process has had, in bytes."""
    import resource

    if sys.platform == "linux":
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def ratio_text(times: list[float], plain_times: list[float]) -> str:
    ratios = sorted(one / other for one, other in zip(times, plain_times, strict=True))
    low, middle, high = (ratios[int(share * (len(ratios) - 1))] for share in (0.25, 0.5, 0.75))
    return f"{middle:.2f} ({low:.2f}-{high:.2f})"


def _way(name: str, options: argparse.Namespace) -> str:
    return name.removesuffix(KEPT) if options.apart else name


def _is_installed(module: str) -> bool:
    return not module or importlib.util.find_spec(module) is not None


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--workloads", help="default: all, the largest on a GPU only")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each way, for each workload")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--peak", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--cpu-time", action="store_true", help="the processor's time; for one thread only")
    parser.add_argument("--optimizer", choices=("sgd", "adamw"), default="sgd")
    parser.add_argument(
        "--apart",
        action="store_true",
        help=f"each way in a process of its own; those named WAY{KEPT} keep large blocks",
    )
    parser.add_argument("--worker", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker is not None:
        _work(options)
        return
    options.workloads = options.workloads or ",".join(WORKLOADS if options.device == "cpu" else RECIPES)
    wanted = options.ways.split(",")
    unknown = [name for name in wanted if _way(name, options) not in WAYS] + [
        name for name in options.workloads.split(",") if name not in RECIPES
    ]
    if unknown:
        parser.error(f"{unknown[0]!r} is not known; ways: {', '.join(WAYS)}; workloads: {', '.join(RECIPES)}")
    if options.peak:
        print(PEAK, _peak(options.workloads, options.ways, options.device))
        return
    ways = [way for way in wanted if _is_installed(WAYS[_way(way, options)][1])]
    ways = ["plain", *(way for way in ways if way != "plain")]
    device = torch.device(options.device)
    clock = time.thread_time if options.cpu_time else time.perf_counter
    label = torch.cuda.get_device_name(device) if device.type == "cuda" else active_path()
    print(
        f"torch {torch.__version__}, {device} ({label}); not installed: {', '.join(set(wanted) - set(ways)) or 'none'}"
    )
    for threads in [int(text) for text in options.threads.split(",")]:
        torch.set_num_threads(threads)
        print(f"\n| {threads} thread{'s' * (threads > 1)} | plain step | " + " | ".join(ways[1:]) + " |")
        print("|---|---|" + "---|" * len(ways[1:]))
        for workload in options.workloads.split(","):
            if options.apart:
                arguments = (
                    f"--workloads {workload} --threads {threads} --device {device} --optimizer {options.optimizer}"
                )
                given = arguments.split() + ["--cpu-time"] * options.cpu_time
                found = measure_apart(__file__, given, ways, seconds=options.seconds, round_secs=ROUND_SECS)
            else:
                found = measure(workload, ways, device, options.seconds, clock, options.optimizer)
            cells = [ratio_text(found[way], found["plain"]) for way in ways[1:]]
            print(
                f"| {workload} | {statistics.median(found['plain']):.1f} ms | " + " | ".join(cells) + " |", flush=True
            )
            gc.collect()
    if device.type == "cuda":
        print(f"\nSummaries on {device}: {reason_for_torch(device) or 'one launch a tensor'}")
    if not options.no_memory:
        print("\n| peak memory | " + " | ".join(ways) + " |\n|---|" + "---|" * len(ways))
        for workload in options.workloads.split(","):
            sizes = [f"{peak_bytes(workload, way, options.device) / 2**20:.0f} MB" for way in ways]
            print(f"| {workload} | " + " | ".join(sizes) + " |", flush=True)


if __name__ == "__main__":
    main()
