"""The Source panel: it follows training, goes where it is told to, and says what it cannot show."""

from dataclasses import replace

import numpy as np
import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QColor, QImage
from PySide6.QtTest import QAbstractItemModelTester, QTest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from gradscope.protocol import messages as m
from gradscope.protocol.phases import SubStep
from gradscope.protocol.source import SourceLine, StackFrame
from gradscope.state.engine import Origin
from gradscope.state.topics import Topic
from gradscope.ui.docks.code_view import CodeView
from gradscope.ui.docks.moments import MomentsDock
from gradscope.ui.docks.source import SourceDock
from gradscope.ui.look.code_colours import code_colours
from gradscope.ui.look.colours import DARK, LIGHT, Theme
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.models.stack import StackModel
from tests.ui.fakes import small_training, switch_theme
from tests.ui.shell_fakes import ShellController

NET, TRAIN = "/made/up/net.py", "/made/up/train.py"
TEXTS = {
    NET: "\n".join(f"net_{number} = {number}" for number in range(1, 201)),
    TRAIN: "\n".join(f"train_{number} = {number}" for number in range(1, 301)),
}
GONE = "The source of gone.py cannot be read: there is no such file any more, or it is no text"
HERE = SourceLine(NET, 120, "Net.forward")
STACK = (
    StackFrame(HERE, folded=4),
    StackFrame(SourceLine(TRAIN, 30, "main"), folded=1),
    StackFrame(SourceLine(TRAIN, 99)),
)


@pytest.fixture
def dock(qtbot: QtBot, controller: ShellController, themes: ThemeManager) -> SourceDock:
    dock = SourceDock(controller, themes)  # type: ignore[arg-type]
    qtbot.addWidget(dock)
    dock.resize(900, 300)
    dock.show()
    qtbot.waitExposed(dock)
    return dock


@pytest.fixture
def moments(qtbot: QtBot, controller: ShellController, themes: ThemeManager, dock: SourceDock) -> MomentsDock:
    moments = MomentsDock(controller, themes)  # type: ignore[arg-type]
    qtbot.addWidget(moments)
    moments.place_chosen.connect(dock.show_place)
    moments.resize(900, 300)
    moments.show()
    qtbot.waitExposed(moments)
    return moments


def tell(controller: ShellController, *told: object) -> None:
    for message in told:
        controller.state.apply(message)
    controller.flush()


def stop(controller: ShellController, *stack: StackFrame) -> None:
    tell(controller, m.Whereabouts(stack=stack or STACK))


def questions(controller: ShellController) -> list[str]:
    """The files that were asked for, and not answered yet."""
    return [entry[0].file for entry in controller.asked if isinstance(entry[0], m.FetchSource)]


def answer(controller: ShellController) -> None:
    """As the engine would."""
    while controller.asked:
        request, on_reply = controller.asked.pop(0)
        if isinstance(request, m.FetchSource):
            text = TEXTS.get(request.file)
            gone = m.NoSource(file=request.file, reason=GONE)
            on_reply(gone if text is None else m.SourceText(file=request.file, text=text))  # type: ignore[operator]


def line_shown(dock: SourceDock) -> str:
    """The text of the line that is marked; "" where none is."""
    view = dock.view
    assert view.isVisible()
    return view.document().findBlockByNumber(view.marked - 1).text() if view.marked else ""


def is_in_sight(view: CodeView) -> bool:
    top = view.cursorRect().top()
    return view.textCursor().blockNumber() == view.marked - 1 and 0 <= top < view.viewport().height()


# ----------------------------------------------------------------------------------------------- what it follows


def test_before_anything_it_says_what_it_will_show(dock: SourceDock, controller: ShellController) -> None:
    assert dock._empty.text() == "Open a recipe to begin"
    controller.start(small_training())
    assert dock._empty.isVisible() and "Pause inside a layer, or click" in dock._empty.text()
    assert questions(controller) == []


