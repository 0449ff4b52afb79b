"""The console where a script stands: its variables, an endless loop that is broken off, and a training as without it."""

from gradscope.protocol.messages.evaluate import Evaluated
from gradscope.protocol.phases import Rest, Verb
from tests.e2e.scripts.conftest import ScriptApp

SCRIPT = """
    import torch
    from torch import nn

    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    factor, losses = 1.0, []
    for epoch in range(6):
        optimizer.zero_grad()
        loss = model(torch.randn(4, 3)).pow(2).mean() * factor
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print("FINAL", sum(losses), float(model.weight.sum()))
"""


def answer(scripts: ScriptApp, text: str, *, keep: bool = False) -> Evaluated:
    app = scripts.app
    dock = app.window.console
    app.wait(lambda: app.state.evaluate_refusal() is None)
    dock.keep.setChecked(keep)
    dock.field.submitted.emit(text)
    entry = app.state.console.entries[-1]
    app.wait(lambda: entry.reply is not None)
    dock.keep.setChecked(False)
    assert entry.reply is not None
    return entry.reply


def final(scripts: ScriptApp) -> str:
    scripts.app.run()
    scripts.app.wait(lambda: scripts.app.state.position.rest is Rest.ENDED)

    def said() -> list[str]:
        return [line.text for line in scripts.app.state.log.lines if line.text.startswith("FINAL")]

    # What a script prints comes by another way than where it stands.
    scripts.app.wait(lambda: bool(said()))
    return said()[0]


def test_the_script_trains_on_as_without_the_console(scripts: ScriptApp) -> None:
    scripts.run_text(SCRIPT)
    expected = final(scripts)
    scripts.app.state.log.lines.clear()
    scripts.run_text(SCRIPT)
    scripts.app.window.console.focus_field()
    for verb in (Verb.FORWARD, Verb.BACKWARD, Verb.STEP):
        scripts.press(verb)
        for code in (
            "model(torch.randn(4, 3)).sum().backward()",
            "optimizer.step(); torch.rand(3)",
            "losses.append(1.0)",
        ):
            told = answer(scripts, code)
            assert not told.error and not told.moved, (code, told)
    assert final(scripts) == expected


def test_its_variables_are_there_and_are_assigned_only_where_that_is_kept(scripts: ScriptApp) -> None:
    scripts.run_text(SCRIPT)
    scripts.app.window.console.focus_field()
    scripts.press(Verb.FORWARD)
    assert answer(scripts, "epoch, factor, len(losses)").text == "(0, 1.0, 0)"
    assert answer(scripts, "factor = 3.0; factor").text == "3.0"
    assert not answer(scripts, "del factor").error
    assert answer(scripts, "factor").text == "1.0"
    assert not answer(scripts, "factor = 2.0", keep=True).error
    scripts.press(Verb.BACKWARD)
    assert answer(scripts, "factor").text == "2.0"


def test_an_endless_loop_is_broken_off_and_not_the_script(scripts: ScriptApp) -> None:
    scripts.run_text(SCRIPT)
    dock = scripts.app.window.console
    dock.focus_field()
    dock.field.submitted.emit("while True: pass")
    scripts.app.wait(lambda: scripts.app.state.console.running is not None)
    entry = scripts.app.state.console.entries[-1]

    def is_broken_off() -> bool:
        dock.stop.click()
        return entry.reply is not None

    scripts.app.wait(is_broken_off)
    assert entry.reply is not None and entry.reply.is_cancelled
    assert scripts.press(Verb.FORWARD) is Rest.FORWARD
    assert answer(scripts, "loss.item() > 0").text == "True"
    final(scripts)
