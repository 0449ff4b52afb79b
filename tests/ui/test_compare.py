"""The Compare tab: what it asks for, shows, sorts, and when it stops."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from gradscope.client.snapshot_source import Reopened
from gradscope.protocol import messages as m
from gradscope.protocol.failure import BadInput, Failure, FailureKind
from gradscope.protocol.messages import Difference, Differences, FetchDifferencePicture, FetchDifferences
from gradscope.protocol.phases import Position
from gradscope.protocol.subjects import SubjectKey, SubjectKind
from gradscope.state import comparison
from gradscope.state.engine import Origin
from gradscope.ui.actions.comparer import Comparer
from gradscope.ui.compare.compare_tab import CompareTab
from gradscope.ui.compare.comparison_table import Column
from gradscope.ui.docks.inspector import InspectorDock
from gradscope.ui.look.colours import DARK
from gradscope.ui.look.theme import ThemeManager
from tests.ui.fakes import FakeTraining, small_training, started, switch_theme

WEIGHT = SubjectKey(SubjectKind.PARAMETER, "net.0.weight")
ACTIVATION = SubjectKey(SubjectKind.ACTIVATION, "net.1")


class Work:
    """In the place of Background: what is to be done waits until the test says so."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Callable[[], object], Callable[[object], None]]] = []

    def run(self, work: Callable[[], object], on_done: Callable[[object], None]) -> None:
        self.waiting.append((work, on_done))


class Lab:
    def __init__(self, qtbot: QtBot, themes: ThemeManager, theirs: FakeTraining | None = None) -> None:
        self.controller = started(small_training(), steps=2)
        self.work = Work()
        self.controller.background = self.work  # type: ignore[attr-defined]
        self.told: list[Failure] = []
        self.controller.tell = self.told.append  # type: ignore[attr-defined]
        self.comparer = Comparer(self.controller)  # type: ignore[arg-type]
        self.tab = CompareTab(self.controller, self.comparer, themes)  # type: ignore[arg-type]
        self.tab.resize(900, 600)
        qtbot.addWidget(self.tab)
        self._theirs = started(theirs or small_training(), steps=2).state
        self._theirs.snapshot = Origin(path="/some/s.zip", created="2026-11-21T10:12:00+00:00")

    def start(self) -> Lab:
        """As if the snapshot had been read."""
        self.comparer.start("/some/s.zip")
        self.read()
        return self

    def read(self, result: object = None) -> None:
        _, on_done = self.work.waiting.pop(0)
        on_done(result or Reopened(snapshot=None, state=self._theirs))  # type: ignore[arg-type]

    def answer(self, *found: Difference, reply: object = None) -> None:
        """Answer what is under way; what is not named is identical."""
        request, on_reply = self.controller.fetches.pop(0)
        assert isinstance(request, FetchDifferences)
        by_key = {difference.subject: difference for difference in found}
        items = tuple(by_key.get(key, Difference(subject=key, count=5)) for key in request.subjects)
        on_reply(reply or Differences(items=items))

    def column(self, column: Column) -> list[str]:
        return [self.tab.model.index(row, column).data() for row in range(self.tab.model.rowCount())]


@pytest.fixture
def lab(qtbot: QtBot, themes: ThemeManager) -> Lab:
    return Lab(qtbot, themes)


def test_identical_says_identical(lab: Lab) -> None:
    lab.start().answer()
    assert lab.tab.result.text() == "All 20 tensors are identical"
    assert set(lab.column(Column.REMARK)) == {"identical"}
    assert set(lab.column(Column.ABSOLUTE)) == {"0"}
    assert not lab.comparer.is_busy and not lab.controller.fetches
    assert lab.tab.ours.text() == "Small, step 1, now"
    assert lab.tab.theirs.text() == "Small, step 1, of s.zip, written 2026-11-21 10:12 UTC"


