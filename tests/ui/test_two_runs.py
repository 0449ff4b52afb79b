"""Two runs beside each other in the window: the page, the tab of branches, the dialog for two files, ways that lead there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QContextMenuEvent
from PySide6.QtWidgets import QApplication, QMenu
from pytestqt.qtbot import QtBot

from gradscope.comparing import Beside, lay_over
from gradscope.comparing.reading.remembered import run_of_branch
from gradscope.comparing.reading.run import sheet_of_subjects
from gradscope.comparing.sheets import LOSS, WHOLE_STEP, Sheet, sheet_of_numbers
from gradscope.protocol.messages import Branch, WentTo
from gradscope.protocol.phases import Position, Rest, SubStep
from gradscope.protocol.subjects import COLUMNS, COUNT, L2, SubjectKey, SubjectKind
from gradscope.ui.actions.rows import ActionId
from gradscope.ui.actions.run_comparisons import BranchComparison, FileComparison
from gradscope.ui.compare.branches_tab import BranchesTab
from gradscope.ui.compare.run_page import RunPage
from gradscope.ui.compare.run_rows import PARTING_MARK, RunColumn
from gradscope.ui.compare.run_window import RunWindow
from gradscope.ui.dialogs.compare_runs import CompareRunsDialog
from gradscope.ui.look.settings import Setting
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.window.main_window import MainWindow
from tests.ui.fakes import small_training
from tests.ui.shell_fakes import ShellController
from tests.ui.test_timeline import tell, told

STEPS = 4


class AtOnce:
    """A background that does its work when it is told to."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Callable[[], Any], Callable[[Any], None]]] = []

    def run(self, work: Callable[[], Any], on_done: Callable[[Any], None]) -> None:
        self.waiting.append((work, on_done))

    def do(self) -> None:
        while self.waiting:
            work, on_done = self.waiting.pop(0)
            on_done(work())


def grads(**norms: list[float]) -> Sheet:
    values = np.zeros((len(COLUMNS), len(norms), STEPS))
    values[COUNT], values[L2] = 10.0, list(norms.values())
    keys = [SubjectKey(SubjectKind.GRAD, name) for name in norms]
    micros = [WHOLE_STEP] * STEPS
    return sheet_of_subjects(SubStep.BACKWARD, SubjectKind.GRAD, keys, range(STEPS), micros, values)


def losses(*values: float) -> Sheet:
    return sheet_of_numbers(SubStep.LOSS, LOSS, np.arange(len(values)), np.array(values)[:, None])


@pytest.fixture
def beside() -> Beside:
    ours = [losses(4, 3, 2, 1), grads(a=[1, 1, 2, 8], b=[1, 1, 1, 1], mine=[1, 1, 1, 1])]
    theirs = [losses(4, 3, 2, 1.5), grads(a=[1, 1, 1, 1], b=[1, 1, 1, 1], theirs=[1, 1, 1, 1])]
    runs = [
        run_of_branch(name, sheets, {"branch": {"changed there": change}})
        for name, sheets, change in (("Branch 1", ours, "lr"), ("Branch 0", theirs, "nothing"))
    ]
    return lay_over(runs[0], runs[1])


@pytest.fixture
def background(controller: ShellController) -> AtOnce:
    controller.background = AtOnce()  # type: ignore[attr-defined]
    return controller.background  # type: ignore[attr-defined,no-any-return]


@pytest.fixture
def page(controller: ShellController, themes: ThemeManager, beside: Beside, qtbot: QtBot) -> RunPage:
    page = RunPage(controller, themes, is_of_session=False)  # type: ignore[arg-type]
    qtbot.addWidget(page)
    page.resize(1000, 800)
    page.show_beside(beside)
    page.show()
    return page


def column_of(page: RunPage, column: RunColumn) -> list[str]:
    return [str(page.model.index(row, column).data()) for row in range(page.model.rowCount())]


# ------------------------------------------------------------------------------------------------ the page


def test_the_rows_are_sorted_by_their_largest_difference_and_the_parting_is_marked(page: RunPage) -> None:
    assert column_of(page, RunColumn.NAME) == [f"{PARTING_MARK}a", "loss", "b", "theirs", "mine"]
    assert column_of(page, RunColumn.RELATIVE)[:3] == ["87.5 %", "33.3 %", "0"]
    assert column_of(page, RunColumn.STEP)[:2] == ["3", "3"] and column_of(page, RunColumn.FIRST)[:2] == ["2", "3"]
    remarks = column_of(page, RunColumn.REMARK)
    assert remarks[0] == "The runs part here: step 2, backward" and remarks[3:] == ["only in B", "only in A"]
    assert (
        "step 2, backward" in page.headline.text() and page.below.text() == "Equal to the last digit up to step 2, loss"
    )


