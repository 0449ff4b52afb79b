"""The Findings panel, the check-up dialog, the marks: what a person sees of what is wrong, and what can be done about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import QModelIndex, Qt, QUrl
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QTextBrowser
from pytestqt.qtbot import QtBot

from gradscope.protocol import messages as m
from gradscope.protocol.failure import Failure, FailureKind
from gradscope.protocol.findings import Findings, Planned, Progress, Severity, Verdict
from gradscope.protocol.phases import Rest
from gradscope.protocol.subjects import SubjectKind
from gradscope.state.engine import EngineState, EngineStatus
from gradscope.state.topics import Topic
from gradscope.ui.actions.check_ups import CheckUps
from gradscope.ui.actions.dismissals import MAX_DISMISSED, Dismissals
from gradscope.ui.actions.rows import ActionId
from gradscope.ui.dialogs.check_up import CheckUpDialog
from gradscope.ui.dialogs.finding_page import FindingPageDialog
from gradscope.ui.docks.findings import FindingsDock
from gradscope.ui.findings.model import CHECKS, DISMISSED, Column
from gradscope.ui.look.colours import DARK
from gradscope.ui.look.settings import Setting
from gradscope.ui.look.theme import ThemeManager
from gradscope.ui.models.layer_tree import Column as LayerColumn
from gradscope.ui.plots.charts.loss_chart import LossChart
from gradscope.ui.plots.tabs.history_tab import HistoryTab
from gradscope.ui.window.main_window import MainWindow
from tests.found import CHECKS as ALL_CHECKS
from tests.found import DEAD, LEAK, NOTE, RATE, finding, known
from tests.ui.fakes import deep_training, fill_history, small_training, switch_theme
from tests.ui.shell_fakes import FakeClient, ShellController

PLANNED = (
    Planned(ids=("lr-too-high",), title="A tenth of the rate", forward=60, backward=60, seconds=1.5),
    Planned(ids=("future-leak",), title="Leak over time", forward=0, backward=0, seconds=0, refusal="No tokens"),
    Planned(ids=("batch-leak",), title="Leak over the batch", forward=4, backward=0, seconds=0.1),
)


class Lab(ShellController):
    """Answers a plan at once, and a check-up when the test says so."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.sent: list[object] = []
        self.planned: object = m.CheckUpPlanned(planned=PLANNED)
        self.reply: Callable[[Any], None] = lambda reply: None
        client = FakeClient(self)
        client.send = self.sent.append  # type: ignore[attr-defined]
        self.client = client

    def ask(self, message: object, on_reply: Callable[[Any], None]) -> None:
        self.sent.append(message)
        if isinstance(message, m.PlanCheckUp):
            on_reply(self.planned)
        elif isinstance(message, m.CheckUp):
            self.reply = on_reply


@pytest.fixture
def lab(qtbot: QtBot, tmp_path: Path) -> Lab:
    lab = Lab(tmp_path)
    lab.start(small_training(), steps=8)
    lab.state.apply(m.FoundNow(findings=Findings()))
    return lab


@pytest.fixture
def themes(lab: Lab) -> ThemeManager:
    return ThemeManager(lab.settings, lab)


@pytest.fixture
def window(lab: Lab, themes: ThemeManager, qtbot: QtBot) -> MainWindow:
    window = MainWindow(lab, themes)  # type: ignore[arg-type]
    qtbot.addWidget(window)
    window.resize(1440, 900)
    window.show()
    window.findings.raise_()
    lab.flush()
    return window


def tell(lab: Lab, *found: Any, **more: Any) -> None:
    lab.state.apply(m.FoundNow(findings=known(*found, **more)))
    lab.flush()


def rows(dock: FindingsDock, parent: QModelIndex | None = None) -> list[str]:
    model, parent = dock.model, parent or QModelIndex()
    count = model.rowCount(parent)
    return [
        " | ".join(text for column in Column if (text := str(model.index(row, column, parent).data() or "")))
        for row in range(count)
    ]


# ------------------------------------------------------------------------------------------------- the panel


