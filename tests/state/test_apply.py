"""What each message changes in the state, and which views hear of it."""

from dataclasses import replace

import numpy as np
import pytest

from gradscope.protocol import messages as m
from gradscope.protocol.failure import Failure, FailureKind
from gradscope.protocol.phases import Phase, Position, Rest, SubStep, Verb
from gradscope.protocol.stacks import without_histograms
from gradscope.protocol.subjects import COLUMNS, HISTOGRAM_BINS, L2, SubjectKey, SubjectKind, SubjectRow
from gradscope.state.app_state import AppState
from gradscope.state.engine import EngineState, EngineStatus
from gradscope.state.selection import Selection
from gradscope.state.topics import Topic
from tests.session_info import session_info

WEIGHT = SubjectKey(SubjectKind.PARAMETER, "w")
POSITION = Position(rest=Rest.FORWARD, step=2)
NOTHING = {
    "summaries": np.zeros((0, len(COLUMNS))),
    "histograms": np.zeros((0, HISTOGRAM_BINS), dtype=np.int32),
    "sampled": np.zeros(0, dtype=np.int64),
    "subjects": np.zeros(0, dtype=np.int64),
}
REPORT = m.Report(
    phase=Phase.FORWARD,
    step=2,
    epoch=0,
    batch=2,
    loss=0.5,
    lr=(0.1,),
    places=np.zeros(0, dtype=np.int64),
    times=np.zeros((0, 3)),
    **NOTHING,
)
SESSION = session_info(
    parameters=(m.ParameterInfo(name="w", shape=(2,), dtype="float32", requires_grad=True, group=0),),
    groups=(
        m.GroupInfo(parameters=("w",), options={"lr": "0.1"}, optimizer="first"),
        m.GroupInfo(parameters=("v",), options={"lr": "0.1"}, optimizer="second"),
    ),
    clip_norm=1.0,
)
FAILURE = Failure(kind=FailureKind.USER_CODE, sentence="It broke")


def test_a_report_without_histograms_shows_that_nothing_was_looked_at() -> None:
    state = AppState()
    rows = tuple(SubjectRow(SubjectKey(SubjectKind.PARAMETER, name), (2,), "float32") for name in "vw")
    state.apply(m.Subjects(first=0, rows=rows))
    lean = without_histograms(
        replace(
            REPORT,
            subjects=np.arange(2),
            summaries=np.full((2, len(COLUMNS)), 3.0),
            histograms=np.ones((2, HISTOGRAM_BINS), dtype=np.int32),
            sampled=np.full(2, 2),
        )
    )
    state.apply(lean)
    latest = state.history.latest(WEIGHT)
    assert latest is not None and latest.summary[L2] == 3 and latest.sampled == 0
    np.testing.assert_array_equal(latest.histogram, np.zeros(HISTOGRAM_BINS))
    assert state.reports[Phase.FORWARD].histograms.shape == (2, HISTOGRAM_BINS)
    assert len(state.history.saved().latest.histograms) == 2


