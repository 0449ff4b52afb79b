"""The fixed corpus of damaged snapshots; `snapshots.py` makes as many more as one likes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.fuzz import snapshots


def test_damaged_snapshots_are_opened_or_refused_in_a_sentence(tmp_path: Path) -> None:
    with np.errstate(all="ignore"):
        found = snapshots.run(snapshots.originals(tmp_path / "valid"), tmp_path, count=300, seed=0)
    assert found.opened > 30 and found.refused > 100 and len(found.sentences) > 20


def test_a_defect_would_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "MOST_SECONDS", 0.0)
    with pytest.raises(AssertionError, match="took"):
        snapshots.run(snapshots.originals(tmp_path / "valid"), tmp_path, count=1, seed=0)
