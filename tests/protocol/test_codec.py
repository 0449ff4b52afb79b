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
from gradscope.protocol.messages import checkpoints as c
from gradscope.protocol.messages import edits as e
from gradscope.protocol.messages import why as w
from gradscope.protocol.parts import Part
from gradscope.protocol.phases import Moment, Phase, Position, Rest, RunUntil, SubStep, Verb
from gradscope.protocol.subjects import COLUMNS, HISTOGRAM_BINS, SubjectKey, SubjectKind, SubjectRow

KEY = SubjectKey(SubjectKind.ACTIVATION, "net.0", 3, ".hidden[1]")
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
EXAMPLES = [
    m.Hello(token="t", protocol_version=1, gradscope_version="0", python_version="3", executable="p", pid=1),
    m.Welcome(app_version="0"),
    m.Refused(reason="because"),
    m.EngineReady(torch_version="2", numpy_version="2", devices=(m.DeviceInfo(name="cpu", label="CPU"),)),
    m.EngineUnfit(reason="no torch"),
    m.Open(path="/x y.py", seed=3, device="cuda:1"),
    m.Open(path="/x y.py", capture="layers:a,b", budget_bytes=1),
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
    m.SnapshotSizes(parts=(m.PartSize(part=Part.BATCH, size_bytes=7),), always_bytes=2),
    m.Cancelled(),
    m.Exported(path="/s", files=("a", "b"), size_bytes=12),
    m.Moved(position=POSITION),
    m.Subjects(first=7, rows=(SubjectRow(KEY, (2, 3), "float32", "of abs()"),)),
    m.Places(first=0, rows=(m.Place(SubStep.LOSS, "", 0, "", "()"),)),
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
