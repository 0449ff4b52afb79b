"""Reports that wait are joined: nothing of them is lost but what nobody would look at, and the newest stay whole."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradscope.protocol.codec import Decoder, ProtocolError, encode
from gradscope.protocol.messages import Clip, Report, ReportHead, Reports
from gradscope.protocol.phases import Phase
from gradscope.protocol.stacks import STACK_BYTES, STACK_REPORTS, stacked, unstacked
from gradscope.protocol.subjects import COLUMNS, HISTOGRAM_BINS

HEAD = [field.name for field in fields(ReportHead)]


def report(number: int, phase: Phase = Phase.FORWARD, subjects: int = 2, **changes: object) -> Report:
    made = Report(
        phase=phase,
        step=number,
        epoch=0,
        batch=number,
        loss=None if number % 5 == 0 else 1 / number,
        lr=(0.1,),
        notes=("hm",) if number % 3 == 0 else (),
        clip=Clip(norm=float(number), coefficient=None, norm_after=None) if phase is Phase.STEP else None,
        subjects=np.arange(subjects),
        summaries=np.full((subjects, len(COLUMNS)), float(number)),
        histograms=np.full((subjects, HISTOGRAM_BINS), number, dtype=np.int32),
        sampled=np.full(subjects, 7),
        places=np.zeros(0, dtype=np.int64),
        times=np.zeros((0, 3)),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def told(messages: list[Report | Reports]) -> list[Report]:
    """Through the wire, as the app gets them."""
    decoder = Decoder()
    received = [frame.message for message in messages for frame in decoder.feed(encode(message))]
    return [one for message in received for one in (unstacked(message) if isinstance(message, Reports) else [message])]


def assert_same(found: Report, sent: Report) -> None:
    assert found.phase is sent.phase
    assert [getattr(found, name) for name in HEAD] == [getattr(sent, name) for name in HEAD]
    np.testing.assert_array_equal(found.subjects, sent.subjects)
    np.testing.assert_array_equal(found.summaries, sent.summaries)


@given(
    st.lists(
        st.tuples(st.sampled_from(list(Phase)), st.integers(0, 3), st.booleans(), st.sampled_from(["", "d", "g"])),
        max_size=40,
    )
)
def test_all_arrive_in_order_and_the_newest_of_each_kind_whole(made: list[tuple[Phase, int, bool, str]]) -> None:
    sent = [
        report(i, phase, subjects, complete=complete, optimizer=optimizer)
        for i, (phase, subjects, complete, optimizer) in enumerate(made)
    ]
    found = told(stacked(sent))
    assert len(found) == len(sent)
    newest = {(one.phase, one.optimizer, len(one.subjects)): one.step for one in sent}
    for one, other in zip(found, sent, strict=True):
        assert_same(one, other)
        is_newest = newest[one.phase, one.optimizer, len(one.subjects)] == one.step
        if is_newest or not one.complete:
            np.testing.assert_array_equal(one.histograms, other.histograms)


def test_a_message_is_never_large() -> None:
    many = stacked([report(i) for i in range(1000)])
    assert max(len(message.heads) for message in many if isinstance(message, Reports)) == STACK_REPORTS
    large = stacked([report(i, subjects=1000) for i in range(40)])
    assert max(len(encode(message)) for message in large) < 2 * STACK_BYTES


def test_the_rates_of_many_groups_count_as_well() -> None:
    sent = [report(i, lr=(1 / 3,) * 5000, momentum=(math.nan,) * 5000) for i in range(STACK_REPORTS)]
    parts = stacked(sent)
    assert max(len(encode(message)) for message in parts) < 2 * STACK_BYTES
    assert [one.step for one in told(parts)] == list(range(STACK_REPORTS))


def test_what_does_not_fit_together_is_refused() -> None:
    sound = stacked([report(i) for i in range(3)])[0]
    assert isinstance(sound, Reports)
    (stack,) = sound.stacks
    for unsound in (
        replace(sound, numbers=np.array([0, 1])),
        replace(sound, numbers=np.array([0, -1])),
        replace(sound, numbers=np.array([0])),
        replace(sound, heads=sound.heads[:1]),
        replace(sound, stacks=()),
        replace(sound, stacks=(replace(stack, subjects=np.arange(3)),)),
        replace(sound, stacks=(replace(stack, summaries=stack.summaries[0]),)),
        replace(sound, stacks=(replace(stack, summaries=stack.summaries[:1]),)),
    ):
        with pytest.raises(ProtocolError):
            list(Decoder().feed(encode(unsound)))
