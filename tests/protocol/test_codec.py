"""Every message survives the wire; nothing but ProtocolError comes of what does not."""

import contextlib
import json
import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradscope.protocol import messages as m
from gradscope.protocol.codec import MAX_FRAME_BYTES, MESSAGE_TYPES, Decoder, ProtocolError, encode, from_json, to_json
from gradscope.protocol.failure import Failure, FailureKind
from gradscope.protocol.findings import (
    Certainty,
    Check,
    Curve,
    Evidence,
    Finding,
    Findings,
    Planned,
    Progress,
    Severity,
    Source,
    Verdict,
)
from gradscope.protocol.messages import checkpoints as c
from gradscope.protocol.messages import edits as e
from gradscope.protocol.messages import evaluate as ev
from gradscope.protocol.messages import why as w
from gradscope.protocol.parts import Part
from gradscope.protocol.phases import Moment, Phase, Position, Rest, RunUntil, SubStep, Verb
from gradscope.protocol.scripts import Script, ScriptKind
from gradscope.protocol.source import SourceLine, StackFrame
from gradscope.protocol.stops.point import StopHit, StopPoint
from gradscope.protocol.subjects import COLUMNS, HISTOGRAM_BINS, SubjectKey, SubjectKind, SubjectRow
from gradscope.protocol.what_if.tried import (
    AlongUpdate,
    Alternative,
    Directions,
    Measured,
    Mode,
    ProbeRecord,
    ProbeSetting,
    Standing,
    Surface,
    TrialProgress,
    Trials,
    Tried,
)

