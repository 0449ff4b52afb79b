"""What the taps tell of a script becomes the phases of a training, in the book.

A phase ends where something is known, not where a function returns. Forward ends when a backward begins: then the loss is
known, and no module is needed. Backward ends when autograd returns; a step when the outermost optimizer has moved, or, where
nobody has one, when the last parameter has. What comes between belongs to the step that follows.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gradscope.engine.book.book import Book
from gradscope.engine.book.turns import Turn
from gradscope.engine.capture.record import Collected
from gradscope.engine.capture.shared_hooks import SharedHooks
from gradscope.engine.model.leaves import Inputs
from gradscope.engine.reports.report import PhaseReport
from gradscope.engine.script.beside import Beside
from gradscope.engine.script.facts import Facts, ScriptWindow
from gradscope.engine.script.finding import losses
from gradscope.engine.script.finding.found import Found
from gradscope.engine.script.follower import Follower
from gradscope.engine.script.func_gradients import FuncGradients, plain
from gradscope.engine.script.gradient_calls import GradientCalls
from gradscope.engine.script.order import Order
from gradscope.engine.script.session import ScriptSession
from gradscope.engine.script.stations import Journal, Passage, Station
from gradscope.engine.script.taken_gradients import Taken, TakenGradients
from gradscope.engine.script.used_batches import UsedBatches
from gradscope.engine.surroundings import transforms
from gradscope.engine.surroundings.frames import users_frame
from gradscope.engine.surroundings.source import users_line
from gradscope.protocol.capture import Capture
from gradscope.protocol.phases import Phase, Rest, SubStep
from gradscope.protocol.scripts import Script
from gradscope.protocol.source import SourceLine

MOST_CALLS = 256
"""Of models in one forward that are looked into; those of later calls are counted only."""


class Following:
    """Of one script. The taps call it, on the thread that trains; `follower` is told, and may hold the script at every end of
    a phase."""

    def __init__(self, script: Script, follower: Follower, *, capture: Capture, budget_bytes: int) -> None:
        self.script, self.follower = script, follower
        self.found, self.journal, self.order = Found(), Journal(), Order()
        self.gradient_calls, self.beside = GradientCalls(self), Beside(self)
        self.session: ScriptSession | None = None
        self.errors: list[str] = []
        """What has failed in following and capturing, and what this torch lacks."""
        self.is_listening = False
        """The layers that run now belong to a forward, or to the recomputing of one."""
        self.unseen: Callable[[], AbstractContextManager[object]] = nullcontext
        """Inside, the taps tell nothing."""
        self.look_again: Callable[[], None] = lambda: None
        self.in_backward = 0
        self.backwards = 0
        """Since the newest step."""
        self._capture, self._budget_bytes = capture, budget_bytes
        self.batches = UsedBatches(self)
        self.taken, self.func = TakenGradients(self), FuncGradients(self)
        self.calls: list[str] = []
        """Of models, since the newest forward."""
        self._is_broken_off = False
        """The newest call of a model has raised, and the script has not gone on yet."""
        self._loss: losses.Loss | None = None
        """That the newest backward began at."""
        self.called_from: SourceLine | None = None
        """The newest of the calls."""
        self._stands_at: SourceLine | None = None
        """What is told now happened there."""
        self._graph_is_kept = False
        self._steps_inside: list[Turn] = []
        self._has_steps_inside = False
        self.pending_notes: list[str] = []
        """Of no phase that has begun."""
        self._told_changes = 0
        self._evaluation_began = 0.0

    # ------------------------------------------------------------------------------------------ small things

    @property
    def book(self) -> Book | None:
        return None if self.session is None else self.session.book

    @property
    def facts(self) -> Facts:
        assert self.session is not None
        return self.session.facts

    def here(self) -> SourceLine | None:
        return self._stands_at or users_line(sys._getframe(1))

    @contextmanager
    def standing_at(self, line: SourceLine | None) -> Iterator[None]:
        """Inside, what is told has happened there."""
        before, self._stands_at = self._stands_at, line
        try:
            yield
        finally:
            self._stands_at = before

    def station(self, kind: SubStep, *, detail: str = "", calls: Iterable[str] = (), at: int | None = None) -> Station:
        """The script comes through it now."""
        return self.journal.add(Station(kind, self.here(), detail, list(calls)), at=at)

    def pass_station(self, kind: SubStep, *, detail: str = "", line: SourceLine | None = None) -> None:
        """Also noted in the record of the phase that is open, where one is; pausing is possible there."""
        station = self.station(kind, detail=detail)
        if self.session is not None:
            self.facts.line = station.line
        if self.book is not None and self.book.inside is not None:
            station.is_told = True
            self.book.observer.passing(kind, detail=detail, line=line or station.line)

    def layers(self) -> SharedHooks | None:
        return None if self.session is None else self.session.book.observer.shared_hooks

    # ------------------------------------------------------------------------------------------ forward

    def root_entered(self, module: nn.Module) -> None:
        """A module is called from outside any other, and outside any backward."""
        if transforms.grads_running():
            self.func.as_outside(module, self.root_entered)
            return
        if not torch.is_grad_enabled():
            self.beside.evaluation_begins(module)
            self.is_listening, self._evaluation_began = False, time.perf_counter()
            return
        self._drop_broken_off()
        root = self.found.root(module)
        is_new = root.name and not self.func.is_vmapped(module) and self.found.follow(root)
        if is_new or (root.name and self.session is None and self.found.holds(root)):
            self.start_or_grow(stops=self.found.optimizers.are_any)
        self.is_listening = False
        # A loss or a metric has no parameters: it belongs to a forward, and begins none.
        is_forward = bool(root.name) or (self.book is not None and self.book.inside is Phase.FORWARD)
        if self.book is not None and is_forward and len(self.calls) < MOST_CALLS:
            self._open_forward()
            self.is_listening = True

    def root_left(self, module: nn.Module, inputs: Inputs, *, has_raised: bool) -> None:
        is_forward = torch.is_grad_enabled()
        self.is_listening = False
        if has_raised:
            self.forward_failed()
            return
        root, inputs = self.found.root(module), plain(inputs)
        if not is_forward:
            if self.book is not None and self.book.inside is not None:
                self.book.observer.leave_out(time.perf_counter() - self._evaluation_began)
            if root.name:
                if self.session is not None:
                    self.found.note_untrained(root)
                self.batches.use(inputs, is_forward=False)
                self.beside.done(self.station(SubStep.EVALUATE, calls=[root.name]))
            return
        if root.name:
            self.batches.use(inputs, is_forward=True)
            self.calls.append(root.name)
            if self.session is not None:
                kept = self.session.book.keeper.keeps_all
                self.facts.call = (root.name, module, inputs) if kept else None
            self.called_from = self.here()
            self.journal.called_at = len(self.journal.stations)

    def forward_failed(self) -> None:
        """A call of a model was broken off. If the script goes on, that was none; if it ends, what there is can be told."""
        self._is_broken_off = True

    def _drop_broken_off(self) -> None:
        is_broken_off, self._is_broken_off = self._is_broken_off, False
        if is_broken_off and self.book is not None and self.book.inside is Phase.FORWARD and not self.calls:
            self._drop(self.book)

    def start_or_grow(self, *, stops: bool) -> None:
        """Something is trained that was not known before. `stops`: this is where a training begins."""
        if self.session is None:
            self.session = ScriptSession(
                self.script,
                self.found,
                self.journal,
                capture=self._capture,
                budget_bytes=self._budget_bytes,
                gate=self.follower,
            )
            self.session.observer.errors = self.errors
            self.session.unseen, self.session.look_again = self.unseen, self.look_again
            self._told_changes = self._changes
            self.follower.session_found(self.session)
            return
        self.session.book.observer.stay_compiled = self.found.compiled
        if (layers := self.layers()) is not None:
            layers.follow(self.session.book.observer.modules())
        self._tell_changes()

    @property
    def _changes(self) -> int:
        return self.found.changes + self.found.optimizers.changes

    def _tell_changes(self) -> None:
        if self.session is not None and self._changes != self._told_changes:
            self._told_changes = self._changes
            self.session.renew()
            self.follower.session_changed(self.session)

    def _open_forward(self) -> None:
        book = self.book
        assert book is not None
        if book.inside is Phase.FORWARD:
            return
        if book.inside is not None:
            # Clipped, and no step was made of it.
            self._drop(book)
        self.beside.forward_begins()
        facts = self.facts
        self._begin_micro_batch()
        facts.clip, facts.loss, facts.is_skipped, facts.evaluations, facts.whose = None, None, False, 0, None
        facts.notes, self.pending_notes = self.pending_notes, []
        facts.gradients.forget_seen()
        facts.gradients.forget_clipped()
        if facts.window.micro == 0:
            facts.gradients.begin_window()
        self._begin(book, Phase.FORWARD)
        self.beside.retell()

    def _begin_micro_batch(self) -> None:
        window = self.facts.window
        window.micro = self.backwards
        # As far as is known: a script tells nobody how many there will be.
        window.size = max(window.size, window.micro + 1)

    def _begin(self, book: Book, phase: Phase) -> None:
        book.begin(phase)
        assert self.session is not None
        self.session.note_place()

    def _drop(self, book: Book) -> None:
        book.observer.abandon()
        book.leave()
        assert self.session is not None
        self.session.note_place()

    # ------------------------------------------------------------------------------------------ backward

    def taken_begins(self, taken: Taken) -> bool:
        """A backward of `torch.autograd.grad`, which computes only the gradients that are asked for."""
        self._drop_broken_off()
        self.renew([*losses.leaves_of_graph(taken.outputs), *taken.inputs])
        taken.outputs = []
        self.taken.find(taken.inputs)
        return self.begin_backward(taken.loss, keeps_graph=taken.keeps_graph)

    def backward_begins(self, tensors: list[Tensor], *, keeps_graph: bool) -> bool:
        """Of the outermost backward. False where nothing that is known is trained by it."""
        self._drop_broken_off()
        loss = losses.described(tensors)
        if self.session is None:
            self.find_in_graph(tensors)
        elif not self.found.optimizers.are_any:
            self.renew(losses.leaves_of_graph(tensors) if self.found.model._parameters else [])
        return self.begin_backward(loss, keeps_graph=keeps_graph)

    def begin_backward(self, loss: losses.Loss, *, keeps_graph: bool) -> bool:
        """The loss is known, and what is trained: the forward ends here."""
        self._loss = loss
        if self.session is None:
            self._graph_is_kept, self.calls = keeps_graph, []
            return False
        facts = self.facts
        if self.calls or not self._graph_is_kept:
            self._end_forward(loss)
        else:
            self._begin_micro_batch()
        self._graph_is_kept = keeps_graph
        facts.loss, facts.notes = loss.value, []
        book = self.session.book
        if book.inside is not None:
            self._drop(book)
        self._begin(book, Phase.BACKWARD)
        facts.gradients.begin_backward(facts.gradients.movable(), loss.scale)
        if self._has_steps_inside:
            self._remember_parameters()
        return True

    def renew(self, leaves: list[Tensor]) -> None:
        """A step that has made new tensors of the old ones: noticed by those that are trained now."""
        renewed = self.found.renew(leaves)
        if renewed and self.backwards:
            now = [tensor for _, tensor in renewed]
            self.journal.called_at = 0
            self.step_by_hand(now, "(by hand)", [(tensor, before.detach()) for before, tensor in renewed])

    def find_in_graph(self, tensors: list[Tensor]) -> None:
        """Bare tensors, and models whose calls could not be seen."""
        leaves = losses.leaves_of_graph(tensors)
        optimizers = self.found.optimizers
        wanted = [leaf for leaf in leaves if not optimizers.are_any or optimizers.hold(leaf)]
        known = self.found.known_ids()
        if self.found.follow_reached(wanted) or any(id(leaf) in known for leaf in wanted):
            self.start_or_grow(stops=True)

    def _end_forward(self, loss: losses.Loss) -> None:
        self._open_forward()
        assert self.session is not None
        book, facts = self.session.book, self.facts
        facts.loss = loss.value
        calls, self.calls = self.calls, []
        at = self.journal.called_at if calls else len(self.journal.stations)
        line = self.called_from if calls else self.here()
        self.journal.add(Station(SubStep.FORWARD, line, calls=calls), at=at)
        book.observer.passing(SubStep.FORWARD, line=line)
        self.pass_station(SubStep.LOSS, detail=loss.name)
        facts.notes += loss.notes
        collected = book.end(Phase.FORWARD)
        book.close_phase(Phase.FORWARD, collected)
        report = book.write(Phase.FORWARD, collected, rest=Rest.FORWARD)
        self.ended(report, calls=calls, loss=loss)

    def backward_ends(self, *, has_failed: bool, is_taken: bool = False) -> None:
        """`is_taken`: by `torch.autograd.grad`, which leaves nothing in `.grad`."""
        assert self.session is not None
        book, facts = self.session.book, self.facts
        inside, self._steps_inside = self._steps_inside, []
        if has_failed:
            self._drop(book)
            return
        movable = facts.gradients.movable()
        facts.gradients.end_backward(movable)
        if not is_taken:
            self.order.backward(movable.values(), is_scaled=facts.gradients.scale is not None)
        self.backwards += 1
        self.pass_station(SubStep.BACKWARD)
        collected = book.end(Phase.BACKWARD)
        book.close_phase(Phase.BACKWARD, collected)
        facts.window.losses.append(float("nan") if facts.loss is None else facts.loss)
        report = book.write(Phase.BACKWARD, collected, rest=Rest.BACKWARD)
        self.ended(report, loss=self._loss)
        if inside:
            self._end_steps_inside(inside)

    # ------------------------------------------------------------------------------------------ step

    def open_step(self, turn: Turn | None, *, has_moved: bool = False) -> bool:
        """The first thing that belongs to a step: unscaling, clipping, or the optimizer itself. False where nothing is
        known. `has_moved`: it is noticed only now, so nobody can be held before it."""
        self.taken.step_follows()
        if self.session is None:
            return False
        book, facts = self.session.book, self.facts
        if turn is not None:
            facts.whose = turn
        if book.inside is Phase.STEP:
            return True
        if book.inside is not None:
            self._drop(book)
        if not has_moved:
            self.beside.begins(SubStep.STEP)
        facts.notes, self.pending_notes = self.pending_notes, []
        facts.clip, facts.is_skipped = None, False
        self._begin(book, Phase.STEP)
        facts.gradients.begin_step()
        return True

    def step_begins(self, optimizer: Optimizer, *, after_closure: bool = False) -> None:
        """The optimizer is about to move its parameters, with the gradients of now."""
        turn = self.found.turn(optimizer)
        line = self.here()
        if self.in_backward or not self.open_step(turn):
            return
        facts = self.facts
        facts.notes += self.order.step(optimizer, line)
        self.gradient_calls.remember(is_changing=turn.may_change_gradients)
        if after_closure:
            # The rest was remembered when the closure was given.
            facts.evaluations += 1
        else:
            self._remember_before(optimizer)

    @property
    def session_is_off(self) -> bool:
        return self.session is None or self.session.book.capture.is_off

    def closure_given(self, optimizer: Optimizer) -> None:
        """The step will evaluate the loss: what it moves is measured from here."""
        if self.session is not None:
            self._remember_before(optimizer)

    def _remember_before(self, optimizer: Optimizer) -> None:
        self._remember_parameters()
        if not self.session_is_off:
            self.facts.step_before.remember([turn.optimizer for turn in self.found.turns], optimizer)

    def _remember_parameters(self) -> None:
        if self.session_is_off:
            return
        assert self.session is not None
        observer = self.session.book.observer
        observer.guarded(lambda: observer.previous.remember(self.facts.gradients.movable()))

    def step_ends(self, optimizer: Optimizer) -> None:
        turn = self.found.turn(optimizer)
        if self.in_backward:
            self._steps_inside.append(turn)
            return
        if self.session is not None and losses.is_left_out(optimizer):
            self.facts.is_skipped = True
        self._end_step(turn)

    def _end_step(self, turn: Turn, *, detail: str = "") -> None:
        if self.session is None:
            self.backwards = 0
            self.station(SubStep.STEP, detail=detail or turn.name)
            return
        book, facts = self.session.book, self.facts
        facts.whose = turn
        self.pass_station(SubStep.STEP, detail=detail or turn.name)
        collected: Collected = book.end(Phase.STEP)
        book.close_phase(Phase.STEP, collected)
        report = book.write_step(collected)
        book.next_step()
        backwards, self.backwards = self.backwards, 0
        facts.window = ScriptWindow()
        self._graph_is_kept = False
        self.taken.step_done()
        self.ended(report, backwards=backwards)

    def _end_steps_inside(self, turns: list[Turn]) -> None:
        """Hooks on the parameters have stepped in the backward: that is one step now."""
        self._has_steps_inside = True
        if self.open_step(turns[0], has_moved=True):
            count = len(turns)
            self._end_step(turns[0], detail=turns[0].name if count == 1 else f"{count} steps inside the backward")

    def step_skipped(self, optimizer: Optimizer) -> None:
        """The scaler has left it out."""
        turn = self.found.turn(optimizer)
        self.order.skip(optimizer)
        if not self.open_step(turn):
            return
        self.facts.is_skipped = True
        self._remember_parameters()
        self._end_step(turn)

    def step_by_hand(self, tensors: list[Tensor], name: str, before: list[tuple[Tensor, Tensor]]) -> None:
        """Parameters that no optimizer holds have moved. `before`: each, and what it was."""
        turn = self.found.turn_by_hand(name, tensors)
        if self.open_step(turn, has_moved=True):
            assert self.session is not None
            held = {id(tensor): key for key, tensor in self.facts.gradients.held.items()}
            held |= {id(tensor): key for key, tensor in self.session.book.observer.tensors().items()}
            known = {held[id(tensor)]: (tensor, copy) for tensor, copy in before if id(tensor) in held}
            if not self.session_is_off:
                self.session.book.observer.previous.take(known)
            self._end_step(turn)

    # ------------------------------------------------------------------------------------------ beside the phases

    def trails(self, kind: SubStep, *, notes: Iterable[str] = (), detail: str = "") -> None:
        """The scaler's update, or a scheduler: of the step that is done."""
        self.pending_notes += notes
        self.beside.done(self.station(kind, detail=detail))

    def ended(
        self, report: PhaseReport, *, calls: Iterable[str] = (), loss: losses.Loss | None = None, backwards: int = 0
    ) -> None:
        """A phase has: tell it, and wait if somebody wants to."""
        assert self.session is not None
        passage = Passage(
            stations=self.journal.take(),
            calls=tuple(calls),
            loss_name="" if loss is None else loss.name,
            losses=() if loss is None else loss.parts,
            backwards=backwards,
            knows_epoch=self.facts.batches.is_known,
        )
        if report.phase is Phase.STEP:
            self.journal.end_step()
            if self.session.order_has_changed():
                self.session.renew()
                self.follower.session_changed(self.session)
            self.session.ask_own_rules()
            self.session.run_probe_if_due()
            self.session.watches.after_step(users_frame())
        self.session.newest = passage
        self.session.note_place()
        self.follower.phase_ended(self.session, report, passage)
        self._tell_changes()