def test_the_largest_difference_comes_first(lab: Lab) -> None:
    bias, grad = SubjectKey(SubjectKind.PARAMETER, "net.0.bias"), SubjectKey(SubjectKind.GRAD, "net.2.bias")
    lab.start().answer(
        Difference(subject=WEIGHT, count=128, differing=1, absolute=0.5, relative=0.1, at=(3, 4), ours=1.5, theirs=1.0),
        Difference(subject=bias, count=16, differing=16, absolute=math.inf, relative=math.inf),
        Difference(subject=ACTIVATION, count=512, differing=256, absolute=0.25, relative=2),
        Difference(subject=grad, problem="It is gone"),
    )
    assert lab.column(Column.SUBJECT)[:4] == ["net.0.bias", "net.0.weight", "net.1", "net.2.bias"]
    assert lab.column(Column.ABSOLUTE)[:4] == ["Inf", "0.5", "0.25", ""]
    assert lab.column(Column.DIFFERING)[:3] == ["100 %", "0.8 %", "50 %"]
    assert lab.column(Column.REMARK)[3] == "It is gone"
    assert lab.tab.result.text() == "3 differ, 1 without values, 16 identical"
    lab.tab.table.sortByColumn(Column.RELATIVE, Qt.SortOrder.DescendingOrder)
    assert lab.column(Column.SUBJECT)[:3] == ["net.0.bias", "net.1", "net.0.weight"]
    lab.tab.table.sortByColumn(Column.SUBJECT, Qt.SortOrder.AscendingOrder)
    assert lab.column(Column.SUBJECT) == sorted(lab.column(Column.SUBJECT))
    lab.tab.only_differences.setChecked(True)
    assert lab.tab.model.rowCount() == 4
    lab.tab.filter.setText("BIAS")
    assert sorted(lab.column(Column.SUBJECT)) == ["net.0.bias", "net.2.bias"]


def test_a_row_selects_its_subject_and_shows_both_summaries(lab: Lab) -> None:
    lab.start().answer(
        Difference(subject=WEIGHT, count=128, differing=1, absolute=0.5, at=(3, 4), ours=1.5, theirs=1.0)
    )
    lab.tab.table.setCurrentIndex(lab.tab.model.index(0, 0))
    assert lab.controller.state.selection.subject == WEIGHT
    assert lab.tab.largest.text() == "Largest difference at [3, 4]: A 1.5, B 1"
    cells = [[lab.tab.summaries.index(row, column).data() for column in range(10)] for row in range(2)]
    assert [row[0] for row in cells] == ["A", "B"] and [row[1] for row in cells] == ["128", "128"]
    latest = lab.controller.state.history.latest(WEIGHT)
    assert latest is not None and cells[0][9] == f"{latest.summary[8]:.4g}"
    lab.controller.select(replace(lab.controller.state.selection, name="net.2.weight"))
    assert lab.tab.model.row_at(lab.tab.table.currentIndex().row()).key.name == "net.2.weight"  # type: ignore[union-attr]


def test_subjects_of_one_side(qtbot: QtBot, themes: ThemeManager) -> None:
    lab = Lab(
        qtbot, themes, FakeTraining(layers={"net.0": (32, 17)}, parameters={"net.0.weight": (16, 8), "head": (3,)})
    )
    lab.start().answer()
    remarks = dict(
        zip(
            zip(lab.column(Column.SUBJECT), lab.column(Column.KIND), strict=True),
            lab.column(Column.REMARK),
            strict=True,
        )
    )
    assert remarks["net.0", "activation"] == "shapes: 32 × 16 and 32 × 17"
    assert remarks["net.2.bias", "gradient"] == "only in A"
    assert remarks["head", "update"] == "only in B"
    assert remarks["net.0.weight", "parameter"] == "identical"
    assert lab.column(Column.REMARK)[0].startswith("shapes"), "as different as can be"
    assert "only in A" in lab.tab.result.text() and "3 only in B" in lab.tab.result.text()
    row = next(i for i, text in enumerate(lab.column(Column.REMARK)) if text == "only in B")
    lab.tab.table.setCurrentIndex(lab.tab.model.index(row, 0))
    assert lab.tab.summaries.index(0, 1).data() == "–" and lab.tab.summaries.index(1, 1).data() == "3"


def test_bit_by_bit_and_cancelled(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "BATCH_SUBJECTS", 3)
    lab.comparer.start("/some/s.zip")
    assert lab.tab.result.text() == "Reading the snapshot ..." and lab.tab.cancel.isVisibleTo(lab.tab)
    lab.read()
    lab.answer()
    lab.answer()
    lab.tab.refresh()
    assert lab.tab.progress.value() == 6 and lab.tab.progress.maximum() == 20
    assert lab.tab.result.text() == "Comparing: 14 tensors to go"
    lab.comparer.cancel()
    assert len(lab.controller.fetches) == 1, "what is under way still comes in"
    lab.answer()
    assert lab.controller.fetches == [] and lab.tab.result.text() == "11 not compared, 9 identical"
    assert not lab.tab.cancel.isVisibleTo(lab.tab)
    lab.comparer.again()
    lab.read()
    assert lab.tab.progress.value() == 0