KEY = SubjectKey(SubjectKind.ACTIVATION, "net.0", 3, ".hidden[1]")
LINE = SourceLine("/a.py", 3, "Net.forward")
POSITION = Position(
    rest=Rest.IN_BACKWARD,
    step=4,
    epoch=1,
    batch=2,
    batches_per_epoch=None,
    running=True,
    moment=Moment(step=4, substep=SubStep.BACKWARD, event="gradient", layer="net.0", call=1),
)
FAILURE = Failure(
    kind=FailureKind.USER_CODE, sentence="It failed: ünïcode", phase=Phase.FORWARD, layer="", traceback="x"
)
MEASURED = {
    "subjects": np.arange(2),
    "summaries": np.array([[9.0, 1.0, 0.0, np.nan, -np.inf, np.inf, np.nan, 1.0, 2.0], [0.0] * len(COLUMNS)]),
    "histograms": np.arange(2 * HISTOGRAM_BINS, dtype=np.int32).reshape(2, -1),
    "sampled": np.array([5, 6]),
}
TOLD = ev.TensorTold(
    leaf="[0]",
    shape=(2, 3),
    dtype="float32",
    device="cpu",
    requires_grad=True,
    grad_fn="AddmmBackward0",
    note="of abs()",
    summary=np.array([6.0, 1.0, 0.0, 0.0, -1.0, 2.0, 0.5, 1.0, 2.0]),
    edges=np.arange(3.0),
    counts=np.array([2, 3]),
    values=np.array([[1.0, np.nan, 2.0], [-1.0, 0.0, np.inf]]),
    subject=SubjectKey(SubjectKind.PARAMETER, "fc1.weight"),
)
REPORT = m.Report(
    phase=Phase.STEP,
    step=1,
    epoch=0,
    batch=1,
    loss=float("nan"),
    lr=(0.1, 0.2),
    places=np.zeros(0, dtype=np.int64),
    times=np.zeros((0, 3)),
    absent=(m.Absence(name="a", kind="grad", reason="frozen"),),
    complete=False,
    micro=1,
    window=2,
    optimizer="g",
    scale=65536.0,
    skipped=True,
    clip=m.Clip(norm=float("inf"), coefficient=None, norm_after=0.5, dominant="w", dominant_share=0.25),
    evaluations=3,
    momentum=(0.9, float("nan")),
    notes=("look here",),
    **MEASURED,
)
SESSION = m.SessionInfo(
    name="n",
    description="",
    path="/x.py",
    sha256="",
    seed=2**32 - 1,
    device="cpu",
    modules=(m.ModuleInfo(name="", type="Net", description="", aliases=("a",)),),
    parameters=(m.ParameterInfo(name="w", shape=(2, 3), dtype="float32", requires_grad=True, group=None),),
    groups=(m.GroupInfo(parameters=("w",), options={"lr": "0.1"}),),
    optimizer="SGD",
    scheduler=None,
    loss="mse",
    scheduler_unit="step",
    batches_per_epoch=None,
    substeps=(SubStep.BATCH, SubStep.FORWARD, SubStep.LOSS, SubStep.BACKWARD, SubStep.CLIP, SubStep.STEP),
    optimizers=("d", "g"),
    clip_norm=1.5,
    precision="fp16",
    metrics=("accuracy",),
)
TRIED_ON = Measured(step=4, standing=Standing.BACKWARD_DONE, batch_step=4, samples=8, micro_batches=2, notes=("n",))
TRIALS = Trials(
    of=TRIED_ON,
    loss=1.5,
    tried=(
        Tried(alternative=Alternative(), samples=8, loss=1.25, update_norm=0.5, predicted=-0.5, others=2.0),
        Tried(alternative=Alternative(rate=10.0), loss=float("inf"), update_norm=5.0, predicted=-5.0, is_skipped=True),
        Tried(alternative=Alternative(clip=False), refusal="nothing is clipped"),
    ),
    other_batches=1,
    others=1.75,
)
FOUND = Findings(
    findings=(
        Finding(
            id="dead-units",
            severity=Severity.WARNING,
            where="net.1",
            title="t",
            why="w",
            do="d",
            certainty=Certainty.WINDOW,
            source=Source.MONITOR,
            evidence=(
                Evidence(name="share", value=float("nan"), threshold=0.5, unit="%"),
                Evidence(name="n", value=None),
            ),
            near=("net.3",),
            phase=Phase.FORWARD,
            step=9,
            first_step=3,
            root="lr-too-high",
            subject=KEY,
            curves=(Curve(name="as it is", values=(1.0, float("inf"), float("nan"))),),
        ),
    ),
    checks=(Check(id="clip-too-low", verdict=Verdict.NOT_JUDGED, reason="nothing is clipped"),),
    steps=10,
    forward=2,
    seconds=0.5,
)
EXAMPLES = [
    m.Hello(token="t", protocol_version=1, gradscope_version="0", python_version="3", executable="p", pid=1),
    m.Welcome(app_version="0"),
    m.Refused(reason="because"),
    m.EngineReady(torch_version="2", numpy_version="2", devices=(m.DeviceInfo(name="cpu", label="CPU"),)),
    m.EngineUnfit(reason="no torch"),
    m.Parted(reason="it has ended"),
    m.Open(path="/x y.py", seed=3, device="cuda:1"),
    m.Open(path="/x y.py", capture="layers:a,b", budget_bytes=1, findings=True),
    m.OpenScript(
        script=Script(kind=ScriptKind.MODULE, name="pkg.train", arguments=("--lr", "0.1"), folder="/x"), capture="off"
    ),
    m.SetCapture(capture="norms"),
    m.DeviceLost(reason="because"),
    m.Go(verb=Verb.RUN, until=RunUntil.EPOCH, steps=5),
    m.Reset(),
    m.Pause(),
    m.Interrupt(),
    m.Ping(),
    m.Shutdown(),
    m.Watch(subjects=(KEY,)),
    m.FetchPage(subject=KEY, index=(1, 2)),
    m.FetchPicture(subject=KEY),
    m.FetchHistogram(subject=KEY),
    m.FetchDifferences(path="/s.zip", subjects=(KEY, KEY)),
    m.FetchDifferencePicture(path="/s.zip", subject=KEY, index=(1,)),
    m.Attach(attachment=m.Attachment(name="plots/a.png", data=np.arange(9, dtype=np.uint8))),
    m.MeasureSnapshot(),
    m.Export(path="/s", parts=(Part.BATCH, Part.PLOTS)),
    m.CancelExport(),
    m.Reproduce(),
    m.Reproduced(text="print(1)\n", notes=("a note",)),
    m.PlanCheckUp(),
    m.CheckUp(only=("future-leak",)),
    m.CancelCheckUp(),
    m.CheckUpPlanned(
        planned=(Planned(ids=("a", "b"), title="t", forward=3, backward=0, seconds=0.5, refusal="not here"),)
    ),
    m.CheckUpDone(findings=FOUND),
    m.CheckUpProgress(progress=Progress(title="t", done=1, planned=0)),
    m.FoundNow(findings=FOUND, is_watching=False),
    m.WhatIf(alternatives=(Alternative(rate=0.5, clip=False), Alternative(optimizer="Adam", batch_size=4))),
    m.WhatIfDone(trials=TRIALS),
    m.LossAlong(alternative=Alternative(weight_decay=False), low=-2.0, high=1.0, points=2),
    m.LossAlongDone(
        along=AlongUpdate(
            of=TRIED_ON,
            alternative=Alternative(),
            at=np.array([0.0, 1.0]),
            losses=np.array([1.0, np.nan]),
            slope=-0.5,
            update_norm=0.1,
        )
    ),
    m.LossSurface(directions=Directions.RANDOM, mode=Mode.EVAL, side=3, reach=0.5, seed=-1),
    m.LossSurfaceDone(
        surface=Surface(
            of=TRIED_ON,
            directions=Directions.UPDATE_AND_GRADIENT,
            mode=Mode.TRAIN,
            first="x",
            second="y",
            x=np.arange(2.0),
            y=np.arange(3.0),
            losses=np.array([[1.0, np.inf]] * 3),
            path=np.zeros((1, 2)),
            path_shares=np.ones(1),
            path_steps=np.array([4.0]),
        )
    ),
    m.CancelWhatIf(),
    m.WhatIfProgress(progress=TrialProgress(what="rate x 10", done=3, planned=9)),
    m.SetProbe(is_pinned=False, every=10, mode=Mode.TRAIN),
    m.RunProbe(),
    m.ProbeSet(setting=ProbeSetting(batch_step=3, samples=8, has_loss=False, note="n")),
    m.ProbeSet(setting=None),
    m.ProbeRecorded(
        record=ProbeRecord(
            step=4,
            loss=0.5,
            output=np.ones((1, 9)),
            names=("a", "a.b"),
            layers=np.ones((2, 9)),
        )
    ),
    m.Evaluate(text="model(x)\n", keep=True),
    m.Evaluated(
        text="tensor(1.)",
        output="hé",
        tensors=(TOLD,),
        seconds=0.5,
        moved=("model.fc1.weight",),
        notes=("x is a variable of the console now",),
    ),
    m.Evaluated(error="SyntaxError: invalid syntax", traceback="1 +\n   ^", line=1, column=4, is_cancelled=True),
    m.Complete(text="model.f", cursor=7),
    m.Completions(start=6, names=("fc1", "forward")),
    m.SetWatches(watches=(ev.WatchExpression(id=3, text="loss.item()", each=ev.WatchTime.STEP),)),
    m.WatchValues(
        step=4,
        after_step=True,
        values=(
            ev.WatchValue(id=3, text="NaN", number=math.nan),
            ev.WatchValue(id=4, error="NameError: name 'f' is not defined", is_off=True),
        ),
        seconds=0.25,
        note="half of the time",
    ),
    m.Go(verb=Verb.RUN, to="enter encoder.1"),
    m.SetStops(
        stops=(StopPoint(id=3, text="grad.l2 > 10"), StopPoint(id=4, text="backward", is_enabled=False, every=2))
    ),
    m.Stopped(
        hits=(
            StopHit(id=3, hits=2, step=7, moment=None),
            StopHit(id=4, hits=1, step=7, moment=POSITION.moment, subject="a #1", sentence="It is 12, above 10"),
        )
    ),
    m.StepBack(whole_step=True),
    m.GoTo(step=7, branch=2),
    m.GoTo(step=0),
    m.GoToLast(condition="loss > 2"),
    m.Recompute(step=7, subject=KEY),
    m.Recomputed(step=7, subject=KEY, shape=(3, 4), dtype="float32", verified=True, notes=("Approximate",)),
    m.SetTimeline(limit_bytes=2**30),
    m.RestoreWeights(step=3),
    m.WeightsRestored(step=3, notes=("head.weight had another form",)),
    m.ReplayProgress(step=5, start=3, until=9),
    m.WentTo(
        position=POSITION,
        branch=1,
        verified=False,
        notes=("not the same",),
        edits=(e.EditMade(number=0, step=3, text="lr 0.1 → 0.01"),),
    ),
    m.TimelineState(
        limit_bytes=2**30,
        used_bytes=5,
        checkpoints=(3, 5, 6),
        earliest=3,
        branch=1,
        branches=(
            m.Branch(id=0, parent=None, from_step=0, until_step=9),
            m.Branch(id=1, parent=0, from_step=4, until_step=6, change="group 0: lr 0.1 → 0.01"),
        ),
    ),
    m.TimelineState(limit_bytes=0, used_bytes=0, checkpoints=(), earliest=None, reason="off"),
    m.Pong(),
    m.Done(position=POSITION, paused=True),
    m.Failed(failure=FAILURE, position=POSITION),
    m.Opened(session=SESSION, position=Position()),
    m.Page(subject=KEY, shape=(2, 2), dtype="float32", index=(), row=0, column=1, values=np.ones((2, 1)), integer=True),
    m.Picture(subject=KEY, shape=(4, 4), index=(), block=(2, 2), values=np.ones((2, 2), dtype=np.float32)),
    m.Histogram(subject=KEY, edges=np.arange(3.0), counts=np.arange(2), nan=1, inf=0),
    m.Differences(
        items=(
            m.Difference(
                subject=KEY, count=9, differing=2, absolute=float("inf"), at=(1, 2), ours=float("nan"), theirs=1.5
            ),
            m.Difference(subject=KEY, problem="gone"),
        )
    ),
    m.Unavailable(subject=KEY, reason="gone"),
    m.FetchSource(file="<t.ipynb, cell 3>"),
    m.SourceText(file="/a.py", text="x = 'ü'\n", truncated=True),
    m.NoSource(file="/a.py", reason="gone"),
    m.Whereabouts(stack=(StackFrame(LINE, folded=4), StackFrame(SourceLine("/b.py", 0)))),
    m.SnapshotSizes(parts=(m.PartSize(part=Part.BATCH, size_bytes=7),), always_bytes=2),
    m.Cancelled(),
    m.Exported(path="/s", files=("a", "b"), size_bytes=12),
    m.Moved(position=POSITION),
    m.Subjects(first=7, rows=(SubjectRow(KEY, (2, 3), "float32", "of abs()"),)),
    m.Places(
        first=0, rows=(m.Place(SubStep.LOSS, "", 0, "", "()"), m.Place(SubStep.FORWARD, "a", 1, "call", "", LINE))
    ),
    REPORT,
    m.Reports(
        heads=(
            m.ReportHead(step=3, epoch=0, batch=3, loss=float("inf"), lr=(0.1,), micro=1, window=2, notes=("hm",)),
            m.ReportHead(
                step=4,
                epoch=0,
                batch=4,
                loss=None,
                lr=(),
                scale=8.0,
                clip=m.Clip(norm=1.0, coefficient=None, norm_after=None),
                optimizer="d",
            ),
        ),
        numbers=np.array([0, 1]),
        stacks=(
            m.ReportStack(phase=Phase.FORWARD, subjects=np.array([1, 0]), summaries=np.ones((1, 2, len(COLUMNS)))),
            m.ReportStack(phase=Phase.STEP, subjects=np.array([2]), summaries=np.ones((1, 1, len(COLUMNS)))),
        ),
    ),
    m.InitialParameters(**MEASURED),
    m.Validated(
        step=-1, epoch=0, loss=None, metrics={"a": float("nan")}, batches=2, samples=3, seconds=0.1, is_best=True
    ),
    m.SessionChanged(session=SESSION),
    m.Schedule(first_step=2, rates=np.ones((2, 3))),
    m.ExportProgress(done_bytes=1, total_bytes=2),
    m.Note(text="hm", warning=True),
    m.Skipped(reports=4),
    e.EditOption(group=1, option="lr", value="1e-3"),
    e.EditClipping(norm=None, value=0.5),
    e.EditAccumulation(micro_batches=4),
    e.EditZeroGrad(mode="manual"),
    e.EditSchedulerMetric(metric="loss"),
    e.EditLoss(loss="HuberLoss", arguments={"delta": "0.5"}),
    e.EditOptimizer(optimizer="Adam", turn="g", keep_scheduler=False),
    e.EditScheduler(scheduler="StepLR", arguments={"step_size": "3"}, unit="epoch", metric="loss"),
    e.EditDropout(layer="net.0", p=0.0),
    e.EditRequiresGrad(name="w", is_parameter=True, requires_grad=False),
    e.EditMode(layer="", training=False),
    e.EditMembership(name="net", is_parameter=False, group=2),
    e.EditFile(version=2),
    e.UndoEdit(),
    e.ListChoices(),
    e.Choices(
        losses=(e.ClassInfo(name="CTCLoss", reason="it is called with more"),),
        optimizers=(
            e.ClassInfo(
                name="SGD", doc="d", arguments=(e.ArgumentInfo(name="lr", kind=e.ArgumentKind.NUMBER, choices=("a",)),)
            ),
        ),
        schedulers=(),
        turns=(e.TurnChoice(turn="g", optimizer=e.Chosen(name="SGD", arguments={"lr": "0.1"}), scheduler=None),),
        loss=None,
        metrics=("train_loss",),
    ),
    e.Edited(text="Learning rate: 0.1 → 0.01"),
    e.EditMade(number=0, step=3, text="t", undone_at=5),
    c.SaveCheckpoint(path="/c.pt", best=True),
    c.LoadCheckpoint(path="/c.pt", strict=False),
    c.CheckpointSaved(path="/c.pt", size_bytes=3, left_out=("optimizer.rule",)),
    c.CheckpointMismatch(path="/c.pt", missing=("a", "b"), unexpected=("c",), wrong_shape=("d",), other=("e",)),
    c.CheckpointLoaded(
        path="/c.pt",
        loaded=("weights",),
        position=POSITION,
        is_continued=False,
        has_best=True,
        notes=("n",),
        left=c.CheckpointMismatch(path="/c.pt"),
    ),
    w.Explain(parameter="0.weight", index=(1, 2)),
    w.Explained(
        parameter="0.weight",
        step=2,
        optimizer="SGD",
        terms=(
            w.ExplainedTerm(name="gradient", formula="−lr · g", sentence="s", l2=0.5, share=None, value=float("nan")),
        ),
        factors=(w.ExplainedFactor(name="rate", formula="lr", sentence="s", low=0.1, middle=0.1, high=0.1),),
        residual=1e-8,
        lost=0,
        index=(),
        delta=-0.25,
    ),
    w.CheckGradient(parameter="0.weight", samples=3, seed=1),
    w.GradientChecked(
        parameter="0.weight",
        step=1,
        samples=(
            w.SampledElement(
                index=(0, 3), analytic=1.0, numeric=1.5, relative_error=0.5, left=1.0, right=2.0, verdict="kink"
            ),
        ),
        size=4,
        agrees=True,
        tolerance=1e-4,
        loss=float("inf"),
        notes=("rough",),
    ),
]