def test_it_follows_a_stop_inside_a_layer(dock: SourceDock, controller: ShellController) -> None:
    controller.start(small_training())
    stop(controller)
    assert questions(controller) == [NET]
    answer(controller)
    assert line_shown(dock) == "net_120 = 120"
    assert is_in_sight(dock.view)
    assert dock.title_bar.note.text() == "net.py, line 120: stopped here"
    # Stopped elsewhere in the same file, nothing has to be asked for.
    stop(controller, StackFrame(SourceLine(NET, 3, "Net.forward")))
    assert line_shown(dock) == "net_3 = 3" and is_in_sight(dock.view)
    assert questions(controller) == []
    # Gone on, the file stays, and no line of it is the current one.
    tell(controller, m.Whereabouts())
    assert line_shown(dock) == "" and dock.view.toPlainText().startswith("net_1 = 1\n")
    assert dock.title_bar.note.text() == "net.py"
    assert not dock.stack.isVisible()


def test_a_stop_goes_before_where_the_newest_phase_ended(dock: SourceDock, controller: ShellController) -> None:
    training = small_training()
    controller.start(training)
    ended = SourceLine(TRAIN, 40, "<module>")
    for message in training.forward():
        tell(controller, replace(message, line=ended) if isinstance(message, m.Report) else message)
    answer(controller)
    assert line_shown(dock) == "train_40 = 40"
    assert dock.title_bar.note.text() == "train.py, line 40: where the newest phase ended"
    stop(controller)
    answer(controller)
    assert line_shown(dock) == "net_120 = 120"
    tell(controller, m.Whereabouts())
    assert line_shown(dock) == "train_40 = 40"


def test_out_of_sight_it_asks_for_nothing_and_catches_up(
    dock: SourceDock, controller: ShellController, qtbot: QtBot
) -> None:
    controller.start(small_training())
    dock.hide()
    stop(controller)
    assert questions(controller) == []
    dock.show()
    qtbot.waitUntil(lambda: questions(controller) == [NET])
    answer(controller)
    assert line_shown(dock) == "net_120 = 120"


def test_an_answer_that_is_late_does_not_come_over_a_newer_one(dock: SourceDock, controller: ShellController) -> None:
    controller.start(small_training())
    stop(controller)
    late = controller.asked.pop()
    stop(controller, STACK[1])
    answer(controller)
    late[1](m.NoSource(file=NET, reason=GONE))  # type: ignore[operator]
    assert line_shown(dock) == "train_30 = 30"


def test_a_file_that_is_not_wanted_any_more_may_be_missing(dock: SourceDock, controller: ShellController) -> None:
    controller.start(small_training())
    stop(controller, STACK[1])
    answer(controller)
    stop(controller)
    late = controller.asked.pop()
    # Its text is at hand, so that nothing else is asked for.
    stop(controller, STACK[1])
    late[1](m.NoSource(file=NET, reason=GONE))  # type: ignore[operator]
    assert line_shown(dock) == "train_30 = 30"


def test_another_session_begins_with_nothing(dock: SourceDock, controller: ShellController) -> None:
    controller.start(small_training())
    stop(controller)
    controller.start(small_training())
    answer(controller)
    assert dock._empty.isVisible() and dock.title_bar.note.text() == ""
    # What was read before may have been written anew.
    stop(controller)
    assert questions(controller) == [NET]


# ----------------------------------------------------------------------------------------------- the stack


