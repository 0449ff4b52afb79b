"""Which reply belongs to which request. Failed belongs to each."""

from __future__ import annotations

from gradscope.protocol.limits import Unfit
from gradscope.protocol.messages import (
    Attach,
    CancelCheckUp,
    CancelExport,
    Cancelled,
    CancelWhatIf,
    CheckUp,
    CheckUpDone,
    CheckUpPlanned,
    Complete,
    Completions,
    Differences,
    Done,
    Evaluate,
    Evaluated,
    Export,
    Exported,
    Failed,
    FetchDifferencePicture,
    FetchDifferences,
    FetchHistogram,
    FetchPage,
    FetchPicture,
    FetchSource,
    Go,
    GoTo,
    GoToLast,
    Histogram,
    Interrupt,
    LossAlong,
    LossAlongDone,
    LossSurface,
    LossSurfaceDone,
    MeasureSnapshot,
    NoSource,
    Open,
    Opened,
    OpenScript,
    Page,
    Pause,
    Picture,
    Ping,
    PlanCheckUp,
    Pong,
    ProbeSet,
    Recompute,
    Recomputed,
    Reset,
    RestoreWeights,
    RunProbe,
    SetCapture,
    SetProbe,
    SetStops,
    SetTimeline,
    SetWatches,
    SnapshotSizes,
    SourceText,
    StepBack,
    Unavailable,
    Watch,
    WeightsRestored,
    WentTo,
    WhatIf,
    WhatIfDone,
)
from gradscope.protocol.messages.checkpoints import (
    CheckpointLoaded,
    CheckpointMismatch,
    CheckpointSaved,
    LoadCheckpoint,
    SaveCheckpoint,
)
from gradscope.protocol.messages.edits import EDITS, Choices, Edited, EditFile, ListChoices, UndoEdit
from gradscope.protocol.messages.reproduce import Reproduce, Reproduced
from gradscope.protocol.messages.why import CheckGradient, Explain, Explained, GradientChecked

CANCELS = (CancelExport, CancelCheckUp, CancelWhatIf)
ANSWERS: dict[type, tuple[type, ...]] = {
    **dict.fromkeys((Open, OpenScript, Reset), (Opened,)),
    Go: (Done,),
    **dict.fromkeys(
        (SetCapture, SetStops, SetTimeline, SetWatches, Watch, Attach, Pause, Interrupt, Ping, *CANCELS), (Pong,)
    ),
    FetchPage: (Page, Unavailable),
    **dict.fromkeys((FetchPicture, FetchDifferencePicture), (Picture, Unavailable)),
    FetchHistogram: (Histogram, Unavailable),
    FetchDifferences: (Differences,),
    FetchSource: (SourceText, NoSource),
    MeasureSnapshot: (SnapshotSizes,),
    Export: (Exported, Cancelled),
    **dict.fromkeys((UndoEdit, *EDITS), (Edited,)),
    EditFile: (Edited, Cancelled),
    ListChoices: (Choices,),
    Explain: (Explained,),
    CheckGradient: (GradientChecked,),
    SaveCheckpoint: (CheckpointSaved,),
    LoadCheckpoint: (CheckpointLoaded, CheckpointMismatch),
    PlanCheckUp: (CheckUpPlanned,),
    CheckUp: (CheckUpDone, Cancelled),
    Reproduce: (Reproduced,),
    **dict.fromkeys((StepBack, GoTo, GoToLast), (WentTo, Cancelled)),
    RestoreWeights: (WeightsRestored,),
    Recompute: (Recomputed, Cancelled),
    WhatIf: (WhatIfDone, Cancelled),
    LossAlong: (LossAlongDone, Cancelled),
    LossSurface: (LossSurfaceDone, Cancelled),
    **dict.fromkeys((SetProbe, RunProbe), (ProbeSet, Cancelled)),
    Evaluate: (Evaluated,),
    Complete: (Completions,),
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
        case Recompute(step=step, subject=subject), Recomputed():
            if (reply.step, reply.subject) != (step, subject):
                raise Unfit(f"is of another step or subject than {name} has asked for")
        case Complete(cursor=cursor), Completions(start=start):
            if start > cursor:
                raise Unfit(f"begins at {start}, after the cursor at {cursor}")
        case FetchSource(file=file), SourceText() | NoSource():
            if reply.file != file:
                raise Unfit(f"is of another file than {name} has asked for")