def _same(a: object, b: object) -> bool:
    return repr(a) == repr(b) and type(a) is type(b)


def test_there_is_an_example_of_every_message() -> None:
    assert {type(example).__name__ for example in EXAMPLES} == set(MESSAGE_TYPES)


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_round_trip(message: object) -> None:
    (frame,) = Decoder().feed(encode(message, number=9))
    assert frame.number == 9
    assert _same(frame.message, message)


@given(st.lists(st.integers(1, 200), min_size=1, max_size=40))
def test_frames_come_whole_whatever_the_pieces(sizes: list[int]) -> None:
    data = b"".join(encode(message, number=i) for i, message in enumerate(EXAMPLES))
    decoder, frames, position, i = Decoder(), [], 0, 0
    while position < len(data):
        size = sizes[i % len(sizes)] * 7
        frames += decoder.feed(data[position : position + size])
        position, i = position + size, i + 1
    assert [frame.number for frame in frames] == list(range(len(EXAMPLES)))
    assert _same(frames[-1].message, EXAMPLES[-1])


@given(st.binary(max_size=300))
def test_garbage_is_a_protocol_error_or_incomplete(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        list(Decoder().feed(struct.pack(">I", len(data)) + data))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(-(10**400), 10**400) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5) | st.just("$"), inner, max_size=4),
    max_leaves=8,
)


