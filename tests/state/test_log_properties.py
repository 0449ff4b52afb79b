"""The log gives the same lines however the text is cut, and keeps the newest."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradscope.state.log import MAX_LINES, Log, Source

TEXT = st.text(st.sampled_from("abé \t\n\r"), max_size=80)


@given(TEXT, st.lists(st.integers(1, 9), min_size=1, max_size=9))
def test_lines_do_not_depend_on_how_the_text_is_cut(text: str, sizes: list[int]) -> None:
    text += "\n"
    whole, pieces = Log(), Log()
    whole.feed(text, source=Source.STDOUT)
    position = i = 0
    while position < len(text):
        size = sizes[i % len(sizes)]
        pieces.feed(text[position : position + size], source=Source.STDOUT)
        position, i = position + size, i + 1
    assert [line.text for line in pieces.lines] == [line.text for line in whole.lines]
    assert whole.total == text.replace("\r\n", "\n").count("\n")


@given(st.lists(st.sampled_from(list(Source)), max_size=30))
def test_streams_do_not_mix(sources: list[Source]) -> None:
    log = Log()
    for i, source in enumerate(sources):
        log.feed(f"{source}{i} ", source=source)
    assert log.total == 0
    log.flush()
    for line in log.lines:
        assert all(word.startswith(line.source.value) for word in line.text.split())
    assert sum(len(line.text.split()) for line in log.lines) == len(sources)
    log.flush()
    assert log.total == len(set(sources))


@given(st.integers(0, 40), st.integers(0, 60))
def test_since_gives_what_is_new_and_still_kept(count: int, seen: int) -> None:
    log = Log()
    for i in range(count):
        log.add(str(i))
    assert [line.text for line in log.since(seen)] == [str(i) for i in range(seen, count)]


def test_since_more_than_is_kept() -> None:
    log = Log()
    for i in range(MAX_LINES + 10):
        log.add(str(i))
    assert len(log.since(0)) == MAX_LINES
    assert log.since(0)[0].text == "10"


@pytest.mark.parametrize("is_fed", [True, False])
def test_millions_of_line_breaks_take_no_time(is_fed: bool) -> None:
    log, breaks = Log(), 3_000_000
    started = time.process_time()
    if is_fed:
        log.feed("\n" * breaks + "x\n", source=Source.STDOUT)
    else:
        log.add("\n" * breaks + "x\n")
    assert time.process_time() - started < 3
    assert log.total == breaks + 1
    assert len(log.lines) == MAX_LINES
    assert log.lines[-1].text == "x"


def test_a_text_of_several_lines_is_several_lines() -> None:
    log = Log()
    log.add("one\n\nthree", is_warning=True)
    log.add("")
    assert [line.text for line in log.lines] == ["one", "", "three", ""]
    assert log.total == 4
