"""What the app knows of the console: bounded, and of the file that is open."""

from gradscope.protocol.messages.evaluate import MAX_WATCHES, Evaluated, WatchTime, WatchValue, WatchValues
from gradscope.state.console import MAX_ENTRIES, MAX_NUMBERS, ConsoleState
from gradscope.state.log import Log
from gradscope.state.topics import Topic


def heard(console: ConsoleState, step: int, number: float) -> list[Topic]:
    (watch,) = console.watches
    value = WatchValue(id=watch.id, text=str(number), number=number)
    return list(console.hear(WatchValues(step=step, after_step=True, values=(value,)), Log()))


def test_values_of_what_is_watched_are_kept_in_order_and_bounded() -> None:
    console = ConsoleState()
    console.add("loss")
    for step in range(MAX_NUMBERS + 10):
        assert heard(console, step, float(step)) == [Topic.WATCHES]
    (watch,) = console.watches
    assert len(watch.steps) <= MAX_NUMBERS and watch.steps == sorted(watch.steps)
    assert watch.numbers == [float(step) for step in watch.steps] and watch.steps[-1] == MAX_NUMBERS + 9


def test_values_of_what_nobody_watches_are_no_matter() -> None:
    console = ConsoleState()
    unknown = WatchValues(step=0, after_step=True, values=(WatchValue(id=7, number=1.0),), note="half")
    assert list(console.hear(unknown, Log())) == [Topic.WATCHES] and console.note == "half"
    assert list(console.hear(object(), Log())) == []


def test_entries_and_watches_are_bounded() -> None:
    console = ConsoleState()
    for number in range(MAX_ENTRIES + 5):
        console.begin(str(number), keep=False, step=0)
        console.end(Evaluated(text="1"))
    assert len(console.entries) == MAX_ENTRIES and console.running is None
    for number in range(MAX_WATCHES + 5):
        console.add(str(number))
    assert len(console.watches) == MAX_WATCHES and not console.has_room
    console.add("0")
    assert len(console.watches) == MAX_WATCHES


def test_another_text_is_another_expression() -> None:
    console = ConsoleState()
    console.add("loss")
    heard(console, 0, 1.0)
    (watch,) = console.watches
    console.replace(watch, each=WatchTime.STOP)
    (same,) = console.watches
    assert same.id == watch.id and same.numbers == [1.0] and same.expression.each is WatchTime.STOP
    console.replace(same, text="loss * 2")
    (other,) = console.watches
    assert other.id != watch.id and other.numbers == [] and other.expression.each is WatchTime.STOP


def test_what_runs_stays_when_the_rest_is_forgotten() -> None:
    console = ConsoleState()
    console.begin("1", keep=False, step=0)
    console.end(Evaluated(text="1"))
    running = console.begin("2", keep=False, step=0)
    console.clear()
    assert console.entries == [running] and console.running is running
    again = ConsoleState(console)
    assert again.entries == [running] and again.begin("3", keep=False, step=0).number == 3
