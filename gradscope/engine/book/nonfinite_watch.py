"""Looks after each phase whether this is where the training's first NaN or Inf was made; says so once.

A value counts when training uses it: it has reached the loss, a gradient, the optimizer's state or a parameter, or a forward
has left it in a buffer. Then the place is named where it began, which may be earlier in the same step. What never gets that
far is tolerated from then on.
What a gradient scaler takes care of is no finding: too large a scale makes Inf, the step is left out, the scale lowered.
"""

from __future__ import annotations

import math

import numpy as np
from torch import nn

from gradscope.engine.book import notes
from gradscope.engine.book.buffer_watch import BufferWatch, LeftInBuffer
from gradscope.engine.book.driver import Driver
from gradscope.engine.book.reruns import Reruns
from gradscope.engine.capture.observer import Observer
from gradscope.engine.capture.record import Collected
from gradscope.engine.nonfinite.births import Birth
from gradscope.engine.nonfinite.counts import Counts, counts_of, first_bad, first_bad_of
from gradscope.engine.nonfinite.finder import Made
from gradscope.engine.nonfinite.wording import found, made_by, of_layer, rounded_eps
from gradscope.engine.wording import listed
from gradscope.protocol.nonfinite import FirstNonFinite, Stage
from gradscope.protocol.subjects import COUNT, INF, NAN, SubjectKey, SubjectKind

Row = tuple[SubjectKey, Counts]
_STAGES = {
    SubjectKind.CLIPPED_GRAD: Stage.CLIPPING,
    SubjectKind.OPTIMIZER_STATE: Stage.OPTIMIZER_STATE,
    SubjectKind.UPDATE: Stage.UPDATE,
    SubjectKind.PARAMETER: Stage.UPDATE,
}
"""Of the subjects of a step, in the order in which it makes them."""