def test_both_numbers_of_a_row_are_in_sight_in_a_small_window(page: RunPage, qtbot: QtBot) -> None:
    """The tab has about 50 digits of room in a window of 1024 x 700."""
    digit, header = page.table.fontMetrics().horizontalAdvance("0"), page.table.horizontalHeader()

    def end(column: RunColumn) -> int:
        return header.sectionPosition(column) + header.sectionSize(column)

    usual = [header.sectionSize(column) for column in RunColumn]
    page.resize(51 * digit, 400)
    qtbot.waitUntil(lambda: end(RunColumn.THEIRS) <= page.table.viewport().width())
    # A width that somebody has chosen stays.
    header.resizeSection(RunColumn.NAME, 9 * digit)
    page.resize(53 * digit, 400)
    qtbot.wait(10)
    assert header.sectionSize(RunColumn.NAME) == 9 * digit
    page.resize(1000, 800)
    qtbot.waitUntil(lambda: [header.sectionSize(column) for column in RunColumn][:5] == usual[:5])


def test_a_step_can_be_chosen_and_the_way_to_the_parting_leads_to_its_row_and_step(page: RunPage) -> None:
    page.moment.setCurrentIndex(1)
    page.step.setValue(0)
    assert set(column_of(page, RunColumn.RELATIVE)[:3]) == {"0"}
    page.filter.setText("nothing of the kind")
    page.show_parting.click()
    assert page.step.value() == 2 and page.chosen == SubjectKey(SubjectKind.GRAD, "a")
    place = page.model.place_of(SubjectKey(SubjectKind.GRAD, "a"))
    assert place is not None and column_of(page, RunColumn.OURS)[place] == "2"


def test_rows_are_filtered_by_name_and_kind_and_by_whether_they_differ(page: RunPage) -> None:
    page.only_differences.setChecked(True)
    assert column_of(page, RunColumn.NAME) == [f"{PARTING_MARK}a", "loss", "theirs", "mine"]
    page.filter.setText("gradient")
    assert "loss" not in column_of(page, RunColumn.NAME) and page.count.text() == "3 of 5 rows"


@pytest.mark.parametrize("order", list(Qt.SortOrder))
def test_what_has_no_number_comes_last_in_either_order(page: RunPage, order: Qt.SortOrder) -> None:
    page.table.sortByColumn(RunColumn.OURS, order)
    assert column_of(page, RunColumn.NAME)[-2:] == ["theirs", "mine"]


def test_the_curve_of_the_chosen_row_is_drawn_and_those_of_whole_steps(page: RunPage, qtbot: QtBot) -> None:
    assert page.select(SubjectKey(SubjectKind.GRAD, "a"))
    assert page.chart.accessibleName() == "a (gradient)" and not page.chart.message
    page.pages.setCurrentWidget(page.curves)
    qtbot.waitUntil(lambda: [chart.accessibleName() for chart in page.curves.charts] == [LOSS], timeout=20_000)
    table = page.curves.charts[0].table(page._controller.state)
    assert [table.cell(3, column) for column in range(4)] == [3, 1.0, 1.5, 0.5]


def test_what_differs_is_listed_and_counted(page: RunPage) -> None:
    assert page.pages.tabText(2) == "What differs (1)"
    model = page.facts.facts.model()
    assert [model.index(0, column).data() for column in range(4)] == ["branch", "changed there", "lr", "nothing"]


# ------------------------------------------------------------------------------------------------ two files


def dialog_of(controller: ShellController, qtbot: QtBot) -> CompareRunsDialog:
    dialog = CompareRunsDialog(FileComparison(controller))  # type: ignore[arg-type]
    qtbot.addWidget(dialog)
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, False)
    dialog.show()
    return dialog


def test_a_file_that_cannot_be_read_is_told_in_one_sentence_and_the_dialog_stays(
    controller: ShellController, background: AtOnce, tmp_path: Path, qtbot: QtBot
) -> None:
    dialog = dialog_of(controller, qtbot)
    assert not dialog.compare.isEnabled()
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    good.write_text('{"phase": "forward", "step": 0, "loss": 1.0, "subjects": []}\n', encoding="utf-8")
    bad.write_text("no json\n", encoding="utf-8")
    dialog.ours.setText(str(good))
    dialog.theirs.setText(str(tmp_path / "missing.jsonl"))
    assert not dialog.compare.isEnabled() and dialog.hint.text().endswith("missing.jsonl does not exist")
    dialog.theirs.setText(str(bad))
    dialog.accept()
    assert dialog.progress.isVisible() and not dialog.ours.isEnabled()
    background.do()
    assert dialog.isVisible() and dialog.hint.text().startswith(f"{bad}: line 1 is no line of a run")
    assert dialog.ours.isEnabled() and dialog.compare.isEnabled()


