"""Which reply belongs to which request. Failed belongs to each."""

from __future__ import annotations

from gradscope.protocol.limits import Unfit
from gradscope.protocol.messages import (
    Attach,
    CancelExport,
    Cancelled,
    Differences,
    Done,
    Export,
    Exported,
    Failed,
    FetchDifferencePicture,
    FetchDifferences,
    FetchHistogram,
    FetchPage,
    FetchPicture,
    Go,
    Histogram,
    Interrupt,
    MeasureSnapshot,
    Open,
    Opened,
    Page,
    Pause,
    Picture,
    Ping,
    Pong,
    Reset,
    SetCapture,
    SnapshotSizes,
    Unavailable,
    Watch,
)
from gradscope.protocol.messages.checkpoints import (
    CheckpointLoaded,
    CheckpointMismatch,
    CheckpointSaved,
    LoadCheckpoint,
    SaveCheckpoint,
)
from gradscope.protocol.messages.edits import EDITS, Choices, Edited, ListChoices, UndoEdit
from gradscope.protocol.messages.why import CheckGradient, Explain, Explained, GradientChecked

ANSWERS: dict[type, tuple[type, ...]] = {
    **dict.fromkeys((Open, Reset), (Opened,)),
    Go: (Done,),
    **dict.fromkeys((SetCapture, Watch, Attach, Pause, Interrupt, Ping, CancelExport), (Pong,)),
    FetchPage: (Page, Unavailable),
    **dict.fromkeys((FetchPicture, FetchDifferencePicture), (Picture, Unavailable)),
    FetchHistogram: (Histogram, Unavailable),
    FetchDifferences: (Differences,),
    MeasureSnapshot: (SnapshotSizes,),
    Export: (Exported, Cancelled),
    **dict.fromkeys((UndoEdit, *EDITS), (Edited,)),
    ListChoices: (Choices,),
    Explain: (Explained,),
    CheckGradient: (GradientChecked,),
    SaveCheckpoint: (CheckpointSaved,),
    LoadCheckpoint: (CheckpointLoaded, CheckpointMismatch),
}


def check_answer(request: object, reply: object) -> None:
    """Raises Unfit where a reply is none to its request."""
    if isinstance(reply, Failed):
        return
    name = type(request).__name__
    if not isinstance(reply, ANSWERS[type(request)]):
        raise Unfit(f"is no answer to {name}")
    match request, reply:
        case FetchDifferences(subjects=asked), Differences(items=items):
            if tuple(item.subject for item in items) != asked:
                raise Unfit(f"is of other subjects than {name} has asked for")
        case (
            FetchPage() | FetchPicture() | FetchHistogram() | FetchDifferencePicture(),
            Page() | Picture() | Histogram() | Unavailable(),
        ):
            if reply.subject != request.subject:
                raise Unfit(f"is of another subject than {name} has asked for")
