"""What a script's session offers of all this: a probe of its model. Steps and losses are the script's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from torch import Tensor, nn

from gradscope.engine.capture.observer import Observer
from gradscope.engine.model.leaves import Inputs
from gradscope.engine.what_if.place import samples_in
from gradscope.engine.what_if.probe import ScriptProbe
from gradscope.engine.what_if.probed import NEWEST, Probed, checked_every, checked_mode
from gradscope.protocol.failure import BadInput
from gradscope.protocol.phases import AT_REST
from gradscope.protocol.what_if.tried import Mode, ProbeSetting

_NO_LOSS = "The loss is computed by the script itself: the probe shows what the model puts out"


class ScriptWhatIf(Probed):
    """A part of a `ScriptSession`."""

    observer: Observer

    def _call(self) -> tuple[str, nn.Module, Inputs] | None:
        """The newest model that a forward has called, and with what, where that is kept."""
        raise NotImplementedError

    def what_if(self, alternatives: Any = None, *, other_batches: int = 0, progress: Any = None) -> NoReturn:
        """Raises BadInput: nobody but the script can make its step."""
        raise BadInput(_sentence("A step can be tried with a recipe only"))

    def loss_along_update(self, alternative: Any = None, **_options: Any) -> NoReturn:
        """Raises BadInput, as `what_if`."""
        raise BadInput(_sentence("The loss along a step can be had of a recipe only"))

    def loss_surface(self, directions: Any = None, **_options: Any) -> NoReturn:
        """Raises BadInput, as `what_if`."""
        raise BadInput(_sentence("A slice of the loss surface can be had of a recipe only"))

    def set_probe(self, batch: Any | None, *, every: int = 1, mode: Mode | str = Mode.EVAL) -> ProbeSetting | None:
        """Pin what the model was called with in the newest forward (`NEWEST`), or None to take it away.

        As `Session.set_probe`, of the model's call alone: no loss is known. Raises BadInput where the call was not kept.
        """
        self._need_rest_for_probe()
        if batch is None:
            self._probe = None
            return None
        checked_every(every)
        if not isinstance(batch, str) or batch != NEWEST:
            raise BadInput('A script makes its own batches; expected "newest"')
        call = self._call()
        if call is None:
            raise BadInput(
                "What the model was called with is kept only where one steps by hand; expected Next to be pressed once"
            )
        name, model, inputs = call
        kept = _copied(inputs)
        step = self.position.step
        setting = ProbeSetting(
            batch_step=step,
            every=every,
            mode=checked_mode(mode),
            samples=samples_in(kept[0]),
            has_loss=False,
            note=_NO_LOSS,
        )
        probe = ScriptProbe(self.observer, name, model, lambda: _copied(kept), setting)
        probe.keep(probe.tried(step))
        self._probe = probe
        return setting

    def _need_rest_for_probe(self) -> None:
        if self.position.rest not in AT_REST:
            raise BadInput("A probe can be set or run between two phases: finish this one first")


def _sentence(what: str) -> str:
    return f"{what}: a script owns its loop"


def _copied(value: Any) -> Any:
    """A forward may write into what it is given, and a script may use its tensors again."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if type(value) in (list, tuple):
        return type(value)(_copied(item) for item in value)
    if isinstance(value, Mapping) and type(value) is dict:
        return {key: _copied(item) for key, item in value.items()}
    return value