def test_the_empty_panel_says_what_was_looked_at(window: MainWindow, lab: Lab) -> None:
    looked_at = window.findings.looked_at
    tell(lab)
    assert looked_at.isVisible() and not window.findings.view.isVisible()
    assert looked_at.headline.text() == "3 checks, nothing found in 120 steps"
    assert looked_at.toggle.text() == "3 checks not judged" and not looked_at.reasons.isVisible()
    looked_at.toggle.click()
    assert looked_at.reasons.isVisible()
    assert looked_at.reasons.text().splitlines() == [
        "•  Nothing is clipped: clip-too-low",
        "•  The inputs are no tokens: future-leak, target-not-shifted",
    ]


def test_before_anything_was_looked_at(window: MainWindow, lab: Lab) -> None:
    looked_at = window.findings.looked_at
    assert looked_at.headline.text() == "Nothing has been looked at yet" and looked_at.toggle.isHidden()
    known_now = Findings(checks=ALL_CHECKS)
    lab.state.apply(m.FoundNow(findings=known_now))
    lab.flush()
    assert looked_at.headline.text() == "3 checks, nothing found before the first step"
    lab.state.apply(m.FoundNow(findings=Findings()))
    lab.flush()
    assert "from the first steps on" in looked_at.remark.text()
    lab.state.apply(m.FoundNow(findings=Findings(), is_watching=False))
    lab.flush()
    assert "Settings turns that on" in looked_at.remark.text()
    assert not looked_at.button.isEnabled() and "without findings" in window.actions_[ActionId.CHECK_UP].toolTip()


def test_the_gravest_first_what_follows_folded_under_its_root(window: MainWindow, lab: Lab) -> None:
    dock = window.findings
    tell(lab, RATE, replace(DEAD, root="lr-too-high", severity=Severity.INFO), LEAK, NOTE)
    assert rows(dock) == [
        "Error | Samples of a batch see each other | net.2 | 0",
        "Warning | The learning rate is so high that steps overshoot | whole training | 0",
        "Info | A layer with parameters never runs | net.2 | 0",
        "3 checks in 120 steps; 3 more could not be judged",
    ]
    root = dock.model.index(1, 0)
    assert not dock.view.isExpanded(root)
    assert rows(dock, root) == ["Info | Most units of a layer never fire | net.1 | 3"]
    assert dock.title_bar.note.text() == "1 error, 1 warning, 2 infos"
    assert dock.detail.isVisible() and "Samples of a batch" in dock.detail._title.text(), "the gravest is selected"


def test_what_is_selected_and_unfolded_stays_so(window: MainWindow, lab: Lab) -> None:
    dock = window.findings
    effect = replace(DEAD, root="lr-too-high")
    tell(lab, RATE, effect)
    dock.view.expand(dock.model.index(0, 0))
    dock.view.setCurrentIndex(dock.model.index(0, 0, dock.model.index(0, 0)))
    tell(lab, RATE, replace(effect, step=30), steps=130)
    tell(lab, LEAK, RATE, replace(effect, step=40), steps=140)
    current = dock.model.finding(dock.view.currentIndex())
    assert current is not None and (current.id, current.step) == ("dead-units", 40)
    assert dock.view.isExpanded(dock.model.index(1, 0)) and "steps 3 to 40" in dock.detail.meta.text()
    dock.view.setCurrentIndex(dock.model.index_of(CHECKS))
    assert dock.looked_at.isVisible() and dock.looked_at.headline.text() == "3 checks in 140 steps"


def test_what_stands_under_the_title_is_not_cut(qtbot: QtBot, window: MainWindow, lab: Lab) -> None:
    meta = window.findings.detail.meta
    window.resize(1024, 700)
    tell(lab, replace(DEAD, near=tuple(f"net.{number}" for number in range(4, 15))))
    window.findings.raise_()
    qtbot.waitUntil(meta.isVisible)
    qtbot.waitUntil(lambda: meta.height() >= meta.heightForWidth(meta.width()))
    assert meta.heightForWidth(meta.width()) >= 2 * meta.fontMetrics().lineSpacing() and "…" not in meta.text()


