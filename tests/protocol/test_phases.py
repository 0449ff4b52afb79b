"""The phase table is consistent, and every refusal says why."""

import pytest

from gradscope.protocol.phases import (
    AFTER,
    ALLOWED,
    AT_REST,
    BEFORE,
    INSIDE,
    NEXT_PHASE,
    OF_A_RECIPE,
    PHASE_OF_SUBSTEP,
    Phase,
    Rest,
    Verb,
    refusal,
)


def test_a_full_step_goes_round_the_table() -> None:
    rest = Rest.READY
    for phase in Phase:
        assert BEFORE[phase] is rest
        assert NEXT_PHASE[rest] is phase
        assert Verb(phase.value) in ALLOWED[rest]
        assert NEXT_PHASE[INSIDE[phase]] is phase
        rest = AFTER[phase]
    assert rest is Rest.READY


@pytest.mark.parametrize("rest", [rest for rest in Rest if rest not in (Rest.EMPTY, Rest.ENDED)])
def test_one_phase_is_allowed_in_each_place(rest: Rest) -> None:
    phases = [phase for phase in Phase if refusal(rest, Verb(phase.value)) is None]
    assert phases == [NEXT_PHASE[rest]]


@pytest.mark.parametrize("rest", list(Rest))
@pytest.mark.parametrize("verb", list(Verb))
@pytest.mark.parametrize("running", [False, True])
def test_what_is_not_allowed_is_said_why(rest: Rest, verb: Verb, running: bool) -> None:
    reason = refusal(rest, verb, running=running)
    assert reason is None or (len(reason) > 10 and not reason.endswith("."))


def test_running_leaves_pause_and_reset() -> None:
    free = {verb for verb in Verb if refusal(Rest.READY, verb, running=True) is None}
    assert free == {Verb.PAUSE, Verb.RESET}


def test_words_for_the_common_mistakes() -> None:
    assert refusal(Rest.READY, Verb.BACKWARD) == "Backward needs a forward"
    assert refusal(Rest.EMPTY, Verb.RUN) == "Open a script or a recipe first"


def test_sub_steps_are_in_order() -> None:
    order = "batch, zero grad, forward, loss, backward, unscale, clip, step, update, validate, schedule"
    assert ", ".join(s.value for s in OF_A_RECIPE) == order
    phases = [PHASE_OF_SUBSTEP[s] for s in OF_A_RECIPE]
    assert phases == sorted(phases, key=list(Phase).index)


def test_between_two_phases_gradients_can_be_cleared() -> None:
    assert {Rest.READY, Rest.FORWARD, Rest.ACCUMULATING, Rest.BACKWARD} == AT_REST
    for rest in Rest:
        for verb in (Verb.ZERO_GRAD, Verb.VALIDATE):
            assert (refusal(rest, verb) is None) == (rest in AT_REST)


def test_layers_are_stepped_through_from_inside_a_phase() -> None:
    stands_inside = set(INSIDE.values())
    for rest in set(Rest) - {Rest.EMPTY, Rest.ENDED}:
        for in_script in (False, True):
            assert refusal(rest, Verb.INTO, in_script=in_script) is None
            for verb in (Verb.OVER, Verb.OUT):
                assert (refusal(rest, verb, in_script=in_script) is None) == (rest in stands_inside)
