"""After a failed backward the app offers to find its line."""

from pathlib import Path

from gradscope.protocol.phases import Verb
from tests.e2e.driver import App
from tests.faulty_recipes import INPLACE_BEFORE_BACKWARD


def test_the_line_is_found_by_one_press(app: App, tmp_path: Path) -> None:
    path = tmp_path / "inplace.py"
    path.write_text(INPLACE_BEFORE_BACKWARD, encoding="utf-8")
    app.open(path)
    app.go(Verb.NEXT_BATCH)
    bar = app.window.failure_bar
    app.wait(lambda: bar.isVisible() and bar.trace.isVisible())
    assert "SigmoidBackward0" not in bar.sentence.text()
    bar.trace.click()
    app.wait(lambda: "failed at SigmoidBackward0, the backward of inplace.py, line 13" in bar.sentence.text())
    assert not bar.trace.isVisible()
    assert bar.details.toPlainText().startswith("In the forward:")
    assert app.state.position.step == 0