def test_everything_that_is_to_be_said_of_one(window: MainWindow, lab: Lab) -> None:
    detail = window.findings.detail
    tell(lab, DEAD)
    for part in ("Warning", "net.1; also net.3", "steps 3 to 22", "Seen along the way"):
        assert part in detail.meta.text()
    assert (detail.why.text(), detail.do.text(), detail.instead.text()) == (DEAD.why, DEAD.do, DEAD.instead)
    assert detail.evidence.text().splitlines() == [
        "•  Units that never fired: 61 of 64 (threshold 32)",
        "•  Steps looked at: 20 steps; 2,560 samples in steps 3 to 22",
    ]
    assert detail.curves.isHidden() and detail.again.isHidden(), "no experiment has found it"
    detail.copy.click()
    copied = QGuiApplication.clipboard().text()
    for part in (DEAD.title, DEAD.why, DEAD.do, DEAD.instead, "61 of 64", "[dead-units]"):
        assert part in copied


def test_two_runs_over_each_other(window: MainWindow, lab: Lab, themes: ThemeManager) -> None:
    detail = window.findings.detail
    tell(lab, RATE)
    assert detail.curves.isVisible() and detail.curves.plot is not None
    assert [entry.text for entry in detail.curves.legend.entries] == [
        "as it is (ends at 2.5)",
        "a tenth of the rate (ends at 0.318)",
    ]
    styles = {item.opts["pen"].style() for item in detail.curves._items}
    assert len(styles) == 2, "told apart without their colours"
    switch_theme(themes, DARK)
    tell(lab, replace(RATE, curves=(replace(RATE.curves[0], values=(2.0, 2e9)), RATE.curves[1])))
    assert detail.curves._axis.is_log, "one run diverges"
    odd = tuple(replace(curve, values=(float("nan"), float("inf"), -1e308, 1e308)) for curve in RATE.curves)
    tell(lab, replace(RATE, curves=(*odd, replace(odd[0], values=()))))
    assert len(detail.curves.legend.entries) == 3


def test_show_leads_to_the_place_and_its_plot(window: MainWindow, lab: Lab) -> None:
    tell(lab, DEAD)
    window.findings.detail.show_button.click()
    assert lab.state.selection.subject == DEAD.subject
    assert window.workspace.tabText(window.workspace.currentIndex()) == "Activations"
    tell(lab, finding("not-in-optimizer", where="net.0.weight"))
    window.findings.view.activated.emit(window.findings.model.index(0, 0))
    assert (lab.state.selection.name, lab.state.selection.is_parameter) == ("net.0.weight", True)
    tell(lab, finding("gone", where="no.such.layer", phase=DEAD.phase))
    window.findings.detail.show_button.click()
    assert lab.state.selection.name == "net.0.weight", "what is not there is not selected"


def test_show_brings_the_step_and_the_layer_into_view(window: MainWindow, lab: Lab, qtbot: QtBot) -> None:
    """Of a long history and a deep model, however the plots were moved before."""
    training = deep_training(300)
    lab.start(training, steps=1)
    fill_history(lab.state, training, 900)
    lab.flush()
    row = 200
    subject = lab.state.history.subjects(SubjectKind.ACTIVATION)[row]
    tell(lab, replace(DEAD, where=subject.name, subject=subject, first_step=700, step=710))
    window.workspace.setCurrentIndex(1)
    (tab,) = (tab for tab in window.workspace.findChildren(HistoryTab) if tab.isVisible())
    box = tab.heat_map.plot.box
    box.setRange(xRange=(3, 9), yRange=(0, 4), padding=0)
    box.sigRangeChangedManually.emit([True, True])
    window.workspace.setCurrentIndex(0)
    window.findings.detail.show_button.click()
    assert lab.state.selection.subject == subject

    def is_seen() -> bool:
        (left, right), (top, bottom) = (sorted(axis) for axis in box.viewRange())
        return left < 700 < right < left + 100 and top < row < bottom and box.height() / (bottom - top) > 8

    qtbot.waitUntil(is_seen)
    assert tab.lines.plot.box.viewRange()[0] == pytest.approx(box.viewRange()[0]), "the lines below go along"
    tab.heat_map._fit_button.click()
    assert box.viewRange()[0][1] > 890
    # A finding about all of the training shows all of it.
    tell(lab, finding("gone", where=""))
    window.workspace.setCurrentIndex(0)
    (loss,) = window.workspace.findChildren(LossChart)
    loss.plot.hold_steps((3, 9))
    window.findings.detail.show_button.click()
    qtbot.waitUntil(lambda: loss.plot.box.viewRange()[0][1] > 890)