def test_the_stack_is_a_list_that_leads_there(dock: SourceDock, controller: ShellController) -> None:
    controller.start(small_training())
    stop(controller)
    answer(controller)
    model = dock.stack_model
    rows = [[model.index(row, column).data() for column in range(3)] for row in range(model.rowCount())]
    assert rows == [
        ["Net.forward", "net.py", "120"],
        ["4 library frames", "", ""],
        ["main", "train.py", "30"],
        ["1 library frame", "", ""],
        ["", "train.py", "99"],
    ]
    dock.stack.setFocus()
    # Down from the line that it stands at, over the libraries, as the arrow keys go.
    QTest.keyClick(dock.stack, Qt.Key.Key_Down)
    answer(controller)
    assert dock.stack.currentIndex().row() == 2
    assert line_shown(dock) == "train_30 = 30"
    assert dock.title_bar.note.text() == "train.py, line 30: has called what is stopped"
    first = dock.stack.visualRect(model.index(0, 0)).center()
    QTest.mouseClick(dock.stack.viewport(), Qt.MouseButton.LeftButton, pos=first)
    assert line_shown(dock) == "net_120 = 120"


def test_tab_goes_from_the_code_to_the_stack_and_back(
    dock: SourceDock, controller: ShellController, qtbot: QtBot
) -> None:
    controller.start(small_training())
    stop(controller)
    answer(controller)
    dock.activateWindow()
    dock.view.setFocus()
    qtbot.waitUntil(dock.view.hasFocus)
    QTest.keyClick(dock.view, Qt.Key.Key_Tab)
    assert dock.stack.hasFocus()
    QTest.keyClick(dock.stack, Qt.Key.Key_Backtab)
    assert dock.view.hasFocus()


def test_the_model_is_a_good_qt_model(qtbot: QtBot) -> None:
    model = StackModel(LIGHT)
    tester = QAbstractItemModelTester(model, QAbstractItemModelTester.FailureReportingMode.Fatal)
    model.show_stack(STACK)
    model.set_theme(DARK)
    model.show_stack(())
    assert tester.model() is model


@pytest.mark.parametrize(
    ("size", "orientation"), [((900, 200), Qt.Orientation.Horizontal), ((330, 600), Qt.Orientation.Vertical)]
)
def test_the_stack_lies_where_there_is_room(
    dock: SourceDock, controller: ShellController, size: tuple[int, int], orientation: Qt.Orientation, qtbot: QtBot
) -> None:
    controller.start(small_training())
    dock.resize(*size)
    stop(controller)
    answer(controller)
    qtbot.wait(30)
    assert dock._split.orientation() is orientation
    code, stack = dock._split.sizes()
    assert code > 1.9 * stack > 0


# ----------------------------------------------------------------------------------------------- moments


def places(line: SourceLine | None) -> tuple[m.Place, ...]:
    return (m.Place(SubStep.BATCH, "", 0, "", ""), m.Place(SubStep.FORWARD, "net.0", 0, "call", "(32, 16)", line))


def run(controller: ShellController, line: SourceLine | None) -> None:
    """A forward whose one call was made by this line."""
    training = small_training()
    controller.start(training)
    tell(controller, m.Places(first=0, rows=places(line)))
    for message in training.forward():
        if isinstance(message, m.Report):
            message = replace(message, places=np.array([0, 1]), times=np.array([[0.0, 1, 1], [1, 1, 1]]))
        tell(controller, message)


def click(moments: MomentsDock, row: int) -> None:
    place = moments.view.visualRect(moments.model.index(row, 0)).center()
    QTest.mouseClick(moments.view.viewport(), Qt.MouseButton.LeftButton, pos=place)


def test_a_click_in_moments_shows_the_line_that_made_the_call(
    dock: SourceDock, moments: MomentsDock, controller: ShellController
) -> None:
    run(controller, HERE)
    click(moments, 1)
    answer(controller)
    assert line_shown(dock) == "net_120 = 120"
    assert dock.title_bar.note.text() == "net.py, line 120: calls net.0"
    # A stop comes before it, and the row that is selected already takes back there.
    stop(controller, STACK[1])
    answer(controller)
    assert line_shown(dock) == "train_30 = 30"
    click(moments, 1)
    assert line_shown(dock) == "net_120 = 120"


