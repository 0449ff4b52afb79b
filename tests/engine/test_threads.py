"""A model that calls its layers on several threads: every number stands at its own layer."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import zoo
from torch import Tensor, nn

from gradscope import Session
from gradscope.protocol import absences

LAYERS = 80
"""More than there is room for at first."""


class Spread(nn.Module):
    """Each layer on one of several threads."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        super().__init__()
        self.pool = [pool]
        # Of sizes that take the summary long enough for the threads to meet in it.
        self.branches = nn.ModuleList(nn.Linear(zoo.FEATURES, 2048) for _ in range(LAYERS))
        self.head = nn.Linear(2048, zoo.CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(sum(self.pool[0].map(lambda layer: layer(x), self.branches)))


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as executor:
        yield executor


def test_every_number_stands_at_its_own_layer(pool: ThreadPoolExecutor) -> None:
    torch.manual_seed(0)
    model = Spread(pool)
    for i, layer in enumerate(model.branches):
        nn.init.constant_(layer.bias, float(i))
    with Session(zoo.classifier(model, batch_size=64, dataset=zoo.vectors(64))) as session:
        for _ in range(5):
            report = session.forward()
            shown = {s.name: s.l2 for s in report.subjects}
            for i in range(LAYERS):
                name = f"branches.{i}"
                values = session.values(next(s.key for s in report.subjects if s.name == name))
                assert shown[name] == pytest.approx(float(values.double().norm()), rel=1e-6)
            assert len(report.subjects) == len(report.raw.summaries) == LAYERS + 2
            assert not [a for a in report.absent if a.reason == absences.RAISED]
            places = [session.observer.tables.places.rows[n] for n in report.raw.places]
            assert len(places) == len(report.raw.times)
            session.backward()
            session.step()
        assert session.observer.errors == []