def test_a_session_that_moves_on_makes_it_old(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "BATCH_SUBJECTS", 3)
    lab.start().answer()
    lab.controller.play(iter([m.Moved(position=replace(lab.controller.state.position, step=3))]))
    lab.answer()
    assert lab.controller.fetches == [] and not lab.comparer.is_busy
    assert lab.tab.result.text() == "17 not compared, 3 identical (A has moved on since)"
    assert "as it was at step" in lab.tab.ours.text() and "now" not in lab.tab.ours.text()
    assert lab.comparer.comparison is not None and lab.comparer.comparison.is_stale


def test_an_answer_of_another_moment_is_not_taken(lab: Lab) -> None:
    lab.start()
    lab.controller.state.apply(m.Moved(position=replace(lab.controller.state.position, step=3)))
    lab.answer()
    assert lab.tab.result.text() == "20 not compared (A has moved on since)"


def test_a_snapshot_that_cannot_be_read(lab: Lab) -> None:
    lab.comparer.start("/some/s.zip")
    lab.read(BadInput("/some/s.zip is damaged: it is no zip"))
    assert [failure.sentence for failure in lab.told] == ["/some/s.zip is damaged: it is no zip"]
    assert not lab.comparer.is_busy and lab.comparer.comparison is None


def test_a_failure_on_the_way_ends_it(lab: Lab) -> None:
    lab.start()
    lab.answer(reply=m.Failed(failure=Failure(kind=FailureKind.BAD_INPUT, sentence="gone"), position=Position()))
    assert not lab.comparer.is_busy and lab.controller.fetches == []


def test_closing_forgets_it(lab: Lab) -> None:
    lab.comparer.start("/some/s.zip")
    lab.comparer.close()
    lab.read()
    assert lab.comparer.comparison is None and lab.controller.fetches == []
    lab.start()
    lab.comparer.close()
    lab.answer()
    assert lab.tab.model.rowCount() == 0 and lab.tab.ours.text() == ""


def test_it_follows_the_theme(lab: Lab, themes: ThemeManager) -> None:
    lab.start().answer()
    before = lab.tab.model.index(0, Column.ABSOLUTE).data(Qt.ItemDataRole.ForegroundRole)
    switch_theme(themes, DARK)
    assert lab.tab.model.index(0, Column.ABSOLUTE).data(Qt.ItemDataRole.ForegroundRole) != before


def test_copied_numbers_are_exact(lab: Lab) -> None:
    lab.start().answer(Difference(subject=WEIGHT, count=128, differing=1, absolute=1 / 3, relative=0.1))
    assert f"\t{1 / 3!r}\t0.1\t" in lab.tab.table.all_as_text()


# ---------------------------------------------------------------------------------------- the difference picture


def test_the_inspector_shows_the_difference_while_there_is_one(qtbot: QtBot, lab: Lab, themes: ThemeManager) -> None:
    dock = InspectorDock(lab.controller, themes, comparer=lab.comparer)  # type: ignore[arg-type]
    qtbot.addWidget(dock)
    dock.show()
    chart = dock.difference
    assert chart is not None
    tab = dock.tabs.indexOf(chart)
    assert not dock.tabs.isTabVisible(tab)
    lab.controller.select(
        replace(lab.controller.state.selection, name="net.0.weight", is_parameter=True, kind=WEIGHT.kind)
    )
    lab.controller.fetches.clear()
    lab.start()
    assert dock.tabs.isTabVisible(tab) and dock.tabs.currentIndex() == tab
    lab.controller.fetches.sort(key=lambda fetch: isinstance(fetch[0], FetchDifferencePicture))
    lab.answer()
    request, on_reply = lab.controller.fetches.pop()
    assert request == FetchDifferencePicture(path="/some/s.zip", subject=WEIGHT)
    values = np.zeros((8, 4), dtype=np.float32)
    picture = m.Picture(subject=WEIGHT, shape=(16, 8), index=(), block=(2, 2), values=values)
    on_reply(picture)
    assert chart.message == "A and B are the same here"
    values[1, 1] = -3
    on_reply(picture)
    chart.mark_dirty()
    assert chart.message == "" and chart.readout.text() == "a pixel is the largest difference of 2 × 2"
    lab.comparer.close()
    assert not dock.tabs.isTabVisible(tab)