def test_selecting_a_layer_elsewhere_leaves_the_source_alone(
    dock: SourceDock, moments: MomentsDock, controller: ShellController
) -> None:
    from gradscope.state.selection import Selection

    run(controller, HERE)
    controller.select(Selection.of_node("net.0", is_parameter=False))
    assert moments.view.currentIndex().row() == 1
    assert questions(controller) == []


def test_a_call_by_no_line_of_the_users_is_said(
    dock: SourceDock, moments: MomentsDock, controller: ShellController
) -> None:
    run(controller, None)
    click(moments, 1)
    sentence = "No line of yours calls net.0: torch, another package or gradscope does"
    assert dock._empty.isVisible() and dock._empty.text() == sentence
    stop(controller)
    answer(controller)
    click(moments, 1)
    assert line_shown(dock) == "" and dock.title_bar.note.text() == sentence


# ----------------------------------------------------------------------------------------------- what cannot be shown


def test_a_snapshot_has_no_source(dock: SourceDock, moments: MomentsDock, controller: ShellController) -> None:
    run(controller, HERE)
    controller.state.snapshot = Origin(path="/s.zip", created="")
    controller.state.touch(*Topic)
    controller.flush()
    click(moments, 1)
    assert dock._empty.isVisible() and dock._empty.text().startswith("A snapshot holds no source")
    assert questions(controller) == []


def test_a_file_that_cannot_be_had_is_one_sentence(dock: SourceDock, controller: ShellController) -> None:
    controller.start(small_training())
    stop(controller, StackFrame(SourceLine("/made/up/gone.py", 3)), *STACK)
    answer(controller)
    assert dock._empty.text() == GONE
    assert dock.title_bar.note.text() == "gone.py"
    stop(controller)
    answer(controller)
    assert line_shown(dock) == "net_120 = 120"


@pytest.mark.parametrize(
    ("truncated", "why"), [(True, "the file is too long to be shown to there"), (False, "the file ends before it")]
)
def test_a_line_beyond_what_is_shown_is_said(
    dock: SourceDock, controller: ShellController, truncated: bool, why: str
) -> None:
    controller.start(small_training())
    stop(controller, StackFrame(SourceLine(NET, 5000)))
    _, on_reply = controller.asked.pop()
    on_reply(m.SourceText(file=NET, text="x = 1\n", truncated=truncated))  # type: ignore[operator]
    assert line_shown(dock) == ""
    assert dock.title_bar.note.text() == f"net.py, line 5000: {why}"


# ----------------------------------------------------------------------------------------------- the code


def formats(view: CodeView, number: int) -> dict[str, str]:
    """text -> colour of each piece of a line that has one."""
    block = view.document().findBlockByNumber(number - 1)
    data = block.text().encode("utf-16-le")
    return {
        data[2 * found.start : 2 * (found.start + found.length)].decode("utf-16-le"): found.format.foreground()
        .color()
        .name()  # type: ignore[attr-defined]
        for found in block.layout().formats()
    }


@pytest.fixture
def view(qtbot: QtBot, themes: ThemeManager) -> CodeView:
    view = CodeView(themes)
    qtbot.addWidget(view)
    view.resize(500, 300)
    view.show()
    qtbot.waitExposed(view)
    return view


CODE = '''import torch
@torch.no_grad()
def forward(self, x):
    """A text
    of two lines."""
    return len("\U0001f600é", 12)  # why
'''


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_code_is_coloured(view: CodeView, themes: ThemeManager, qtbot: QtBot, theme: Theme) -> None:
    view.show_code(CODE)
    if theme is DARK:
        switch_theme(themes, DARK)
    qtbot.waitUntil(lambda: not view.highlighter.is_busy)
    colours = code_colours(theme)
    assert formats(view, 1)["import"] == colours.keyword
    assert formats(view, 2)["@torch"] == colours.decorator
    assert formats(view, 3) | {"forward": colours.name, "self": colours.builtin} == formats(view, 3)
    assert formats(view, 5) == {'    of two lines."""': colours.string}
    last = formats(view, 6)
    assert last["return"] == colours.keyword and last["len"] == colours.builtin
    assert last["\U0001f600é"] == colours.string and last["12"] == colours.number and last["# why"] == colours.comment


