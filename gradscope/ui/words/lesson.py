"""What an open recipe has to teach: its description, and where it is a sample, what that says to watch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gradscope.assets import sample_docs, sample_models_dir, sample_paths
from gradscope.protocol.messages import SessionInfo


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """Texts as they were written; `sample_text` is in the markup of the samples (see `lesson_markup`)."""

    title: str
    description: str = ""
    sample_text: str = ""
    number: int | None = None
    """Of the sample, from 1, in the order in which they teach; None where the recipe is no sample."""
    count: int = 0
    """How many samples there are."""
    following: Path | None = None
    """The next sample."""


def lesson_of(session: SessionInfo) -> Lesson | None:
    """None where a recipe says nothing about itself."""
    path = Path(session.path)
    # Every sample has to be parsed to know that it is one.
    samples = sample_paths() if session.path and path.parent == sample_models_dir() else []
    if path not in samples:
        return Lesson(title=session.name, description=session.description) if session.description.strip() else None
    position = samples.index(path)
    title, text = sample_docs(path)
    return Lesson(
        title=session.name,
        description=session.description,
        sample_text=f"{title}.\n\n{text}".strip(),
        number=position + 1,
        count=len(samples),
        following=samples[position + 1] if position + 1 < len(samples) else None,
    )
