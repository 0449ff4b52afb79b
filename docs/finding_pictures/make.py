"""Draws docs/findings/pictures: `python docs/finding_pictures/make.py [ID ...]`, by default all of them.

Trains the example of each page and its nearest healthy one for some steps on the CPU, and draws what `table.py` says: the
same bytes each time. Raises ValueError where a caption would not be true.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from docs.finding_pictures.drawing import drawn  # noqa: E402
from docs.finding_pictures.runs import the_same_each_time, trained  # noqa: E402
from docs.finding_pictures.table import PICTURES, end  # noqa: E402
from docs.finding_pictures.values import Values  # noqa: E402
from docs.finding_texts.make import example, healthy  # noqa: E402

FOLDER = ROOT / "docs" / "findings" / "pictures"


def picture(id: str) -> str:
    """The SVG of a finding. Raises ValueError where what its caption says does not hold."""
    plan = PICTURES[id]
    fires, quiet = (_measured(id, source) for source in (example(id), healthy(id)))
    if not plan.holds(fires[0].heights, quiet[0].heights):
        raise ValueError(f"{id}: the caption does not hold: {fires[0].heights} and {quiet[0].heights}")
    if not plan.loss_tells and abs(fires[1] - quiet[1]) > 0.15 * abs(quiet[1]):
        raise ValueError(f"{id}: the loss tells: it ends at {fires[1]:.3g} and {quiet[1]:.3g}")
    return drawn(plan.measure, fires[0], quiet[0], title=plan.title, caption=plan.line)


def _measured(id: str, source: str) -> tuple[Values, float]:
    """And the loss at the end."""
    plan = PICTURES[id]
    with the_same_each_time():
        run = trained(source, steps=plan.steps, watch=plan.measure.watch)
        return plan.measure.of(run), end(run.losses)


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    wanted = sys.argv[1:] or list(PICTURES)
    for old in FOLDER.glob("*"):
        if old.stem not in PICTURES:
            old.unlink()
    for id in wanted:
        (FOLDER / f"{id}.svg").write_text(picture(id), encoding="utf-8")
    print(f"{len(wanted)} pictures in {FOLDER.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