def test_a_long_file_is_coloured_bit_by_bit_to_its_end(view: CodeView, qtbot: QtBot) -> None:
    view.show_code("x = 'a'\n" * 5000 + "import torch")
    string = code_colours(LIGHT).string
    qtbot.waitUntil(lambda: formats(view, 1) == {"'": string, "a": string})
    assert view.highlighter.is_busy
    view.mark(5001)
    qtbot.waitUntil(lambda: not view.highlighter.is_busy, timeout=20_000)
    assert formats(view, 5001)["import"] == code_colours(LIGHT).keyword
    # Another text before the end of the one before.
    view.show_code("x = 'a'\n" * 5000)
    view.show_code("y = 2")
    qtbot.waitUntil(lambda: not view.highlighter.is_busy)
    assert formats(view, 1) == {"2": code_colours(LIGHT).number}


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_every_colour_is_legible_also_on_the_current_line(theme: Theme) -> None:
    colours = vars(code_colours(theme))
    for behind in (theme.surface, colours["current_line"]):
        for name, colour in colours.items():
            if name != "current_line":
                bright, dark = sorted((luminance(colour), luminance(behind)), reverse=True)
                assert (bright + 0.05) / (dark + 0.05) >= 4.5, (name, behind)


def test_the_current_line_has_an_arrow_and_another_background(view: CodeView, qtbot: QtBot) -> None:
    view.show_code("x = 1\n" * 20)
    qtbot.waitUntil(lambda: not view.highlighter.is_busy)
    before = view.grab().toImage()
    view.mark(3)
    after = view.grab().toImage()
    line = view.cursorRect()
    in_text = view.viewport().mapTo(view, QPoint(view.viewport().width() - 30, line.center().y()))
    assert after.pixelColor(in_text) == QColor(code_colours(LIGHT).current_line) != before.pixelColor(in_text)
    margin = range(view.margin_width())

    def has_accent(image: QImage) -> bool:
        return any(image.pixelColor(x, in_text.y()) == QColor(LIGHT.accent) for x in margin)

    assert has_accent(after) and not has_accent(before)


def test_letters_are_of_one_width_and_follow_the_size_of_the_others(view: CodeView, qapp: QApplication) -> None:
    metrics = view.fontMetrics()
    assert metrics.horizontalAdvance("i") == metrics.horizontalAdvance("W")
    before, width = qapp.font(), view.margin_width()
    try:
        larger = qapp.font()
        larger.setPointSizeF(2 * before.pointSizeF())
        qapp.setFont(larger)
        qapp.processEvents()
        assert view.font().pointSizeF() == larger.pointSizeF()
        assert view.viewport().x() >= view.margin_width() > 1.5 * width
    finally:
        qapp.setFont(before)
        qapp.processEvents()


def test_what_is_hidden_in_a_file_is_written_out_and_a_long_line_cut(view: CodeView) -> None:
    view.show_code("a = '\u202e'\n" + "b" * 100_000 + "\n\tc = 1\u2028\n\x0cd = 2")
    lines = view.toPlainText().split("\n")
    assert lines[0] == r"a = '\u202e'" and len(lines[1]) < 3000 and lines[1].endswith(" ...")
    assert lines[2] == r"    c = 1\u2028" and lines[3] == r"\x0cd = 2"


def test_a_long_line_scrolls_sideways(view: CodeView) -> None:
    view.show_code("x = 1\n" + "y" * 500)
    assert view.horizontalScrollBar().maximum() > 0
    view.horizontalScrollBar().setValue(100)
    view.mark(1)
    assert view.horizontalScrollBar().value() == 0