def test_what_is_dismissed_goes_and_comes_back_graver(window: MainWindow, lab: Lab) -> None:
    dock = window.findings
    tell(lab, DEAD, NOTE)
    dock.detail.dismiss.click()
    assert rows(dock)[0].startswith("Info") and rows(dock)[1] == "Dismissed (1)"
    dock.view.expand(dock.model.index_of(DISMISSED))
    dock.view.setCurrentIndex(dock.model.index_of((*DEAD.key, True)))
    assert dock.detail.dismiss.text() == "Show again in the list"
    tell(lab, replace(DEAD, severity=Severity.ERROR), NOTE)
    assert rows(dock)[0].startswith("Error") and not any("Dismissed" in row for row in rows(dock))
    tell(lab, DEAD, NOTE)
    dock.view.setCurrentIndex(dock.model.index_of((*DEAD.key, True)))
    dock.detail.dismiss.click()
    assert rows(dock)[0].startswith("Warning")


def test_dismissed_is_remembered_with_the_file(window: MainWindow, lab: Lab) -> None:
    tell(lab, DEAD)
    window.findings.detail.dismiss.click()
    other = small_training()
    other.name = "Another"
    lab.play(other.opened())
    assert lab.state.findings.dismissed == {}
    lab.play(small_training().opened())
    tell(lab, DEAD)
    assert rows(window.findings)[0] == "Dismissed (1)"


@pytest.mark.parametrize("text", ["", "{", "[]", "[[[", '{"/a": 3}', '{"/a": [["x"], ["x", "y", "bad"], 3]}'])
def test_a_memory_that_cannot_be_understood_is_empty(lab: Lab, text: str) -> None:
    lab.settings.set(Setting.DISMISSED, text)
    memory = Dismissals(lab.settings)
    assert memory.recall("/a") == {}
    many = {(f"id{i}", "w" * (i % 2 * 500)): Severity.INFO for i in range(3 * MAX_DISMISSED)}
    memory.remember("/a", many)
    assert len(memory.recall("/a")) == MAX_DISMISSED and all(where == "" for _, where in memory.recall("/a"))
    memory.remember("/a", {})
    assert memory.recall("/a") == {}


def test_names_of_anybody_are_shown_and_never_obeyed(window: MainWindow, lab: Lab) -> None:
    odd = "<b>net</b>\u202e\n&x"
    tell(lab, finding(odd, where=odd, title=odd, why=odd, do=odd, instead=odd, near=(odd,), root=odd))
    assert "\u202e" not in rows(window.findings)[0] and "\n" not in rows(window.findings)[0]
    assert "\u202e" not in window.findings.detail.meta.text()
    assert window.findings.detail.page.isHidden(), "no page has such a name"
    assert "\u202e" not in window.status.findings.toolTip()


# ------------------------------------------------------------------------------------------------- marks and counts


def test_the_status_bar_counts_what_counts(window: MainWindow, lab: Lab) -> None:
    sign = window.status.findings
    tell(lab, NOTE)
    assert sign.isHidden()
    tell(lab, NOTE, DEAD, LEAK)
    assert sign.text() == " 1 error, 1 warning, 1 info" and "Samples of a batch" in sign.toolTip()
    window.log.raise_()
    sign.click()
    assert not window.findings.visibleRegion().isEmpty()


def test_layers_carry_the_sign(window: MainWindow, lab: Lab) -> None:
    tell(lab, DEAD, NOTE)
    model = window.layers.model
    index = model.index_of("net.1", is_parameter=False).siblingAtColumn(LayerColumn.FLAGS)
    assert "dead units" in index.data() and "Warning: Most units" in index.data(Qt.ItemDataRole.ToolTipRole)
    assert index.siblingAtColumn(LayerColumn.NAME).data(Qt.ItemDataRole.DecorationRole) is not None
    tell(lab)
    assert "dead units" not in str(index.data() or "")


