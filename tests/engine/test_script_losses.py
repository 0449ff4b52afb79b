"""The loss of a script: what backward began at."""

from __future__ import annotations

import weakref
from pathlib import Path

import pytest
import torch
from scripted import Followed, follow

from gradscope.engine.script.finding import losses
from gradscope.protocol.phases import Phase

SETUP = """\
net = nn.Linear(3, 1)
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
true = []
x = torch.randn(4, 3)
"""


def shown(found: Followed) -> list[float | None]:
    return [report.loss for report in found.reports(Phase.BACKWARD)]


def test_a_scaled_loss_is_shown_as_the_script_has_it(tmp_path: Path) -> None:
    text = f"""{SETUP}
scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
for i in range(3):
    loss = net(x).pow(2).mean()
    true.append(loss.item())
    scaler.scale(loss).backward()
    scaler.step(optimizer); scaler.update(); optimizer.zero_grad()
for i in range(2):
    true.append(net(x).pow(2).mean().item())
    scaled = scaler.scale(net(x).pow(2).mean())
    scaled.backward()
    scaler.step(optimizer); scaler.update(); optimizer.zero_grad()
"""
    found = follow(tmp_path, text)
    true = found.space["true"]
    assert shown(found)[:3] == true[:3]
    assert shown(found)[3:] == pytest.approx(true[3:])
    names = [passage.loss_name for report, passage in found.recorder.phases if report.phase is Phase.FORWARD]
    assert names[:3] == ["loss"] * 3
    assert {report.scale for report in found.reports(Phase.BACKWARD)} == {1024.0}


def test_several_roots(tmp_path: Path) -> None:
    text = f"""{SETUP}
for i in range(2):
    one, two = net(x).mean(), net(x).pow(2).mean()
    true.append((one.item(), two.item()))
    torch.autograd.backward([one, two])
    optimizer.step(); optimizer.zero_grad()
"""
    found = follow(tmp_path, text)
    assert shown(found) == [sum(pair) for pair in found.space["true"]]
    parts = [passage.losses for report, passage in found.recorder.phases if report.phase is Phase.BACKWARD]
    assert parts == found.space["true"]
    assert set(found.notes) == {"backward began at 2 tensors: the loss that is shown is their sum"}


def test_a_loss_that_is_no_number(tmp_path: Path) -> None:
    text = f"""{SETUP}
for i in range(2):
    loss = net(x)
    loss.backward(torch.ones_like(loss))
    optimizer.step(); optimizer.zero_grad()
"""
    found = follow(tmp_path, text)
    assert found.order == "FBSFBS"
    assert shown(found) == [None, None]
    assert set(found.notes) == {"The loss is a tensor of shape (4, 1): it is no number that could be shown"}


def test_one_of_several_roots_is_no_number() -> None:
    found = losses.described([torch.ones(2), torch.ones(())])
    assert found.value is None and found.parts == (None, 1.0)


def test_the_losses_of_a_window_are_added_up(tmp_path: Path) -> None:
    text = f"""{SETUP}
for i in range(4):
    loss = net(x).pow(2).mean() / 2
    true.append(loss.item())
    loss.backward()
    if i % 2:
        optimizer.step(); optimizer.zero_grad()
"""
    found = follow(tmp_path, text)
    true = found.space["true"]
    assert found.order == "FBFBS" * 2
    assert [report.loss for report in found.reports(Phase.STEP)] == [true[0] + true[1], true[2] + true[3]]
    assert [passage.backwards for report, passage in found.recorder.phases if report.phase is Phase.STEP] == [2, 2]


def test_two_backwards_over_one_graph_have_one_forward(tmp_path: Path) -> None:
    text = f"""{SETUP}
out = net(x)
out.mean().backward(retain_graph=True)
out.pow(2).mean().backward()
optimizer.step()
"""
    assert follow(tmp_path, text).order == "FBBS"


def test_a_gradient_for_a_penalty_is_a_part_of_the_forward(tmp_path: Path) -> None:
    text = f"""{SETUP}
x.requires_grad_()
out = net(x)
penalty = torch.autograd.grad(out.sum(), x, create_graph=True)[0].norm()
loss = out.mean() + penalty
loss.backward()
optimizer.step()
true.append(loss.item())
"""
    found = follow(tmp_path, text)
    assert found.order == "FBS" and shown(found) == found.space["true"]


def test_scaled_tensors_are_not_kept_alive() -> None:
    scaled, loss = torch.ones(()), torch.ones(())
    known = losses.Scaled()
    known.note(scaled, loss, 2.0)
    assert known.loss_of(scaled) == (loss, 2.0)
    gone = weakref.ref(loss)
    del loss
    assert gone() is None
    assert known.loss_of(scaled) == (torch.tensor(0.5), 2.0)
    assert known.loss_of(other := torch.ones(())) == (other, None)
