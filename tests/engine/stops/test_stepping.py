"""Stepping through layers, running to a place and stopping at points: a real engine, that serves what it is asked there."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peer import Peer

from gradscope import Session, load_recipe
from gradscope.protocol import messages
from gradscope.protocol.phases import Position, Rest, RunUntil, SubStep, Verb, refusal
from gradscope.protocol.stops.point import StopPoint
from gradscope.protocol.subjects import SubjectKey, SubjectKind

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

RECIPE = """
import torch
from torch import nn
from gradscope import Recipe

def recipe():
    model = nn.Sequential(nn.Sequential(nn.Linear(6, 6), nn.Tanh()), nn.Linear(6, 3))
    data = torch.utils.data.TensorDataset(torch.randn(24, 6), torch.randint(0, 3, (24,)))
    return Recipe(model=model, dataset=data, loss=nn.CrossEntropyLoss(), batch_size=8,
                  optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
"""


@pytest.fixture(scope="module")
def shared() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.close()


@pytest.fixture
def peer(shared: Peer, write_recipe: Callable[..., Path]) -> Peer:
    assert isinstance(shared.ask(messages.SetStops(stops=())), messages.Pong)
    assert isinstance(shared.open(write_recipe(RECIPE)), messages.Opened)
    shared.drain()
    return shared


def told(position: Position) -> str:
    moment = position.moment
    if moment is None:
        return position.rest.value
    return f"{moment.event} {moment.layer or '(model)'}" if moment.event else moment.substep.value


def walk(peer: Peer, *verbs: Verb) -> list[str]:
    places = []
    for verb in verbs:
        done = peer.go(verb)
        assert isinstance(done, messages.Done), done
        assert done.paused == (done.position.moment is not None)
        places.append(told(done.position))
    return places


def test_into_every_layer_of_a_forward(peer: Peer) -> None:
    assert walk(peer, *[Verb.INTO] * 14) == [
        *(
            "batch",
            "zero grad",
            "enter (model)",
            "enter 0",
            "enter 0.0",
            "leave 0.0",
            "enter 0.1",
            "leave 0.1",
            "leave 0",
        ),
        *("enter 1", "leave 1", "leave (model)", "forward", "loss"),
    ]
    assert walk(peer, Verb.INTO) == ["forward"]


def test_over_a_container_and_out_of_it(peer: Peer) -> None:
    walk(peer, *[Verb.INTO] * 4)
    assert walk(peer, Verb.OVER, Verb.OVER, Verb.OVER) == ["leave 0", "enter 1", "leave 1"]
    peer.go(Verb.FORWARD)
    peer.go(Verb.NEXT_BATCH)
    assert walk(peer, *[Verb.INTO] * 5)[-1] == "enter 0.0"
    assert walk(peer, Verb.OUT, Verb.OUT, Verb.OUT) == ["leave 0", "leave (model)", "forward"]


def test_back_through_the_layers(peer: Peer) -> None:
    peer.go(Verb.FORWARD)
    places = walk(peer, *[Verb.INTO] * 3)
    assert set(places) == {"gradient (model)", "gradient 1", "gradient 1.bias"}
    peer.go(Verb.BACKWARD)
    peer.go(Verb.STEP)
    peer.go(Verb.FORWARD)
    seen = []
    while (place := walk(peer, Verb.INTO)[0]) != Rest.BACKWARD.value:
        seen.append(place)
        if place == "gradient 0":
            assert walk(peer, Verb.OVER) == ["backward"]
            break
    assert "gradient 1.weight" in seen and "gradient 0.0.weight" not in seen


def test_out_of_a_container_in_a_backward(peer: Peer) -> None:
    peer.go(Verb.FORWARD)
    assert told(peer.go(Verb.RUN, to="gradient 0.1").position) == "gradient 0.1"
    assert walk(peer, Verb.OUT) == ["backward"]


def test_stepping_begins_inside(peer: Peer) -> None:
    for verb in (Verb.OVER, Verb.OUT):
        failed = peer.go(verb)
        assert failed.failure.sentence == "Nothing is running that could be stepped through: press Into first"


def test_run_to_a_place_once(peer: Peer) -> None:
    done = peer.go(Verb.RUN, to="enter 1 if step > 1")
    assert done.paused and (told(done.position), done.position.step) == ("enter 1", 2)
    assert not any(isinstance(message, messages.Stopped) for message in peer.drain())
    done = peer.run_steps(2)
    assert not done.paused and done.position.step == 4
    done = peer.go(Verb.RUN, to="step 6")
    assert (done.paused, done.position.step, done.position.rest) == (True, 6, Rest.READY)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"to": "enter nowhere"}, "'enter nowhere' cannot hold: nothing here is called nowhere"),
        ({"to": "enter"}, "'enter' ends at column 6; expected the name of a layer, or a pattern such as encoder.*"),
    ],
)
def test_a_place_that_cannot_be(peer: Peer, options: dict[str, Any], said: str) -> None:
    failed = peer.go(Verb.RUN, **options)
    assert failed.failure.sentence == said
    assert failed.position.rest is Rest.READY
    assert "expected the verb run" in peer.go(Verb.FORWARD, to="backward").failure.sentence


def test_a_point_stops_a_run_and_everything_is_served_there(peer: Peer) -> None:
    points = (StopPoint(id=7, text="leave 0.1"), StopPoint(id=8, text="grad.l2 > 0 in 1.weight", every=2))
    assert isinstance(peer.ask(messages.SetStops(stops=points)), messages.Pong)
    done = peer.go(Verb.RUN)
    assert (done.paused, done.position.running, told(done.position)) == (True, False, "leave 0.1")
    seen = peer.drain()
    (stopped,) = [message for message in seen if isinstance(message, messages.Stopped)]
    dones = [message for message in seen if isinstance(message, messages.Done)]
    assert seen.index(stopped) < seen.index(dones[0])
    (hit,) = stopped.hits
    assert (hit.id, hit.hits, hit.step, hit.moment, hit.subject) == (7, 1, 0, done.position.moment, "0.1")
    page = peer.ask(messages.FetchPage(subject=SubjectKey(SubjectKind.ACTIVATION, "0.0")))
    assert isinstance(page, messages.Page) and page.shape == (8, 6)
    report = [message for message in seen if isinstance(message, messages.Report)][-1]
    assert not report.complete
    places = [told(peer.go(Verb.RUN).position) for _ in range(3)]
    assert places == ["leave 0.1", "gradient 1.weight", "leave 0.1"]
    hits = [hit for message in peer.drain() if isinstance(message, messages.Stopped) for hit in message.hits]
    assert [(hit.id, hit.hits) for hit in hits] == [(7, 2), (8, 2), (7, 3)]
    assert hits[1].sentence.startswith("grad.l2 of 1.weight is ")
    assert hits[1].sentence.endswith(", above 0")


def test_hits_stay_with_their_numbers_and_a_wrong_text_changes_nothing(peer: Peer) -> None:
    peer.ask(messages.SetStops(stops=(StopPoint(id=1, text="loss"),)))
    assert peer.go(Verb.RUN).position.moment.substep is SubStep.LOSS
    failed = peer.ask(messages.SetStops(stops=(StopPoint(id=2, text="backward"), StopPoint(id=1, text="losss"))))
    assert failed.failure.sentence.startswith("'losss' has 'losss' at column 1; expected a place")
    peer.drain()
    assert peer.go(Verb.RUN).position.step == 1
    peer.ask(
        messages.SetStops(stops=(StopPoint(id=1, text="backward"), StopPoint(id=3, text="enter 1", is_enabled=False)))
    )
    assert peer.go(Verb.RUN).position.moment.substep is SubStep.BACKWARD
    hits = [hit for message in peer.drain() if isinstance(message, messages.Stopped) for hit in message.hits]
    assert [hit.hits for hit in hits] == [2, 3]
    peer.ask(messages.SetStops(stops=()))
    assert not peer.run_steps(1).paused


def test_points_that_are_set_while_it_runs_stop_it(peer: Peer) -> None:
    number = peer.send(messages.Go(verb=Verb.RUN, until=RunUntil.PAUSED))
    peer.event(messages.Report)
    assert isinstance(peer.ask(messages.SetStops(stops=(StopPoint(id=1, text="enter 1"),))), messages.Pong)
    done = peer.reply(number)
    assert done.paused and told(done.position) == "enter 1"


def test_what_cannot_hold_is_noted(peer: Peer) -> None:
    points = (StopPoint(id=1, text="enter conv"), StopPoint(id=2, text="unscale"), StopPoint(id=3, text="schedule"))
    assert isinstance(peer.ask(messages.SetStops(stops=points)), messages.Pong)
    notes = [message.text for message in peer.drain() if isinstance(message, messages.Note)]
    assert notes == [
        "The stop 'enter conv' cannot hold: nothing here is called conv",
        "The stop 'unscale' cannot hold: there is no 'unscale' to stop at in this training",
    ]


def test_what_cannot_hold_any_more_is_noted_when_training_goes_on(peer: Peer) -> None:
    peer.ask(messages.SetStops(stops=(StopPoint(id=1, text="activation.mean > 1e9"),)))
    assert not [message for message in peer.drain() if isinstance(message, messages.Note)]
    assert isinstance(peer.ask(messages.SetCapture(capture="norms")), messages.Pong)
    for _ in range(2):
        peer.run_steps(1)
    notes = [message.text for message in peer.drain() if isinstance(message, messages.Note)]
    assert notes == [
        "The stop 'activation.mean > 1000000000' cannot hold: only norms are captured, so mean is not known"
    ]


def test_reset_keeps_the_points(peer: Peer) -> None:
    peer.ask(messages.SetStops(stops=(StopPoint(id=1, text="at step 2"),)))
    assert peer.go(Verb.RUN).position.step == 2
    assert isinstance(peer.ask(messages.Reset()), messages.Opened)
    done = peer.go(Verb.RUN)
    assert (done.paused, done.position.step) == (True, 2)


@pytest.mark.parametrize("seed", range(3))
def test_a_walk_through_the_layers_changes_nothing(peer: Peer, write_recipe: Callable[..., Path], seed: int) -> None:
    chooser = random.Random(seed)
    peer.ask(
        messages.SetStops(stops=(StopPoint(id=1, text="update_ratio > 0", every=3), StopPoint(id=2, text="leave 0.*")))
    )
    strides = [Verb.INTO] * 4 + [Verb.OVER, Verb.OUT, Verb.RUN]
    position = Position(rest=Rest.READY)
    for _ in range(120):
        allowed = [verb for verb in strides if refusal(position.rest, verb) is None]
        done = peer.go(chooser.choice(allowed))
        assert isinstance(done, messages.Done), done
        position = done.position
    peer.ask(messages.SetStops(stops=()))
    steps = position.step + 2
    while position.step < steps or position.rest is not Rest.READY:
        position = peer.go(Verb.NEXT_BATCH).position
    with Session(load_recipe(write_recipe(RECIPE))) as session:
        while session.position.step < position.step:
            session.advance()
        assert isinstance(session.recipe.model, torch.nn.Module)
        for name, parameter in session.recipe.model.named_parameters():
            page = peer.ask(messages.FetchPage(subject=SubjectKey(SubjectKind.PARAMETER, name)))
            np.testing.assert_array_equal(page.values.reshape(parameter.shape), parameter.detach().numpy())


def test_stopped_inside_the_next_batch_can_be_wanted(peer: Peer) -> None:
    walk(peer, *[Verb.INTO] * 5)
    done = peer.go(Verb.NEXT_BATCH)
    assert (done.position.rest, done.position.step) == (Rest.READY, 1)
