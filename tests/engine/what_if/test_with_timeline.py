"""Beside a timeline: what is tried changes no hash, the way back is the same, and past steps are on the path."""

from __future__ import annotations

import plain
import pytest
from tried import KINDS
from zoo_parts import classifier, mlp

from gradscope import Session
from gradscope.protocol.what_if.tried import Alternative


@pytest.mark.parametrize("kind", ["adam", "one cycle", "half precision", "lbfgs"])
def test_no_hash_is_another_and_the_way_back_leads_to_the_same(kind: str) -> None:
    session = Session(plain.seeded(KINDS[kind]), seed=0, timeline_bytes=2**26)
    session.next_batch()
    session.set_probe("newest", mode="train")
    hashes = []
    for _ in range(3):
        hashes.append(session.state_hash())
        session.what_if([Alternative(), Alternative(rate=30.0)])
        session.loss_surface(side=2)
        assert session.state_hash() == hashes[-1]
        session.next_batch()
    end = session.state_hash()
    for step, before in ((3, hashes[2]), (1, hashes[0])):
        session.go_to(step)
        assert session.state_hash() == before
        session.what_if([Alternative()]) if session.loop.batch is not None else None
    for _ in range(3):
        session.next_batch()
    assert session.state_hash() == end
    assert [record.step for record in session.probe_records] == [1, 2, 3, 4], "one for each step of the way it is on"


def test_the_path_has_all_steps_that_are_kept() -> None:
    session = Session(plain.seeded(lambda: classifier(mlp())), seed=0, timeline_bytes=2**26)
    for _ in range(4):
        session.next_batch()
    surface = session.loss_surface(side=2)
    assert surface.path_steps.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0] and surface.path[-1].tolist() == [0.0, 0.0]
    alone = Session(plain.seeded(lambda: classifier(mlp())), seed=0)
    for _ in range(4):
        alone.next_batch()
    newest = alone.loss_surface(side=2)
    assert newest.path_steps.tolist() == [3.0, 4.0]
    assert surface.path[3].tolist() == pytest.approx(newest.path[0].tolist())