@pytest.mark.parametrize(
    ("message", "topics"),
    [
        (REPORT, {Topic.HISTORY}),
        (m.Moved(position=POSITION), {Topic.POSITION}),
        (m.Done(position=POSITION), {Topic.POSITION}),
        (m.InitialParameters(**NOTHING), {Topic.HISTORY}),
        (m.Schedule(first_step=0, rates=np.ones((1, 3))), {Topic.SCHEDULE}),
        (m.Failed(failure=FAILURE, position=POSITION), {Topic.POSITION, Topic.FAILURE, Topic.LOG, Topic.ENGINE}),
        (m.Note(text="hm"), {Topic.LOG}),
        (
            m.Validated(step=3, epoch=0, loss=0.5, metrics={}, batches=1, samples=4, seconds=0.1),
            {Topic.HISTORY, Topic.LOG},
        ),
        (m.SessionChanged(session=SESSION), {Topic.SETTINGS}),
        (m.Skipped(reports=3), {Topic.HISTORY}),
        (m.EngineReady(torch_version="2", numpy_version="2", devices=()), {Topic.ENGINE, Topic.POSITION}),
        (m.Pong(), set()),
        (m.Unavailable(subject=WEIGHT, reason=""), set()),
        (m.Exported(path="", files=(), size_bytes=0), set()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_message_touches_its_topics(message: object, topics: set[Topic]) -> None:
    state = AppState()
    state.apply(message)
    assert state.take_changes() == topics
    assert state.take_changes() == set()


def test_tables_grow_by_their_numbers_and_reports_use_them() -> None:
    state = AppState()
    rows = tuple(SubjectRow(SubjectKey(SubjectKind.PARAMETER, name), (2,), "float32") for name in "abw")
    state.apply(m.Subjects(first=0, rows=rows[:1]))
    state.apply(m.Subjects(first=1, rows=rows[1:]))
    assert state.history.rows == list(rows)
    place = m.Place(SubStep.LOSS, "", 0, "", "()")
    state.apply(m.Places(first=0, rows=(place,)))
    state.apply(m.Places(first=1, rows=(place, place)))
    assert len(state.places) == 3
    summaries = np.zeros((1, len(COLUMNS)))
    summaries[0, L2] = 3.0
    state.apply(
        m.InitialParameters(
            subjects=np.array([2]),
            summaries=summaries,
            histograms=np.zeros((1, HISTOGRAM_BINS), dtype=np.int32),
            sampled=np.zeros(1, dtype=np.int64),
        )
    )
    latest = state.history.latest(WEIGHT)
    assert latest is not None
    assert latest.row is rows[2]
    assert latest.summary[L2] == 3.0
    assert state.history.latest(SubjectKey(SubjectKind.GRAD, "w")) is None


def test_the_newest_report_of_each_phase_is_kept() -> None:
    state = AppState()
    state.apply(REPORT)
    state.apply(REPORT)
    assert state.reports == {Phase.FORWARD: REPORT}
    assert state.history.loss.values.tolist() == [[0.5]]


def test_what_was_skipped_adds_up() -> None:
    state = AppState()
    state.apply(m.Skipped(reports=3))
    state.apply(m.Skipped(reports=4))
    assert state.skipped_reports == 7


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_a_point(loss: float) -> None:
    state = AppState()
    report = m.Report(**{**{name: getattr(REPORT, name) for name in REPORT.__dataclass_fields__}, "loss": loss})
    state.apply(report)
    np.testing.assert_array_equal(state.history.loss.values, [[loss]])


def test_a_sent_verb_runs_until_the_engine_says_otherwise() -> None:
    state = AppState()
    state.apply(m.EngineReady(torch_version="2", numpy_version="2", devices=()))
    state.apply(m.Moved(position=POSITION))
    state.set_running()
    assert state.position.step == POSITION.step
    assert state.refusal(Verb.BACKWARD) == "The session is running: press Pause first"
    state.apply(m.Failed(failure=FAILURE, position=POSITION))
    assert state.refusal(Verb.BACKWARD) is None


def test_opening_shuts_the_verbs_and_death_opens_it_again() -> None:
    state = AppState()
    state.apply(m.EngineReady(torch_version="2", numpy_version="2", devices=()))
    state.apply(m.Moved(position=POSITION))
    state.set_opening("/a.py")
    assert {state.refusal(verb) for verb in Verb} == {"A recipe is being opened"}
    state.set_engine(EngineState(status=EngineStatus.DEAD))
    assert state.opening is None
    assert state.position.step == POSITION.step, "so far the plots go"


def test_the_same_selection_again_is_no_change() -> None:
    state = AppState()
    state.select(Selection.of_subject(WEIGHT))
    assert state.take_changes() == {Topic.SELECTION}
    state.select(Selection.of_subject(WEIGHT))
    assert state.take_changes() == set()
    assert state.selection.subject == WEIGHT
    assert state.selection.with_kind(SubjectKind.GRAD).subject == SubjectKey(SubjectKind.GRAD, "w")


def test_a_dismissed_failure_is_gone() -> None:
    state = AppState()
    state.apply(m.Failed(failure=FAILURE, position=POSITION))
    state.take_changes()
    state.dismiss_failure()
    assert state.failure is None
    assert state.take_changes() == {Topic.FAILURE}


def test_changed_settings_leave_the_history() -> None:
    state = AppState()
    state.apply(m.EngineReady(torch_version="2", numpy_version="2", devices=()))
    state.apply(m.Opened(session=SESSION, position=POSITION))
    state.apply(REPORT)
    history, revision = state.history, state.revision
    state.apply(m.SessionChanged(session=replace(SESSION, clip_norm=None, optimizer="Adam")))
    assert state.session is not None and state.session.optimizer == "Adam"
    assert state.history is history and len(history.loss) == 1
    assert state.revision > revision, "values may be others now"


def test_there_is_nothing_to_validate_with() -> None:
    state = AppState()
    state.apply(m.EngineReady(torch_version="2", numpy_version="2", devices=()))
    state.apply(m.Opened(session=SESSION, position=Position(rest=Rest.READY)))
    assert "no validation data" in (state.refusal(Verb.VALIDATE) or "")
    state.apply(m.SessionChanged(session=replace(SESSION, has_validation=True)))
    assert state.refusal(Verb.VALIDATE) is None
    state.apply(m.Moved(position=Position(rest=Rest.IN_STEP)))
    assert state.refusal(Verb.VALIDATE) == "Stopped in step: finish that phase first"


def test_validations_are_kept_told_and_the_best_remembered() -> None:
    state = AppState()
    for step, accuracy, is_best in ((-1, 0.1, True), (2, 0.9, True), (5, 0.7, False)):
        metrics = {"accuracy": accuracy}
        state.apply(
            m.Validated(
                step=step, epoch=0, loss=1.5, metrics=metrics, batches=2, samples=7, seconds=0.1, is_best=is_best
            )
        )
    assert state.history.validations["accuracy"].values[:, 0].tolist() == [0.1, 0.9, 0.7]
    assert state.history.validations["loss"].steps.tolist() == [-1, 2, 5]
    assert state.best is not None and state.best.step == 2
    assert state.validation is not None and state.validation.step == 5
    assert [line.text for line in state.log.lines] == [
        "Validation before the first step: loss 1.5, accuracy 0.1, the best so far (7 samples)",
        "Validation after step 2: loss 1.5, accuracy 0.9, the best so far (7 samples)",
        "Validation after step 5: loss 1.5, accuracy 0.7 (7 samples)",
    ]


def test_cleared_gradients_are_those_of_the_turn_until_the_next_backward() -> None:
    state = AppState()
    state.apply(m.Opened(session=SESSION, position=Position(rest=Rest.BACKWARD, optimizer="second")))
    state.set_cleared()
    assert state.cleared == {"v"}
    state.apply(REPORT)
    assert state.cleared == {"v"}
    state.apply(replace(REPORT, phase=Phase.BACKWARD))
    assert state.cleared == frozenset()


def test_what_a_report_says_goes_into_the_log_once_in_a_run() -> None:
    state = AppState()
    backward = replace(REPORT, phase=Phase.BACKWARD, notes=("Look at this",))
    for step in range(3):
        state.apply(replace(backward, step=step))
    assert [(line.text, line.is_warning) for line in state.log.lines] == [("Step 0: Look at this", True)]
    state.apply(m.Done(position=POSITION))
    state.apply(replace(backward, step=3))
    assert len(state.log.lines) == 2


def test_what_is_said_has_its_step_once() -> None:
    state = AppState()
    state.apply(m.Opened(session=SESSION, position=Position(rest=Rest.READY)))
    state.apply(m.Note(text="Of the whole recipe", warning=True))
    state.apply(m.Moved(position=Position(rest=Rest.READY, step=12)))
    for text in ("The gradients were cleared", "First NaN: step 12, forward", "It was so at step 1 already"):
        state.apply(m.Note(text=text))
    assert [line.text for line in state.log.lines] == [
        "Of the whole recipe",
        "Step 12: The gradients were cleared",
        "First NaN: step 12, forward",
        "Step 12: It was so at step 1 already",
    ]


def test_steps_that_are_made_are_no_future() -> None:
    state = AppState()
    ahead = np.array([[0.4, 0.3, 0.2]])
    state.apply(m.Schedule(first_step=1, rates=ahead, momenta=ahead, horizon=9))
    state.apply(m.Moved(position=replace(POSITION, step=1)))
    assert state.schedule is not None and state.schedule.rates.tolist() == [[0.4, 0.3, 0.2]]
    state.take_changes()
    state.apply(m.Moved(position=replace(POSITION, step=3)))
    assert state.schedule.first_step == 3 and state.schedule.horizon == 9
    assert state.schedule.rates.tolist() == state.schedule.momenta.tolist() == [[0.2]]
    assert state.take_changes() == {Topic.POSITION, Topic.SCHEDULE}
    state.set_engine(EngineState(status=EngineStatus.DEAD))
    assert state.schedule.rates.tolist() == [[0.2]]
    state.apply(m.Moved(position=replace(POSITION, step=30)))
    assert state.schedule.rates.shape == (1, 0)


def clipped_step(step: int, *, complete: bool) -> m.Report:
    summaries = np.full((1, len(COLUMNS)), float(step))
    return replace(
        REPORT,
        phase=Phase.STEP,
        step=step,
        complete=complete,
        subjects=np.array([0]),
        summaries=summaries,
        histograms=np.zeros((1, HISTOGRAM_BINS), dtype=np.int32),
        sampled=np.ones(1, dtype=np.int64),
        clip=m.Clip(norm=float(step), coefficient=0.5, norm_after=None),
    )


@pytest.mark.parametrize("paused_before", [False, True])
def test_a_step_that_is_undone_is_not_the_newest(paused_before: bool) -> None:
    state, key = AppState(), SubjectKey(SubjectKind.CLIPPED_GRAD, "w")
    state.apply(m.Subjects(first=0, rows=(SubjectRow(key, (2,), "float32"),)))
    made, undone = clipped_step(1, complete=True), clipped_step(2, complete=False)
    state.apply(made)
    state.apply(undone)
    if paused_before:
        state.apply(m.Done(position=replace(POSITION, rest=Rest.IN_STEP), paused=True))
        assert state.reports[Phase.STEP] is undone, "what is seen so far of the step it is stopped in"
        state.apply(m.Moved(position=replace(POSITION, rest=Rest.BACKWARD)))
    else:
        state.apply(m.Failed(failure=FAILURE, position=replace(POSITION, rest=Rest.BACKWARD)))
    assert state.reports[Phase.STEP] is made and state.undone_step is undone
    history = state.history
    assert history.blocks[key.kind].steps.tolist() == history.lr.steps.tolist() == [1]
    assert history.clipping.steps.tolist() == [1] and history.latest(key) is None
    assert Topic.HISTORY in state.take_changes()
    again = clipped_step(2, complete=True)
    state.apply(again)
    assert state.reports[Phase.STEP] is again and state.undone_step is None
    assert history.blocks[key.kind].steps.tolist() == [1, 2]


def test_the_first_step_undone_leaves_no_step() -> None:
    state = AppState()
    state.apply(replace(REPORT, phase=Phase.STEP, complete=False))
    state.apply(m.Failed(failure=FAILURE, position=replace(POSITION, rest=Rest.BACKWARD)))
    assert Phase.STEP not in state.reports