class NonFiniteWatch:
    """Of one training. `after_...` is called when a phase is complete, and answers what has been found in it."""

    def __init__(self, driver: Driver, observer: Observer, *, is_late: bool) -> None:
        """`is_late`: the counts are known at the end of a phase only (on a GPU)."""
        self._driver, self._observer, self._is_late = driver, observer, is_late
        self._reruns = Reruns(driver, observer)
        self.first: FirstNonFinite | None = None
        self._forward: Collected | None = None
        self._buffers = BufferWatch(driver, observer)

    def forget(self) -> None:
        """Training stands somewhere else: what is found from now on is the first."""
        self.first = self._forward = None
        self._buffers.forget()
        births = self._observer.births
        births.forget()
        births.is_watching = True

    def stand_where(self, first: FirstNonFinite | None) -> None:
        """Training stands somewhere else, where this was found already, or nothing was."""
        self.forget()
        self.first = first
        self._observer.births.is_watching = first is None

    def after_forward(self, step: int, collected: Collected) -> FirstNonFinite | None:
        loss = self._driver.loss
        if self.first is not None:
            return None
        self._forward = collected
        self._reruns.forget()
        has_buffers = self._observer.has_seen_buffers
        in_buffer = self._buffers.left_by_forward(self._bad_rows(collected)) if has_buffers else None
        if in_buffer is None and (loss is None or math.isfinite(loss)):
            return None
        self._look_back(collected)
        if loss is not None and not math.isfinite(loss):
            return self._found(self._of_bad_loss(step, loss, in_buffer))
        assert in_buffer is not None
        for birth in self._observer.births.candidates_for_backward():
            return self._found(self._of_birth(step, birth))
        return self._found(self._of_buffer(step, in_buffer))

    def after_backward(self, step: int, collected: Collected) -> FirstNonFinite | None:
        if self.first is not None:
            return None
        births = self._observer.births
        bad = [row for row in self._bad_rows(collected) if row[0].kind is not SubjectKind.BUFFER]
        if not bad or not self._reaches_parameters(collected, bad):
            if self._is_late and self._forward is not None:
                self._look_back(self._forward)
            births.tolerate()
            return None
        if self._is_left_to_scaler(bad):
            self._driver.notes += notes.left_to_scaler(bad)
            return None
        if self._forward is not None:
            self._look_back(self._forward)
        for birth in births.candidates_for_backward():
            return self._found(self._of_birth(step, birth))
        return self._found(self._of_gradient(step, collected, bad[0]))

    def after_step(self, step: int, collected: Collected) -> FirstNonFinite | None:
        if self.first is not None or self._driver.is_skipped:
            return None
        clip = self._driver.clip
        if clip is not None and not math.isfinite(clip.norm):
            return self._found(self._of_norm(step, clip.norm, clip.dominant))
        order = list(_STAGES)
        bad = [row for row in self._bad_rows(collected) if row[0].kind in _STAGES and self._is_new(row)]
        if not bad:
            return None
        key, counts = min(bad, key=lambda row: order.index(row[0].kind))
        return self._found(self._of_step(step, key, counts))

    # ------------------------------------------------------------------------------------------ forward

    def _look_back(self, collected: Collected) -> None:
        """Where the counts came too late to look at inputs: which outputs were bad, as far as names tell."""
        if not self._is_late:
            return
        births = self._observer.births
        bad = dict(self._bad_rows(collected))
        outputs = [key for key in self._keys(collected) if key.kind is SubjectKind.ACTIVATION]
        for i, key in enumerate(outputs):
            if key in bad and key not in births.seen:
                around = (other for other in outputs[i + 1 :] if _is_inside(key.name, other.name))
                births.add_unsure(key, bad[key], is_taken_away=any(other not in bad for other in around))

    def _of_bad_loss(self, step: int, loss: float, in_buffer: LeftInBuffer | None) -> FirstNonFinite:
        candidates = self._observer.births.candidates()
        if not candidates or not (candidates[0].is_origin and candidates[0].is_sure):
            made = self._reruns.forward()
            # What is in the batch need not have reached the loss.
            if made is None or made.is_given:
                earlier = self._of_batch(step) or (self._of_model(step) if made or not candidates else None)
                if earlier is not None:
                    return earlier
        if candidates:
            is_mask = [birth.counts.is_mask_like and self._reruns.layer(birth).is_mask for birth in candidates[:-1]]
            birth = candidates[[*is_mask, False].index(False)]
            # What was harmless so far is not among the candidates.
            made = self._reruns.forward() if self._observer.births.seen_and_tolerated else None
            if made is not None and made.layer not in (None, birth.key.name):
                return self._of_layer(step, made, made.layer)
            return self._of_birth(step, birth)
        if in_buffer is not None:
            return self._of_buffer(step, in_buffer)
        made = self._reruns.forward()
        if made is not None and made.layer is not None:
            return self._of_layer(step, made, made.layer)
        counts = Counts(nan=int(math.isnan(loss)), inf=int(math.isinf(loss)), negative=int(loss == -math.inf), count=1)
        capture = self._observer.capture
        if capture.is_off or not self._observer.modules():
            rest = "with capture off, no layer was looked at" if capture.is_off else "the model has no layers"
        else:
            rest = "the outputs of all layers" if not capture.is_partial else "those outputs that were captured"
            rest = f"{rest} were finite{self._but_for()}"
        operation = None if made is None else made.operation
        what = f"the loss is {_number(loss)}; {rest}{made_by(operation)}{self._whose()}"
        return found(step, Stage.LOSS, "", counts, what, operation=operation)

    def _of_batch(self, step: int) -> FirstNonFinite | None:
        # As it was loaded: a forward may write into its copy.
        bad = first_bad(self._driver.loaded_batch)
        if bad is None:
            return None
        path, counts = bad
        return found(step, Stage.BATCH, path, counts, f"it holds {counts.words()}{self._whose()}")

    def _of_model(self, step: int) -> FirstNonFinite | None:
        """What the forward began with."""
        movable = self._driver.gradients.movable()
        bad, stage, kind = first_bad_of(movable.items()), Stage.PARAMETERS, SubjectKind.PARAMETER
        if bad is None:
            bad, stage, kind = first_bad_of(self._buffers.before_forward()), Stage.BUFFERS, SubjectKind.BUFFER
        if bad is None:
            return None
        name, counts = bad
        what = f"it holds {counts.words()} before this forward{self._whose()}"
        return found(step, stage, name, counts, what, subject=SubjectKey(kind, name))

    def _of_buffer(self, step: int, left: LeftInBuffer) -> FirstNonFinite:
        layer = of_layer(SubjectKey(SubjectKind.ACTIVATION, left.layer), self._module(left.layer))
        began = f"it began with {left.before.words()}" if left.before.is_bad else "it began with finite numbers"
        what = f"{left.after.words()} in this buffer of {layer} after the forward; {began}{self._whose()}"
        return found(step, Stage.FORWARD, left.key.name, left.after, what, subject=left.key)

    def _of_birth(self, step: int, birth: Birth) -> FirstNonFinite:
        key, counts = birth.key, birth.counts
        module = self._module(key.name)
        place = of_layer(key, module)
        if not birth.is_origin:
            made = self._reruns.forward()
            if made is not None and made.layer is not None:
                return self._of_layer(step, made, made.layer)
            operation = None if made is None else made.operation
            where = "by code outside the layers" if made is not None else self._whence()
            what = f"{counts.words()} in its output, and its inputs were not finite either: they were made before it, {where}"
            what += made_by(operation) + self._whose()
            return found(step, Stage.FORWARD, f"input of {place}", counts, what, subject=key, operation=operation)
        operation = self._reruns.layer(birth).operation
        inside = f"{key.name}." if key.name else ""
        own = ((name, tensor) for name, tensor in self._observer.tensors().items() if name.startswith(inside))
        bad = first_bad_of((name, tensor) for name, tensor in own if not counts_of(tensor).is_mask_like)
        stage, kind = Stage.PARAMETERS, SubjectKind.PARAMETER
        if bad is None:
            # As the forward began with them: it may write into them.
            bad, stage, kind = first_bad_of(self._buffers.before_forward(inside)), Stage.BUFFERS, SubjectKind.BUFFER
        if bad is not None and operation is None:
            what = f"it holds {bad[1].words()} before the forward of {place}{self._whose()}"
            return found(step, stage, bad[0], bad[1], what, subject=SubjectKey(kind, bad[0]))
        inputs = " while its inputs were finite" if birth.is_sure else "; no output before it had any"
        what = f"{counts.words()} in its output{inputs}{made_by(operation)}{self._whose()}"
        return found(step, Stage.FORWARD, place, counts, what, subject=key, operation=operation)

    def _but_for(self) -> str:
        births = self._observer.births
        if births.seen_and_tolerated:
            return f", but for {self._tolerated()}"
        return ", but for what was taken away before" if births.seen else ""

    def _tolerated(self) -> str:
        names = sorted({key.shown() for key in self._observer.births.seen_and_tolerated})
        return f"{listed(names)}, as in earlier steps, which it did no harm to"

    def _whence(self) -> str:
        """What comes into question for an input that was not finite, where another run has shown nothing."""
        where = ["code outside the layers"]
        where += ["layers that are not captured"] * self._observer.capture.is_partial
        is_known = bool(self._observer.births.seen_and_tolerated)
        return f"by {' or '.join(where)}" + (f" (not finite either: {self._tolerated()})" if is_known else "")

    def _of_layer(self, step: int, made: Made, layer: str | None) -> FirstNonFinite:
        """What only another run has shown: no output of that layer was looked at, or it has been like that before."""
        assert layer is not None
        place = of_layer(SubjectKey(SubjectKind.ACTIVATION, layer), self._module(layer))
        what = f"{made.counts.words()} in what it computes{made_by(made.operation)}{self._whose()}"
        subject = next((seen for seen in self._observer.births.seen_and_tolerated if seen.name == layer), None)
        return found(step, Stage.FORWARD, place, made.counts, what, subject=subject, operation=made.operation)

    # ------------------------------------------------------------------------------------------ backward

    def _reaches_parameters(self, collected: Collected, bad: list[Row]) -> bool:
        """A gradient that goes no further than to the output of a layer moves nothing."""
        if any(key.kind is SubjectKind.GRAD for key, _ in bad):
            return True
        seen = {key.name for key in self._keys(collected) if key.kind is SubjectKind.GRAD}
        others = ((name, tensor.grad) for name, tensor in self._driver.gradients.movable().items() if name not in seen)
        return first_bad_of((name, gradient) for name, gradient in others if gradient is not None) is not None

    def _is_left_to_scaler(self, bad: list[Row]) -> bool:
        """With a scale of 1 or less, it is not the scale that is too large. It looks at the gradients of what its
        optimizer moves."""
        scale = self._driver.gradients.scale
        if scale is None or scale <= 1:
            return False
        names, own = {key.name for key, _ in bad if key.kind is SubjectKind.GRAD}, self._driver.gradients.own_names()
        return not names or bool(names & own)

    def _of_gradient(self, step: int, collected: Collected, row: Row) -> FirstNonFinite:
        key, counts = row
        keys = self._keys(collected)
        before = [other for other in keys[: keys.index(key)] if other.kind is SubjectKind.ACTIVATION_GRAD]
        place = self._place_of_gradient(key)
        rest = ""
        if before:
            seen = " that was captured" if self._observer.capture.is_partial else ""
            rest = f"; going backward, the last{seen} before it was finite: {self._place_of_gradient(before[-1])}"
        operation = self._reruns.backward()
        what = f"{counts.words()}{rest}{made_by(operation, in_backward=True)}{self._whose()}"
        return found(step, Stage.BACKWARD, place, counts, what, subject=key, operation=operation)

    def _place_of_gradient(self, key: SubjectKey) -> str:
        if key.kind is SubjectKind.GRAD:
            return f"gradient of {key.name}"
        return f"gradient of the output of {of_layer(key, self._module(key.name))}"

    # ------------------------------------------------------------------------------------------ step

    def _of_norm(self, step: int, norm: float, largest: str) -> FirstNonFinite:
        counts = Counts(nan=int(math.isnan(norm)), inf=int(math.isinf(norm)), negative=0, count=1)
        what = f"the norm of all gradients together is {_number(norm)}"
        what += f"; the largest is that of {largest}" if largest else ""
        subject = SubjectKey(SubjectKind.CLIPPED_GRAD, largest) if largest else None
        return found(step, Stage.CLIPPING, "norm of all gradients", counts, what + self._whose(), subject=subject)

    def _is_new(self, row: Row) -> bool:
        """Not so before the step: a parameter with a mask in it is not made so by the step."""
        key, _ = row
        if key.kind not in (SubjectKind.UPDATE, SubjectKind.PARAMETER):
            return True
        before, now = self._observer.previous.before(key.name), self._observer.tensors().get(key.name)
        if now is None or before is None:
            # Frozen ones are not remembered: no step moves them.
            return now is not None and key.kind is SubjectKind.PARAMETER and (now.requires_grad or now.grad is not None)
        had, has = counts_of(before), counts_of(now)
        return has.nan + has.inf > had.nan + had.inf

    def _of_step(self, step: int, key: SubjectKey, counts: Counts) -> FirstNonFinite:
        stage = _STAGES[key.kind]
        what = f"{counts.words()} after clipping"
        if stage is Stage.OPTIMIZER_STATE:
            what = f"{counts.words()} after a step whose gradients were finite"
        elif stage is Stage.UPDATE:
            what = f"the optimizer's step made {counts.words()}, its gradient being finite{self._eps(key.name)}"
        return found(step, stage, key.label(), counts, what + self._whose(), subject=key)

    def _eps(self, name: str) -> str:
        parameter = self._driver.gradients.movable().get(name)
        groups = self._driver.turn.optimizer.param_groups
        own = (group for group in groups if any(tensor is parameter for tensor in group["params"]))
        return next((rounded_eps(group, parameter) for group in own if parameter is not None), "")

    # ------------------------------------------------------------------------------------------ private

    def _found(self, first: FirstNonFinite) -> FirstNonFinite:
        self.first, self._forward = first, None
        births = self._observer.births
        births.clear()
        births.is_watching = False
        return first

    def _keys(self, collected: Collected) -> list[SubjectKey]:
        rows = self._observer.tables.subjects.rows
        return [rows[number].key for number in collected.subjects.tolist()]

    def _bad_rows(self, collected: Collected) -> list[Row]:
        """In the order in which they were seen."""
        summaries = collected.summaries
        if not len(summaries) or not summaries[:, NAN : INF + 1].any():
            return []
        rows = self._observer.tables.subjects.rows
        return [
            (
                rows[collected.subjects[i]].key,
                Counts(int(summaries[i, NAN]), int(summaries[i, INF]), negative=0, count=int(summaries[i, COUNT])),
            )
            for i in np.flatnonzero(summaries[:, NAN : INF + 1].any(axis=1)).tolist()
        ]

    def _module(self, name: str) -> nn.Module | None:
        return self._observer.modules().get(name)

    def _whose(self) -> str:
        """Which micro-batch, and whose turn, where there are several."""
        driver = self._driver
        window, name = driver.window, driver.turn.name
        parts = [f"micro-batch {window.micro + 1} of {window.size}"] * (window.size > 1)
        parts += [f"turn of {name}"] * (len(driver.turns) > 1)
        return f" ({', '.join(parts)})" if parts else ""


def _is_inside(name: str, other: str) -> bool:
    return name != other and (not other or name.startswith(f"{other}."))


def _number(value: float) -> str:
    return "NaN" if math.isnan(value) else "Inf" if value > 0 else "-Inf"