def test_plots_are_marked_at_the_first_evidence(
    window: MainWindow, lab: Lab, themes: ThemeManager, qtbot: QtBot
) -> None:
    chart = LossChart(lab, themes)  # type: ignore[arg-type]
    qtbot.addWidget(chart)
    chart.resize(500, 300)
    chart.show()
    tell(lab, DEAD, NOTE, replace(LEAK, first_step=3))
    assert chart.plot.found is not None and chart.plot.found.steps == [3]
    assert chart.plot.found.text_at(3.0).splitlines() == [
        "First seen in step 3:",
        "Error: Samples of a batch see each other (net.2)",
        "Warning: Most units of a layer never fire (net.1)",
    ]
    assert chart.plot.found.text_at(6.0) == ""
    tell(lab)
    assert chart.plot.found.steps == []


# ------------------------------------------------------------------------------------------------- the check-up


@pytest.fixture
def check_ups(lab: Lab) -> CheckUps:
    return CheckUps(lab, lab)  # type: ignore[arg-type]


@pytest.fixture
def dialog(lab: Lab, check_ups: CheckUps, themes: ThemeManager, qtbot: QtBot) -> CheckUpDialog:
    dialog = CheckUpDialog(lab, check_ups, themes)  # type: ignore[arg-type]
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, False)
    qtbot.addWidget(dialog)
    dialog.show()
    return dialog


def test_the_dialog_lists_what_would_be_run(dialog: CheckUpDialog, lab: Lab) -> None:
    assert dialog.table.all_as_text().splitlines()[1:] == [
        "A tenth of the rate\t60 F, 60 B\t1.5 s\t",
        "Leak over the batch\t4 F\t0.1 s\t",
        "Leak over time\t\t\tnot judged",
        "    No tokens\t\t\t",
    ]
    assert dialog.status.text() == "In all about 64 forwards, 60 backwards, 1.6 s"
    assert dialog.start.isEnabled() and not lab.state.position.running


def test_a_check_up_from_start_to_end(dialog: CheckUpDialog, lab: Lab) -> None:
    dialog.start.click()
    assert lab.sent[-1] == m.CheckUp() and lab.state.position.running and not dialog.start.isEnabled()
    lab.state.apply(m.CheckUpProgress(progress=Progress(title="Leak over the batch", done=61, planned=64)))
    lab.flush()
    now = [line.split("\t")[3] for line in dialog.table.all_as_text().splitlines()[1:3]]
    assert now == ["✓ done", "▶ running"] and (dialog.bar.value(), dialog.bar.maximum()) == (61, 64)
    checks = tuple(replace(check, verdict=Verdict.FOUND) if check.id == "batch-leak" else check for check in ALL_CHECKS)
    lab.state.apply(reply := m.CheckUpDone(findings=replace(known(LEAK), checks=checks)))
    lab.reply(reply)
    assert dialog.status.text() == "Done: 1 error. Training is as it was"
    now = [line.split("\t")[3] for line in dialog.table.all_as_text().splitlines()[1:3]]
    assert now == ["✓ nothing found", "! found"]
    assert dialog.show_findings.isVisible() and not lab.state.position.running
    assert any("Check-up before step 8: 1 error" in line.text for line in lab.state.log.lines)


def test_cancelling_leaves_everything_as_it_was(dialog: CheckUpDialog, lab: Lab) -> None:
    before = replace(lab.state.position)
    dialog.start.click()
    dialog.reject()
    assert lab.sent[-1] == m.CancelCheckUp() and dialog.isVisible(), "until the engine has said so"
    lab.reply(m.Cancelled())
    assert dialog.status.text() == "Cancelled: training is as it was" and lab.state.position == before
    dialog.reject()
    assert not dialog.isVisible()


