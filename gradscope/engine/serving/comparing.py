"""The session's values against those in a snapshot, compared here, where the tensors are."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gradscope.engine.book.values import ValuesUnavailable
from gradscope.engine.quantities.planes import dense, plane_of
from gradscope.engine.serving.shown import Shown
from gradscope.engine.surroundings.usercode import describe_error
from gradscope.protocol.messages import Difference, Differences, FetchDifferencePicture, Picture, Unavailable
from gradscope.protocol.subjects import SubjectKey
from gradscope.snapshots.against import DifferenceRequest, OtherSnapshots, Shape, difference, difference_picture
from gradscope.snapshots.pieces import Array, Flat

_ERRORS = (RuntimeError, ValueError, NotImplementedError, TypeError)


class Comparer:
    """Answers FetchDifferences and FetchDifferencePicture for a session."""

    def __init__(self) -> None:
        self._others = OtherSnapshots()

    def answer(self, session: Shown, request: DifferenceRequest) -> Differences | Picture | Unavailable:
        """Raises BadInput if the snapshot cannot be read."""
        other = self._others.open(request.path)

        def ours(key: SubjectKey) -> tuple[Shape, Flat]:
            return _elements(session.values(key))

        with torch.no_grad():
            if isinstance(request, FetchDifferencePicture):
                try:
                    tensor = session.values(request.subject)
                    plane, _ = plane_of(tensor, request.index)
                    whole = plane.detach()
                    return difference_picture(
                        request, tuple(tensor.shape), lambda rows, columns: _array(whole[rows, columns]), other
                    )
                except (ValuesUnavailable, *_ERRORS) as error:
                    return Unavailable(subject=request.subject, reason=_reason(error))
            items = []
            for key in request.subjects:
                try:
                    items.append(difference(key, ours, other))
                except (ValuesUnavailable, *_ERRORS) as error:
                    items.append(Difference(subject=key, problem=_reason(error)))
            return Differences(items=tuple(items))


def _elements(tensor: Tensor) -> tuple[Shape, Flat]:
    flat = dense(tensor.detach()).reshape(-1)
    return tuple(tensor.shape), lambda start, stop: _array(flat[start:stop])


def _array(tensor: Tensor) -> Array:
    """On the CPU; half and smaller floats as float32, which is exact, and as snapshots are read."""
    if tensor.is_floating_point() and tensor.element_size() < 4:
        tensor = tensor.float()
    return np.asarray(tensor.cpu().resolve_conj().resolve_neg().numpy())


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, ValuesUnavailable) else f"They cannot be compared: {describe_error(error)}"
