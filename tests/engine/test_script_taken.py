"""`torch.autograd.grad` as the backward of a script: what is said of what could not be seen the first time."""

from __future__ import annotations

import warnings
from pathlib import Path

from scripted import follow

from gradscope.protocol import absences
from gradscope.protocol.phases import Phase, SubStep

TEXT = """\
net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
spare = nn.Linear(3, 1)
trained = [*net.parameters(), *spare.parameters()]
optimizer = torch.optim.SGD(trained, lr=0.1)
x = torch.randn(4, 3)
for i in range(3):
    gradients = torch.autograd.grad(net(x).pow(2).mean(), trained, allow_unused=True)
    for parameter, gradient in zip(trained, gradients):
        parameter.grad = gradient
    optimizer.step()
"""


def test_what_came_too_late_to_be_seen_is_not_called_unreached(tmp_path: Path) -> None:
    first, *later = follow(tmp_path, TEXT).reports(Phase.BACKWARD)
    reasons = {absence.name: absence.reason for absence in first.absent}
    assert {reasons[name] for name in ("net.0", "net.1", "net.2")} == {absences.SEEN_LATE}
    assert len(later) == 2
    for report in later:
        told = {absence.name: absence.reason for absence in report.absent}
        assert not {"net.0", "net.1", "net.2"} & told.keys()
        assert absences.SEEN_LATE not in told.values()
        assert told["spare.weight"] == absences.NO_GRADIENT


def test_weights_that_stand_in_for_a_models_are_left_alone(tmp_path: Path) -> None:
    """Inside functional_call a model holds tensors with a graph: torch warns whoever asks for their gradients."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        followed = follow(
            tmp_path,
            """
            net = nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1))
            meta = torch.optim.Adam(net.parameters(), 1e-2)
            x, y = torch.randn(8, 1), torch.randn(8, 1)
            for _ in range(3):
                meta.zero_grad()
                for _ in range(2):
                    weights = dict(net.named_parameters())
                    loss = nn.functional.mse_loss(torch.func.functional_call(net, weights, (x,)), y)
                    taken = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
                    fast = {name: w - 0.1 * g for (name, w), g in zip(weights.items(), taken)}
                    total = nn.functional.mse_loss(torch.func.functional_call(net, fast, (x,)), y)
                    total.backward()
                meta.step()
            """,
        )
    assert not [str(warning.message) for warning in caught]
    assert not [station for station in followed.stations(SubStep.ZERO_GRAD) if station.detail == "by hand"]
    assert len(followed.reports(Phase.STEP)) == 3
