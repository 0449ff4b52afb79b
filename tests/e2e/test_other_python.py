"""A whole session of a sample, as everywhere; where torch is missing, the engine runs in another Python than the app."""

import sys

import numpy as np

from gradscope.assets import sample_path
from gradscope.protocol.phases import Phase, Rest, RunUntil, Verb
from gradscope.protocol.subjects import L2, SubjectKey, SubjectKind
from gradscope.state.selection import Selection
from tests.e2e.driver import App
from tests.torch_python import has_torch

WEIGHT = SubjectKey(SubjectKind.GRAD, "hidden.weight")


def test_a_sample_is_stepped_run_and_looked_at(app: App) -> None:
    path = sample_path("digits_mlp")
    assert path is not None
    app.open(path)
    assert app.state.failure is None and app.state.session is not None
    assert (app.state.engine.executable == sys.executable) == has_torch()
    for verb, rest in ((Verb.FORWARD, Rest.FORWARD), (Verb.BACKWARD, Rest.BACKWARD), (Verb.STEP, Rest.READY)):
        app.go(verb)
        assert app.state.position.rest is rest
    app.run(RunUntil.STEPS, 50)
    app.wait(lambda: app.state.position.step == 51 and not app.state.position.running)
    assert len(app.state.history.loss) == 51 and set(app.state.reports) == set(Phase)
    assert app.state.history.loss.values[-1] < app.state.history.loss.values[0]

    app.controller.select(Selection.of_subject(WEIGHT))
    app.controller.flush()
    view = app.window.inspector.values
    app.window.inspector.tabs.setCurrentWidget(view)
    app.wait(lambda: view.model.rowCount() > 1 and "…" not in (view.model.index(0, 0).data() or "…"))
    latest = app.state.history.latest(WEIGHT)
    assert latest is not None and np.isfinite(latest.summary[L2]) and latest.step == 50
    assert not [line.text for line in app.state.log.lines if line.is_warning]