def test_a_check_up_that_fails_says_why(dialog: CheckUpDialog, lab: Lab) -> None:
    dialog.start.click()
    failure = Failure(kind=FailureKind.USER_CODE, sentence="forward() has raised")
    lab.state.apply(failed := m.Failed(failure=failure, position=replace(lab.state.position, running=False)))
    lab.reply(failed)
    assert "forward() has raised" in dialog.status.text() and not lab.state.findings.is_checking


def test_an_engine_that_dies_ends_it(dialog: CheckUpDialog, lab: Lab) -> None:
    dialog.start.click()
    lab.state.set_engine(EngineState(status=EngineStatus.DEAD))
    lab.flush()
    assert "the engine has ended" in dialog.status.text() and dialog.cancel.isEnabled()


def test_where_nothing_can_be_planned_it_says_so(
    lab: Lab, check_ups: CheckUps, themes: ThemeManager, qtbot: QtBot
) -> None:
    failure = Failure(kind=FailureKind.BAD_INPUT, sentence="Not now")
    for answer, sentence in (
        (m.CheckUpPlanned(planned=()), "There is nothing that could be tried out here"),
        (m.Failed(failure=failure, position=lab.state.position), "Not now"),
    ):
        lab.planned = answer
        dialog = CheckUpDialog(lab, check_ups, themes)  # type: ignore[arg-type]
        qtbot.addWidget(dialog)
        assert dialog.status.text() == sentence and not dialog.start.isEnabled()


def test_check_again_runs_only_its_own(window: MainWindow, lab: Lab) -> None:
    tell(lab, RATE)
    window.findings.detail.again.click()
    assert lab.sent[-1] == m.PlanCheckUp(only=("lr-too-high",))
    dialog = window.findChild(CheckUpDialog)
    assert dialog is not None and dialog.windowTitle() == "Check again"
    dialog.start.click()
    assert lab.sent[-1] == m.CheckUp(only=("lr-too-high",))


def test_the_action_is_refused_with_a_sentence(window: MainWindow, lab: Lab) -> None:
    action = window.actions_[ActionId.CHECK_UP]
    assert action.isEnabled()
    lab.rest_at(Rest.FORWARD)
    assert not action.isEnabled() and "Only between two steps" in action.toolTip()
    assert not window.findings.looked_at.button.isEnabled()
    lab.rest_at(Rest.READY, running=True)
    assert not action.isEnabled()


def test_before_the_first_step_it_is_called_so(lab: Lab, window: MainWindow) -> None:
    lab.play(small_training().opened())
    lab.state.apply(m.FoundNow(findings=Findings()))
    lab.flush()
    assert window.findings.looked_at.button.text() == "Check before the first step..."
    window.findings.looked_at.button.click()
    dialog = window.findChild(CheckUpDialog)
    assert dialog is not None and dialog.windowTitle() == "Check-up before the first step"


# ------------------------------------------------------------------------------------------------- documentation


def test_the_page_of_a_finding_is_shown(
    window: MainWindow, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "dead-units.md"
    page.write_text("# Dead units\n\nA unit is dead when ... <script>x</script>\n\n[other](lr-too-high.md)\n", "utf-8")
    for module in ("ui.findings.detail", "ui.window.finding_paths"):
        monkeypatch.setattr(f"gradscope.{module}.finding_page", lambda name: page if name == "dead-units" else None)
    tell(lab, DEAD)
    assert window.findings.detail.page.isVisible()
    window.findings.detail.page.click()
    dialog = window.findChild(FindingPageDialog)
    assert dialog is not None and "A unit is dead when" in dialog.findChild(QTextBrowser).toPlainText()
    (tmp_path / "README.md").write_text("# All findings", "utf-8")
    for link in ("https://example.com/x.md", "../secret.md", "nowhere.md", "README.md"):
        assert "A unit is dead when" in dialog.text.toPlainText()
        dialog.text.anchorClicked.emit(QUrl(link))
    assert dialog.text.toPlainText() == "All findings"


def test_topics_of_findings_are_few(lab: Lab) -> None:
    lab.state.take_changes()
    lab.state.apply(m.FoundNow(findings=Findings(checks=ALL_CHECKS)))
    assert lab.state.take_changes() == {Topic.FINDINGS}
