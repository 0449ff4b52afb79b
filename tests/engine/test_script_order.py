"""Notes on the order of a script's calls: each mistake with its line, and none where there is no mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripted import HEAD_LINES, Followed, follow

SETUP = """\
net = nn.Linear(3, 1)
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
import warnings; warnings.simplefilter("ignore")
def loss_of():
    return net(torch.randn(4, 3)).pow(2).mean()
"""
CLIP = "nn.utils.clip_grad_norm_(net.parameters(), 0.1)"


def line_of(found: Followed, text: str) -> int:
    """Of the only line of the script that is, but for its indentation, this."""
    lines = (Path(found.session.info.path)).read_text("utf-8").splitlines()
    (number,) = [number for number, line in enumerate(lines, 1) if line.strip() == text]
    assert number > HEAD_LINES
    return number


def told(tmp_path: Path, body: str, *, rounds: int = 3) -> tuple[Followed, list[str]]:
    lines = "".join(f"    {line}\n" for line in body.strip().splitlines())
    found = follow(tmp_path, f"{SETUP}for i in range({rounds}):\n{lines}")
    return found, list(dict.fromkeys(found.notes))


def test_gradients_that_are_cleared_before_the_step(tmp_path: Path) -> None:
    found, notes = told(tmp_path, "loss_of().backward()\noptimizer.zero_grad(set_to_none=False)\noptimizer.step()")
    line = line_of(found, "optimizer.zero_grad(set_to_none=False)")
    assert notes == [
        f"The gradients were cleared (script.py, line {line}) between backward and this step: what the backward has computed "
        "is lost"
    ]


def test_a_step_without_gradients(tmp_path: Path) -> None:
    body = """
optimizer.zero_grad()
loss_of().backward()
optimizer.zero_grad()
optimizer.step()
"""
    found, notes = told(tmp_path, body)
    assert len(notes) == 2 and "between backward and this step" in notes[0]
    line = line_of(found, "optimizer.step()")
    assert notes[1] == (
        f"No parameter of this optimizer has a gradient: the step (script.py, line {line}) moves nothing (.grad is None "
        "everywhere)"
    )


def test_clipping_of_scaled_gradients(tmp_path: Path) -> None:
    body = f"optimizer.zero_grad()\nscaler.scale(loss_of()).backward()\n{CLIP}\nscaler.step(optimizer)\nscaler.update()"
    found, notes = told(tmp_path, body)
    assert notes[0] == (
        f"The gradients are clipped (script.py, line {line_of(found, CLIP)}) while they are still multiplied with the loss "
        "scale: call scaler.unscale_(optimizer) before"
    )


def test_unscaling_after_clipping(tmp_path: Path) -> None:
    body = f"""
optimizer.zero_grad()
scaler.scale(loss_of()).backward()
{CLIP}
scaler.unscale_(optimizer)
scaler.step(optimizer)
scaler.update()
"""
    found, notes = told(tmp_path, body)
    clip, unscale = line_of(found, CLIP), line_of(found, "scaler.unscale_(optimizer)")
    assert len(notes) == 2
    assert notes[1] == (
        f"The gradients are unscaled (script.py, line {unscale}) after they were clipped (script.py, line {clip}): the limit "
        "of the clipping applied to scaled gradients; unscale_ comes before clipping"
    )


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (
            "optimizer.zero_grad()\nloss_of().backward()\nscheduler.step()\noptimizer.step()",
            "The scheduler is stepped (script.py, line {}) before the optimizer: this step already uses the next rate, and "
            "the first rate of the schedule is left out",
        ),
        (
            "scheduler.step()\noptimizer.zero_grad()\nloss_of().backward()\noptimizer.step()",
            "The scheduler is stepped (script.py, line {}) before the optimizer has made any step",
        ),
    ],
)
def test_a_scheduler_that_is_stepped_first(tmp_path: Path, body: str, sentence: str) -> None:
    found, notes = told(tmp_path, body)
    assert notes == [sentence.format(line_of(found, "scheduler.step()"))]


@pytest.mark.parametrize(
    "body",
    [
        f"optimizer.zero_grad()\nloss_of().backward()\n{CLIP}\noptimizer.step()\nscheduler.step()",
        "loss_of().backward()\noptimizer.step()\noptimizer.zero_grad()\nscheduler.step()",
        "loss = loss_of()\noptimizer.zero_grad()\nloss.backward()\noptimizer.step()",
        "(loss_of() / 2).backward()\nif i % 2:\n    optimizer.step()\n    scheduler.step()\n    optimizer.zero_grad()",
        "optimizer.zero_grad()\nscaler.scale(loss_of()).backward()\nscaler.unscale_(optimizer)\n"
        f"{CLIP}\nscaler.step(optimizer)\nscaler.update()\nscheduler.step()",
        "optimizer.zero_grad()\nscaler.scale(loss_of() * float('inf' if i == 0 else 1)).backward()\n"
        "scaler.step(optimizer)\nscaler.update()\nscheduler.step()",
        "optimizer.zero_grad()\nloss_of().backward()\noptimizer.step()\nif i % 2:\n    scheduler.step()",
        "def closure():\n    optimizer.zero_grad()\n    loss = loss_of()\n    loss.backward()\n    return loss\n"
        "optimizer.step(closure)\nscheduler.step()",
    ],
    ids=["usual", "zero last", "zero after loss", "accumulation", "scaler", "skipped first", "per epoch", "closure"],
)
def test_silence_where_all_is_in_order(tmp_path: Path, body: str) -> None:
    found, notes = told(tmp_path, body, rounds=4)
    assert len(found.session.history) >= 2
    assert [note for note in notes if "Inf" not in note and "not finite" not in note] == []


GAN = """\
D, G = nn.Linear(2, 1), nn.Linear(3, 2)
optD, optG = torch.optim.Adam(D.parameters()), torch.optim.Adam(G.parameters())
scheds = [torch.optim.lr_scheduler.StepLR(o, 2) for o in (optD, optG)]
for i in range(3):
    D.zero_grad()
    D(torch.randn(4, 2)).mean().backward()
    fake = G(torch.randn(4, 3))
    (-D(fake.detach())).mean().backward()
    optD.step()
    G.zero_grad()
    D(fake).mean().backward()
    optG.step()
    for s in scheds: s.step()
"""


def test_silence_in_a_gan(tmp_path: Path) -> None:
    found = follow(tmp_path, GAN)
    assert found.order == "FBFBSFBS" * 3
    assert found.notes == []


def test_silence_where_a_library_wraps_the_optimizer(tmp_path: Path) -> None:
    """As Accelerate does; the scheduler holds the wrapper."""
    text = f"""{SETUP}
class Wrapped(torch.optim.Optimizer):
    def __init__(self, optimizer): self.optimizer = optimizer
    param_groups = property(lambda self: self.optimizer.param_groups, lambda self, groups: None)
    def step(self, closure=None): return self.optimizer.step(closure)
wrapped = Wrapped(optimizer)
scheduler.optimizer = wrapped
for i in range(3):
    optimizer.zero_grad()
    loss_of().backward()
    wrapped.step()
    scheduler.step()
"""
    found = follow(tmp_path, text)
    assert found.order == "FBS" * 3
    assert found.notes == []
    assert found.session.info.scheduler == "StepLR"
