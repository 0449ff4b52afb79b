"""The notes of a run: said once, and again when they come back."""

from dataclasses import replace

from gradscope.protocol.phases import Phase
from gradscope.state.step_notes import StepNotes
from tests.state.test_apply import REPORT

BACKWARD = replace(REPORT, phase=Phase.BACKWARD)


def _said(notes: StepNotes, *texts: str, step: int = 0, micro: int = 0, optimizer: str = "") -> list[str]:
    return notes.take(replace(BACKWARD, step=step, micro=micro, optimizer=optimizer, notes=texts))


def test_a_note_is_said_once_until_a_step_has_gone_without_it() -> None:
    notes = StepNotes()
    assert _said(notes, "a", "b") == ["a", "b"]
    assert _said(notes, "a", "c", step=1) == ["c"]
    assert _said(notes, "c", step=2) == []
    assert _said(notes, "a", "c", step=3) == ["a"]


def test_other_counts_make_no_other_note_but_other_layers_do() -> None:
    notes = StepNotes()
    assert len(_said(notes, "The gradient of layers.0.weight (3 NaN of 12) is not finite")) == 1
    assert _said(notes, "The gradient of layers.0.weight (4 NaN of 12) is not finite", step=1) == []
    assert len(_said(notes, "The gradient of layers.1.weight (4 NaN of 12) is not finite", step=2)) == 1


def test_a_window_is_one_step() -> None:
    notes = StepNotes()
    said = []
    for step in range(3):
        for micro in range(4):
            texts = {0: ("stale",), 2: ("NaN",)}.get(micro, ())
            said += _said(notes, *texts, step=step, micro=micro)
    assert said == ["stale", "NaN"]


def test_each_optimizer_has_its_own_notes() -> None:
    notes = StepNotes()
    assert _said(notes, "a", optimizer="first") == ["a"]
    assert _said(notes, optimizer="second", step=1) == []
    assert _said(notes, "a", optimizer="first", step=2) == []


def test_skipped_steps_in_a_row_are_told_once() -> None:
    notes = StepNotes()
    told = []
    for step, skipped in enumerate((True, True, False, True)):
        report = replace(REPORT, phase=Phase.STEP, step=step, micro=3, skipped=skipped, scale=65536.0 / 2**step)
        told += notes.take(report)
    assert told == [
        "Step 0 was skipped: a gradient was not finite with a loss scale of 65536",
        "Step 3 was skipped: a gradient was not finite with a loss scale of 8192",
    ]
