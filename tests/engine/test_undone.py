"""What is left of a phase that has failed and was undone: nothing that the next try, or a question, could stumble over."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from gradscope import Recipe, Session
from gradscope.engine.book.values import ValuesUnavailable
from gradscope.protocol.failure import BadInput, UserCodeFailed
from gradscope.protocol.messages.edits import EditClipping, EditOption
from gradscope.protocol.subjects import SubjectKey, SubjectKind


class FailsOnce(torch.optim.lr_scheduler.LambdaLR):
    """Its first step after the one of its making raises."""

    has_failed = False

    def step(self, epoch: int | None = None) -> None:
        if self._step_count == 1 and not self.has_failed:
            self.has_failed = True
            raise RuntimeError("not yet")
        super().step(epoch)


def recipe(**more: Any) -> Recipe:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    optimizer = more.pop("optimizer", torch.optim.SGD)(model.parameters(), lr=0.1)
    if more.pop("fails", False):
        more["scheduler"] = FailsOnce(optimizer, lambda step: 1.0)
    x = torch.randn(16, 3)
    return Recipe(
        model=model, dataset=TensorDataset(x, x[:, :1]), loss=nn.MSELoss(), optimizer=optimizer, batch_size=4, **more
    )


def test_clipped_gradients_go_with_the_step_that_clipped() -> None:
    key = SubjectKey(SubjectKind.CLIPPED_GRAD, "0.weight")
    with Session(recipe(fails=True, clip_norm=0.01)) as session:
        session.forward()
        session.backward()
        with pytest.raises(UserCodeFailed):
            session.step()
        session.edit(EditClipping(norm=None, value=None))
        session.step()
        with pytest.raises(ValuesUnavailable, match="no clipped gradient"):
            session.values(key)


def test_a_checkpoint_takes_the_edits_with_it_whatever_fails_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Session(recipe()) as session:
        session.save_checkpoint(tmp_path / "c.pt")
        session.next_batch()
        session.edit(EditOption(group=0, option="lr", value="0.02"))

        def fail() -> None:
            raise MemoryError

        monkeypatch.setattr(session, "describe", fail)
        with pytest.raises(MemoryError):
            session.load_checkpoint(tmp_path / "c.pt")
        with pytest.raises(BadInput, match="no edit to undo"):
            session.undo_edit()


def test_what_cannot_be_told_after_an_undo_breaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    with Session(recipe(), budget_bytes=0) as session:
        session.next_batch()
        monkeypatch.setattr(session.observer, "buffers_now", fail)
        monkeypatch.setattr(session.training, "loss", fail)
        with pytest.raises(UserCodeFailed) as failed:
            session.forward()
        assert failed.value.failure.undone.startswith("The forward was undone") and not session.is_broken
        assert any("MemoryError" in text for text in session.observer.errors)


def test_the_batches_of_a_window_are_freed_with_its_step() -> None:
    with Session(recipe(optimizer=torch.optim.LBFGS, accumulate=2)) as session:
        session.forward()
        first = weakref.ref(session.batch[0])
        session.backward()
        session.forward()
        assert first() is not None
        session.backward()
        session.step()
        session.forward()
        gc.collect()
        assert first() is None