def _paths(value: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    """Where every value inside a header is found."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(below for key, item in inner for below in _paths(item, (*path, key)))]


@given(st.sampled_from(EXAMPLES), JSON, st.data())
def test_any_value_in_any_place_is_a_protocol_error_or_another_message(
    message: object, value: object, data: st.DataObject
) -> None:
    frame = encode(message)
    (length,) = struct.unpack_from(">I", frame, 4)
    header = json.loads(frame[8 : 8 + length])
    *path, last = data.draw(st.sampled_from(_paths(header)[1:]))
    place = header
    for key in path:
        place = place[key]
    place[last] = value
    with contextlib.suppress(ProtocolError):
        list(Decoder().feed(_frame(json.dumps(header).encode(), frame[8 + length :])))


@given(st.sampled_from(EXAMPLES), st.integers(0, 10_000), st.integers(0, 255))
def test_a_damaged_frame_is_a_protocol_error_or_another_message(message: object, place: int, byte: int) -> None:
    data = bytearray(encode(message))
    data[place % len(data)] = byte
    with contextlib.suppress(ProtocolError):
        list(Decoder().feed(bytes(data)))


def _frame(header: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">II", 4 + len(header) + len(body), len(header)) + header + body


@pytest.mark.parametrize(
    ("header", "body", "said"),
    [
        (b'{"type":"Nope","number":0,"body":{},"buffers":[]}', b"", "could not be read"),
        (b'{"type":"Pong","number":-1,"body":{},"buffers":[]}', b"", "whole number"),
        (b'{"type":"Pong","number":0,"body":{"x":1},"buffers":[]}', b"", "no field 'x'"),
        (b'{"type":"Pong","number":0,"body":{},"buffers":[]}', b"rest", "longer than its buffers"),
        (b'{"type":"Pong","number":0,"body":{},"buffers":[["float64",[9]]]}', b"", "shorter than its buffers"),
        (b'{"type":"Pong","number":0,"body":{},"buffers":[["object",[1]]]}', b"12345678", "described as"),
        (b'{"type":"Pong","number":0,"body":{},"buffers":[["float64",[-1]]]}', b"", "described as"),
        (b'{"type":"Pong","number":0,"body":{},"buffers":[["float64",[0,%d]]]}' % 2**70, b"", "cannot have the shape"),
        (
            b'{"type":"Pong","number":0,"body":{},"buffers":[["uint8",[%s1]]]}' % (b"1," * 99),
            b"1",
            "cannot have the shape",
        ),
        (
            b'{"type":"Schedule","number":0,"body":{"first_step":0,"rates":{"$":true}},"buffers":[["float64",[0]]]}',
            b"",
            "has to be an array",
        ),
        (
            b'{"type":"Note","number":0,"body":{"text":%s},"buffers":[]}' % (b"[" * 100_000 + b"]" * 100_000),
            b"",
            "nested too deeply",
        ),
        (
            b'{"type":"Report","number":0,"body":{"phase":"step","step":0,"epoch":0,"batch":0,"loss":1%s},"buffers":[]}'
            % (b"0" * 400),
            b"",
            "Report.loss has to be float",
        ),
        (b'{"type":"Note","number":0,"body":{"text":3},"buffers":[]}', b"", "Note.text has to be str"),
        (b'{"type":"Note","number":0,"body":{},"buffers":[]}', b"", "Note.text is missing"),
        (b'{"type":"Go","number":0,"body":{"verb":"fly"},"buffers":[]}', b"", "Go.verb has to be one of"),
        (
            b'{"type":"Schedule","number":0,"body":{"first_step":0,"rates":{"$":0}},"buffers":[["int64",[1]]]}',
            b"12345678",
            "float64",
        ),
    ],
)
def test_each_fault_is_named(header: bytes, body: bytes, said: str) -> None:
    with pytest.raises(ProtocolError, match=said):
        list(Decoder().feed(_frame(header, body)))


def test_frames_are_capped_both_ways() -> None:
    with pytest.raises(ProtocolError, match="a frame holds"):
        encode(m.Schedule(first_step=0, rates=np.zeros((1, MAX_FRAME_BYTES // 8 + 1))))
    with pytest.raises(ProtocolError, match="was announced"):
        list(Decoder().feed(struct.pack(">I", MAX_FRAME_BYTES + 1)))


# ----------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_every_message_goes_through_a_json_file(message: object) -> None:
    arrays: list[np.ndarray] = []
    text = json.dumps(to_json(message, arrays), allow_nan=False)
    assert _same(from_json(type(message), json.loads(text), arrays, "x"), message)


def test_a_file_may_be_of_a_later_version_and_the_wire_may_not() -> None:
    told = {"text": "hm", "colour": "blue"}
    assert from_json(m.Note, told, [], "x") == m.Note(text="hm")
    assert (
        from_json(m.Clip, {"norm": "nan", "coefficient": "inf", "norm_after": "-inf"}, [], "x").coefficient == math.inf
    )
    with pytest.raises(ProtocolError, match=r"x\.text has to be str"):
        from_json(m.Note, {"text": 1}, [], "x")
    with pytest.raises(ProtocolError, match="64-bit"):
        from_json(m.Skipped, {"reports": 2**64}, [], "x")
    with pytest.raises(ProtocolError, match="no field 'colour'"):
        list(Decoder().feed(_frame(json.dumps({"type": "Note", "number": 0, "body": told, "buffers": []}).encode())))
