"""Which moment numbers are of, and which gradient it is: window, loss scale, clipping, turn."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from gradscope.protocol.failure import Failure, FailureKind
from gradscope.protocol.messages import Failed, Report, SessionChanged
from gradscope.protocol.phases import Phase
from gradscope.protocol.source import SourceLine
from gradscope.protocol.subjects import SubjectKey, SubjectKind
from gradscope.state.app_state import AppState
from gradscope.ui.plots.words.moment_text import moment_of, newest_moment
from gradscope.ui.words.optimizer_states import meaning_of, name_of
from tests.ui.fakes import FakeTraining, full_training, small_training

K = SubjectKind
WEIGHT = "net.0.weight"


def play(state: AppState, *streams: Iterator[object]) -> None:
    for stream in streams:
        for message in stream:
            state.apply(message)


def opened(training: FakeTraining) -> AppState:
    state = AppState()
    play(state, training.opened())
    return state


def text_of(state: AppState, kind: SubjectKind, name: str = WEIGHT, leaf: str = "") -> str:
    latest = state.history.latest(SubjectKey(kind, name, leaf=leaf))
    assert latest is not None
    return moment_of(state, latest)


def test_a_window_s_gradient_says_what_is_in_the_sum_what_it_was_divided_by_and_what_comes() -> None:
    training = full_training()
    state = opened(training)
    assert newest_moment(state, K.GRAD) == ""
    play(state, training.forward(), training.backward())
    scale, clip = "divided by the loss scale 65536", "before clipping"
    first = "Gradient of loss / 2, micro-batch 1 of 2, batch 0 of epoch 0, before step 0"
    assert text_of(state, K.GRAD) == f"{first}; {scale}; {clip}"
    assert text_of(state, K.ACTIVATION, "net.0") == "Forward of step 0, micro-batch 1 of 2, batch 0 of epoch 0"
    play(state, training.forward(), training.backward())
    both = "Gradients of loss / 2, micro-batches 1 to 2 of 2 added up, batch 0 of epoch 0, before step 0"
    assert text_of(state, K.GRAD) == newest_moment(state, K.GRAD) == f"{both}; {scale}; {clip}"
    second = "Gradient of loss / 2, micro-batch 2 of 2, batch 0 of epoch 0, before step 0"
    assert text_of(state, K.ACTIVATION_GRAD, "net.0") == f"{second}; {scale}"


def test_in_a_script_nobody_knows_a_divisor() -> None:
    training = full_training()
    state = opened(training)

    def of_script(messages: Iterator[object]) -> Iterator[object]:
        line = SourceLine("/home/me/train.py", 3)
        return (replace(message, line=line) if isinstance(message, Report) else message for message in messages)

    play(state, of_script(training.forward()), of_script(training.backward()))
    assert text_of(state, K.GRAD).startswith("Gradient of the loss, batch 0")
    play(state, of_script(training.forward()), of_script(training.backward()))
    assert text_of(state, K.GRAD).startswith("Gradients of 2 backwards added up, ")
    assert text_of(state, K.ACTIVATION_GRAD, "net.0").startswith("Gradient of the loss, backward 2 of step 0, ")
    assert text_of(state, K.ACTIVATION, "net.0").startswith("Forward of step 0, micro-batch 2, ")


def test_the_clipped_gradient_says_by_how_much() -> None:
    training = small_training(settings={"clip_norm": 1.0})
    state = opened(training)
    play(state, training.steps(1))
    text = "Gradient after clipping, in step 0, batch 0 of epoch 0; multiplied with 0.3333 by clip_norm"
    assert text_of(state, K.CLIPPED_GRAD) == text
    training = small_training(settings={"clip_norm": 1.0, "clip_value": 0.5})
    state = opened(training)
    play(state, training.steps(1))
    assert text_of(state, K.CLIPPED_GRAD) == f"{text}; cut off at ±0.5 by clip_value"


def test_a_plain_recipe_is_told_plainly() -> None:
    training = small_training()
    state = opened(training)
    play(state, training.steps(1))
    assert text_of(state, K.GRAD) == "Gradient of the loss, batch 0 of epoch 0, before step 0"
    assert text_of(state, K.UPDATE) == "Change made by step 0, batch 0 of epoch 0"
    # Of an older step its report is not known any more.
    old = state.history.latest(SubjectKey(K.GRAD, WEIGHT))
    play(state, training.steps(1))
    assert old is not None and moment_of(state, old) == "Gradient of the loss, before step 0"


def test_manual_zero_grad_and_the_turn_are_told() -> None:
    training = small_training(settings={"zero_grad": "manual", "optimizers": ("d", "g")})
    state = opened(training)
    play(state, training.steps(1), training.forward(), training.backward())
    assert text_of(state, K.GRAD) == (
        "Gradient of the loss, batch 1 of epoch 0, before step 1; turn of g; "
        "added to what has been there since the last Zero grad"
    )


def test_a_gradient_that_belongs_to_another_optimizer_says_so() -> None:
    training = small_training(settings={"optimizers": ("d", "g"), "clip_norm": 1.0})
    state = opened(training)
    session = state.session
    assert session is not None
    group = session.groups[0]
    own = replace(group, parameters=("net.2.weight",), optimizer="g")
    state.apply(SessionChanged(session=replace(session, groups=(replace(group, optimizer="d"), own))))
    play(state, training.steps(1), training.forward(), training.backward())
    foreign = text_of(state, K.GRAD)
    assert foreign.endswith("; turn of g; added to what the turn of d has left, and not used")
    assert "before clipping" not in foreign


def test_a_cleared_gradient_says_so() -> None:
    training = small_training()
    state = opened(training)
    play(state, training.forward(), training.backward())
    state.set_cleared()
    assert text_of(state, K.GRAD).endswith("; Zero grad has cleared it since")
    assert "cleared" not in text_of(state, K.ACTIVATION_GRAD, "net.0")
    play(state, training.optimizer_step(), training.forward(), training.backward())
    assert "cleared" not in text_of(state, K.GRAD)


def test_a_skipped_step_has_changed_nothing() -> None:
    training = full_training()
    state = opened(training)
    play(state, training.steps(1))
    assert text_of(state, K.UPDATE) == "Step 0 was skipped and changed nothing"


def test_optimizer_state_is_explained() -> None:
    training = full_training()
    state = opened(training)
    play(state, training.steps(2))
    assert text_of(state, K.OPTIMIZER_STATE, leaf=".exp_avg") == (
        "Running mean of the gradients. After step 1, batch 1 of epoch 0"
    )
    assert name_of(".exp_avg") == "exp_avg"
    assert meaning_of(".something_of_their_own") == ""


@pytest.mark.parametrize("kind", list(K))
def test_every_kind_has_a_moment(kind: SubjectKind) -> None:
    training = full_training(buffers={"net.1.running_mean": (16,)})
    state = opened(training)
    play(state, training.steps(2))
    assert newest_moment(state, kind)


def test_a_phase_without_numbers_of_its_own_does_not_put_its_name_to_older_ones() -> None:
    training = small_training()
    state = opened(training)
    play(state, training.steps(2))
    told = newest_moment(state, K.UPDATE)
    assert "step 1" in told
    step = state.reports[Phase.STEP]
    nothing = {"subjects": step.subjects[:0], "summaries": step.summaries[:0], "histograms": step.histograms[:0]}
    state.apply(replace(step, step=2, complete=False, sampled=step.sampled[:0], **nothing))
    assert newest_moment(state, K.UPDATE).startswith("Change made by step 1")
    state.apply(Failed(failure=Failure(kind=FailureKind.USER_CODE, sentence="no"), position=state.position))
    assert newest_moment(state, K.UPDATE) == told