def test_two_files_are_compared_and_their_window_opens_without_an_engine(
    controller: ShellController, themes: ThemeManager, background: AtOnce, tmp_path: Path, qtbot: QtBot
) -> None:
    window = MainWindow(controller, themes)  # type: ignore[arg-type]
    qtbot.addWidget(window)
    window.show()
    paths = []
    for name, loss in (("a.jsonl", 1.0), ("b.jsonl", 2.0)):
        paths.append(tmp_path / name)
        paths[-1].write_text(f'{{"phase": "forward", "step": 0, "loss": {loss}, "subjects": []}}\n', encoding="utf-8")
    window.actions_[ActionId.COMPARE_RUNS].trigger()
    dialog = window.findChild(CompareRunsDialog)
    assert dialog is not None
    dialog.ours.setText(str(paths[0]))
    dialog.theirs.setText(str(paths[1]))
    dialog.accept()
    background.do()
    shown = window.findChild(RunWindow)
    assert shown is not None and shown.isVisible() and "step 0, loss" in shown.page.headline.text()
    assert controller.settings.get(Setting.COMPARED_RUNS) == [str(path) for path in paths]
    assert shown.windowTitle().startswith("a.jsonl and b.jsonl")


# ------------------------------------------------------------------------------------------------ branches


def left_branch(controller: ShellController) -> None:
    """Training was on branch 0 up to the newest step, has gone back to step 4, and on from there on branch 1."""
    training = small_training()
    controller.start(training, steps=8)
    branches = (
        Branch(id=0, parent=None, from_step=0, until_step=8),
        Branch(id=1, parent=0, from_step=4, until_step=4, change="group 0: lr 0.1 -> 0.01"),
    )
    tell(controller, WentTo(position=Position(rest=Rest.READY, step=4), branch=1))
    tell(controller, told(branch=1, branches=branches))


def test_a_branch_is_compared_with_the_one_that_training_is_on(
    controller: ShellController, themes: ThemeManager, background: AtOnce, qtbot: QtBot
) -> None:
    left_branch(controller)
    comparison = BranchComparison(controller)  # type: ignore[arg-type]
    tab = BranchesTab(controller, comparison, themes)  # type: ignore[arg-type]
    qtbot.addWidget(tab)
    tab.resize(900, 700)
    tab.show()
    comparison.start(0)
    assert tab.note.text() == "Comparing ..."
    qtbot.waitUntil(lambda: bool(background.waiting), timeout=20_000)
    background.do()
    assert tab.page is not None and tab.page.ours.text().startswith("First run: Branch 1, from step 4")
    assert tab.page.headline.text().startswith("All numbers that both runs have are equal")
    keys = {key for kind in SubjectKind for key in controller.state.history.subjects(kind)}
    assert keys <= set(comparison.beside.rows.keys)  # type: ignore[union-attr]
    # A row that is chosen is selected everywhere, and a step that is shown everywhere is shown here.
    key = next(key for key in keys if key.kind is SubjectKind.GRAD)
    tab.page.select(key)
    assert controller.state.selection.subject == key
    controller.show_step(2)
    assert tab.page.moment.currentIndex() == 1 and tab.page.step.value() == 2
    # The newest step can be chosen here too, though elsewhere it is what is shown anyway.
    tab.page.step.setValue(3)
    assert controller.state.shown.step is None and tab.page.chosen_step == 3
    controller.show_step(1)
    assert tab.page.chosen_step == 1
    controller.show_step(None)
    assert tab.page.chosen_step is None


def test_a_branch_of_which_nothing_is_kept_is_told_so(
    controller: ShellController, themes: ThemeManager, background: AtOnce, qtbot: QtBot
) -> None:
    left_branch(controller)
    comparison = BranchComparison(controller)  # type: ignore[arg-type]
    tab = BranchesTab(controller, comparison, themes)  # type: ignore[arg-type]
    qtbot.addWidget(tab)
    comparison.start(7)
    qtbot.waitUntil(lambda: not comparison.is_busy, timeout=20_000)
    assert tab.note.text() == "Nothing is kept any more of what was recorded on branch 7"


def test_the_picture_of_branches_leads_there_by_the_mouse_and_the_keyboard(
    controller: ShellController, themes: ThemeManager, background: AtOnce, qtbot: QtBot
) -> None:
    left_branch(controller)
    window = MainWindow(controller, themes)  # type: ignore[arg-type]
    qtbot.addWidget(window)
    window.show()
    window.timeline.show()
    window.timeline.raise_()
    picture = window.timeline.picture
    qtbot.waitUntil(picture.isVisible, timeout=20_000)
    offered = []
    for place, reason in ((0, QContextMenuEvent.Reason.Mouse), (1, QContextMenuEvent.Reason.Keyboard)):
        at = QPoint(20, round(picture.y_of(place)))
        QApplication.sendEvent(picture, QContextMenuEvent(reason, at, picture.mapToGlobal(at)))
        menu = window.timeline.findChildren(QMenu)[-1]
        offered.append([(action.text().replace("&", ""), action.isEnabled()) for action in menu.actions()])
        if place == 0:
            menu.actions()[0].trigger()
        menu.close()
    assert offered[0][0] == ("Compare with the branch I am on", True)
    assert offered[1][0] == ("Compare with the branch I am on", False)
    qtbot.waitUntil(lambda: bool(background.waiting), timeout=20_000)
    background.do()
    tab = window.workspace.currentWidget().findChild(BranchesTab)  # type: ignore[union-attr]
    assert tab is not None and tab.page is not None
