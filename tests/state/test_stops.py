"""The stops that the app knows: what a person does to them, and what the engine tells of them."""

from __future__ import annotations

from gradscope.protocol import messages as m
from gradscope.protocol.phases import Moment, Position, Rest, SubStep
from gradscope.protocol.stops.point import MAX_STOPS, StopHit
from gradscope.state.log import Log
from gradscope.state.stops import StopsState, Wanted
from gradscope.state.topics import Topic

HERE = Moment(step=3, substep=SubStep.FORWARD, event="enter", layer="net.1")


def state_with(*texts: str) -> StopsState:
    state = StopsState()
    for text in texts:
        state.add(Wanted(text=text))
    return state


def hit(number: int, hits: int = 1, sentence: str = "grad.l2 is 12.4, above 10") -> StopHit:
    return StopHit(id=number, hits=hits, step=3, moment=HERE, subject="net.1", sentence=sentence)


def texts(state: StopsState) -> list[str]:
    return [point.text for point in state.points]


def done() -> m.Done:
    return m.Done(position=Position(rest=Rest.READY))


def test_numbers_are_never_given_twice() -> None:
    state = state_with("any nan", "backward")
    state.remove([0])
    state.add(Wanted(text="at step 4"))
    assert [point.id for point in state.points] == [1, 2]
    state.change(1, Wanted(text="forward"))
    assert [(point.id, point.text) for point in state.points] == [(3, "forward"), (2, "at step 4")], (
        "and keep their place"
    )


def test_what_is_there_already_is_turned_on() -> None:
    state = state_with("any nan")
    state.enable([0], False)
    again = state.add(Wanted(text="any nan"))
    assert again is not None and again.id == 0 and [point.is_enabled for point in state.points] == [True]


def test_there_is_an_end_to_them() -> None:
    state = state_with(*(f"at step {i}" for i in range(MAX_STOPS)))
    assert state.add(Wanted(text="any nan")) is None and len(state.points) == MAX_STOPS


def test_hits_belong_to_what_was_set() -> None:
    state, log = state_with("any nan", "grad.l2 > 10"), Log()
    assert set(state.hear(m.Stopped(hits=(hit(1, 4), hit(77))), log)) == {Topic.STOPS, Topic.LOG}
    assert state.hits.keys() == {1} and state.is_now(1) and not state.is_now(0)
    assert [line.text for line in log.lines] == ["Step 3: grad.l2 is 12.4, above 10"] * 2
    changed = state.change(1, Wanted(text="grad.l2 > 10", is_enabled=False))
    assert changed is not None and changed.id == 1 and 1 in state.hits, "only turned off"
    state.change(1, Wanted(text="grad.l2 > 20"))
    assert state.hits == {} and not state.is_now(1)


def test_it_stands_there_until_something_else_is_done() -> None:
    state, log = state_with("any nan"), Log()
    state.hear(m.Stopped(hits=(hit(0),)), log)
    assert state.hear(done(), log) == () and state.is_now(0), "the end of the run that has stopped there"
    assert state.hear(done(), log) == (Topic.STOPS,) and not state.is_now(0)
    assert state.hits[0].hits == 1, "how often it has held stays"
    state.hear(m.Stopped(hits=(hit(0, 2),)), log)
    position = Position(rest=Rest.READY)
    assert state.hear(m.Moved(position=position), log) == () and state.is_now(0)


def test_those_of_a_file_are_taken_over_with_their_hits() -> None:
    state, log = state_with("any nan", "backward"), Log()
    state.hear(m.Stopped(hits=(hit(0), hit(1))), log)
    assert not state.replace_all(state.as_wanted())
    assert state.replace_all([Wanted(text="backward"), Wanted(text="forward", is_enabled=False, every=3)])
    assert texts(state) == ["backward", "forward"] and state.hits.keys() == {1}
    assert state.as_wanted()[1] == Wanted(text="forward", is_enabled=False, every=3)
