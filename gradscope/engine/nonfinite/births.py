"""The calls of a forward whose outputs were not finite, judged by their inputs while those are at hand.

A call brings NaN or Inf into the world if its output has them and its inputs have not. Where its inputs have them too, it
passes them on: they were made by code between the layers, which is that of the layer around (that layer brings them into the
world), or of nobody (the batch, the training step). What the output of a call around, or of a call that takes it in, has no
more was taken away: a softmax does so with the -Inf of a mask.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gradscope.engine.model.leaves import Inputs, tensor_leaves
from gradscope.engine.nonfinite.counts import Counts, counts_of, first_bad
from gradscope.engine.nonfinite.operation import MOST_BYTES, Again
from gradscope.protocol.subjects import SubjectKey

Call = tuple[str, int]
"""A layer, and which call of it within the forward."""


@dataclass(frozen=True)
class Birth:
    """A call with an output that is not finite."""

    key: SubjectKey
    """The first tensor of its output that is bad."""
    counts: Counts
    around: frozenset[Call]
    """The calls that it was made in."""
    is_origin: bool
    """False: it passes on what came in with its inputs."""
    is_sure: bool = True
    """False: its inputs were not looked at."""
    again: Again | None = None
    """For looking inside."""

    @property
    def call(self) -> Call:
        return self.key.name, self.key.call


class Births:
    """Of one forward after the other."""

    def __init__(self) -> None:
        self.is_watching = True
        """False: the first one of the training is found."""
        self.tolerated: frozenset[tuple[SubjectKey, bool]] = frozenset()
        """Outputs that were not finite in a step that went well, and whether there was NaN in them: where there was Inf only
        (a mask), NaN is another matter."""
        self.clear()

    def forget(self) -> None:
        """Training stands somewhere else, with other numbers: what was tolerated is not known to be harmless there."""
        self.tolerated = frozenset()
        self.clear()

    def clear(self) -> None:
        """Another forward begins."""
        self._pending: list[Birth] = []
        self._taken_away: list[Birth] = []
        self._seen: set[tuple[SubjectKey, bool]] = set()

    @property
    def has_pending(self) -> bool:
        return bool(self._pending)

    @property
    def seen(self) -> frozenset[SubjectKey]:
        """Every output of this forward that was not finite."""
        return frozenset(key for key, _ in self._seen)

    @property
    def seen_and_tolerated(self) -> frozenset[SubjectKey]:
        """Those of them that were like that before, and were harmless then."""
        return frozenset(key for key, _ in self._seen & self.tolerated)

    def left_bad(
        self,
        key: SubjectKey,
        output: Tensor,
        module: nn.Module | None,
        inputs: Inputs,
        *,
        has_nan: bool,
        around: Iterable[Call],
    ) -> None:
        """A call has been left; `output` is the first of its tensors that is not finite."""
        self._seen.add((key, has_nan))
        if (key, has_nan) in self.tolerated:
            return
        counts, call = counts_of(output), (key.name, key.call)
        # A softmax makes NaN of a row that is masked whole: it is looked at beside the mask.
        is_after_masks = not counts.is_mask_like and all(birth.counts.is_mask_like for birth in self._pending)
        inside = [birth for birth in self._pending if call in birth.around]
        if any(birth.is_origin for birth in inside) and not is_after_masks:
            # What was made inside comes out of it.
            return
        is_origin = not _has_bad_input(module, inputs, output, but_masks=is_after_masks)
        if is_origin:
            # What its own code made between its layers has come out of one of them before.
            self._pending = [birth for birth in self._pending if birth.is_origin or birth not in inside]
        elif self._pending:
            return
        room = MOST_BYTES - self.copied_bytes
        again = Again.of(module, inputs, most_bytes=room) if is_origin and module is not None else None
        self._pending.append(Birth(key, counts, frozenset(around), is_origin, again=again))

    def left_good(self, call: Call, inputs: Inputs) -> None:
        """A call has been left with a finite output while something is pending."""
        taken = [birth for birth in self._pending if call in birth.around]
        if not taken and first_bad(inputs) is not None:
            taken = [birth for birth in self._pending if birth.counts.is_mask_like]
        if taken:
            self._taken_away += taken
            self._pending = [birth for birth in self._pending if birth not in taken]

    def tolerate(self) -> None:
        """This forward and its backward went well."""
        if self._seen:
            self.tolerated |= self._seen
        # Nobody asks for these any more, and they hold copies of inputs.
        self._pending, self._taken_away = [], []

    def add_unsure(self, key: SubjectKey, counts: Counts, *, is_taken_away: bool) -> None:
        """An output that was found bad only after the forward."""
        self._seen.add((key, counts.nan > 0))
        if (key, counts.nan > 0) not in self.tolerated:
            birth = Birth(key, counts, frozenset(), is_origin=True, is_sure=False)
            (self._taken_away if is_taken_away else self._pending).append(birth)

    @property
    def copied_bytes(self) -> int:
        """Of inputs, for looking inside of calls."""
        known = (birth.again for birth in (*self._pending, *self._taken_away))
        return sum(again.size for again in known if again is not None)

    def candidates(self) -> list[Birth]:
        """Where what reaches the loss may have begun, the first first."""
        return list(self._pending)

    def candidates_for_backward(self) -> list[Birth]:
        """The same where the loss was finite and a gradient is not: also what did not come out of a layer around, but no
        masks."""
        both = (*self._pending, *self._taken_away)
        return [birth for birth in both if birth.is_origin and not birth.counts.is_mask_like]


def _has_bad_input(module: nn.Module | None, inputs: Inputs, output: Tensor, *, but_masks: bool) -> bool:
    for _, tensor in tensor_leaves(inputs):
        if not _changed_in_place(module, tensor, output):
            counts = counts_of(tensor)
            if counts.is_bad and not (but_masks and counts.is_mask_like):
                return True
    return False


def _changed_in_place(module: nn.Module | None, tensor: Tensor, output: Tensor) -> bool:
    """Whether a layer of the user's own has written its output over this input, which may have been finite.

    torch's own layers that do so make no NaN of finite numbers, and what holds other layers hands their outputs on.
    """
    if module is None or module._modules or type(module).__module__.partition(".")[0] == "torch":
        return False
    shares = tensor is output or (
        tensor.layout is output.layout is torch.strided
        and not (tensor.is_nested or output.is_nested)
        and tensor.data_ptr() == output.data_ptr() != 0
    )
    return shares and output._version > 0
