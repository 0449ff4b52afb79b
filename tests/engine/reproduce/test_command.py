"""`gradscope run --reproduce`, and the request of the window."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from peer import Peer

from gradscope.cli import main
from gradscope.protocol import messages as m
from gradscope.protocol.phases import Verb
from tests.engine.reproduce.scripts import recipe_file, run_all

TEXT = """
def recipe():
    model = nn.Linear(3, 2)
    data = TensorDataset(torch.randn(8, 3), torch.randint(0, 2, (8,)))
    return Recipe(model=model, dataset=data, loss=nn.CrossEntropyLoss(), batch_size=4,
                  optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
"""


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.close()


def test_it_is_written_after_the_last_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = recipe_file(tmp_path, "small", TEXT), tmp_path / "out.py"
    assert main(["run", str(file), "--steps", "3", "--seed", "4", "--reproduce", str(out)]) == 0
    said = capsys.readouterr().out
    assert f"Script written to {out}" in said
    loss = run_all({"small": out.read_text("utf-8")}, tmp_path)["small"].loss
    assert f"{float(loss):.6g}" in said


def test_where_it_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = recipe_file(tmp_path, "small", TEXT), tmp_path / "no" / "out.py"
    assert main(["run", str(file), "--steps", "1", "--reproduce", str(out)]) == 2
    assert f"--reproduce: {out} cannot be written: No such file or directory" in capsys.readouterr().err


def test_a_script_is_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "train.py"
    script.write_text("print(1)\n")
    assert main(["run", "--reproduce", str(tmp_path / "out.py"), str(script)]) == 2
    assert "--reproduce: the script itself is what comes to its last step" in capsys.readouterr().err


def test_the_window_asks_for_it(peer: Peer, tmp_path: Path) -> None:
    peer.open(recipe_file(tmp_path, "small", TEXT))
    failed = peer.ask(m.Reproduce())
    assert isinstance(failed, m.Failed)
    assert failed.failure.sentence == "There is no loss yet that a script could print; press Forward first"
    done = peer.go(Verb.FORWARD)
    assert isinstance(done, m.Done)
    reply = peer.ask(m.Reproduce())
    assert isinstance(reply, m.Reproduced) and reply.notes == ()
    assert "if step == 0:" in reply.text and "loss.backward()" in reply.text
