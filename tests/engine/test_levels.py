"""Capture levels: each shows what it says it does, at full accuracy. That none changes the training: test_unobserved."""

from __future__ import annotations

import math
from typing import Any

import plain
import pytest
import torch
import zoo
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from gradscope import Recipe, Session
from gradscope.engine.book.reruns import Reruns
from gradscope.engine.book.values import ValuesUnavailable
from gradscope.engine.reports.report import PhaseReport, Subject
from gradscope.protocol import absences
from gradscope.protocol.capture import FULL, Capture, CaptureLevel
from gradscope.protocol.failure import BadInput, UserCodeFailed
from gradscope.protocol.phases import Phase, Rest
from gradscope.protocol.subjects import SubjectKey, SubjectKind


def reports_at(capture: str, make: Any = zoo.batchnorm_dropout_conv, steps: int = 2) -> list[PhaseReport]:
    with Session(plain.seeded(make), capture=capture) as session:
        reports = [report for _ in range(steps) for report in session.next_batch()]
        assert session.observer.errors == []
    return reports


def by_key(report: PhaseReport) -> dict[SubjectKey, Subject]:
    return {subject.key: subject for subject in report.subjects}


# torch's compiler asks every tensor that it traces for its .grad.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf Tensor")
@pytest.mark.parametrize("make", [zoo.batchnorm_dropout_conv, zoo.sparse_embedding, zoo.bare_tensors, zoo.lstm])
def test_norms_are_those_of_the_full_summary(make: Any) -> None:
    for full, norms in zip(reports_at("full", make), reports_at("norms", make), strict=True):
        expected, found = by_key(full), by_key(norms)
        assert list(found) == [key for key in expected if key.kind is not SubjectKind.OPTIMIZER_STATE]
        for key, subject in found.items():
            other = expected[key]
            assert (subject.count, subject.nan, subject.inf) == (other.count, other.nan, other.inf)
            # Whole numbers have none.
            assert subject.l2 == (None if other.l2 is None else pytest.approx(other.l2, rel=1e-6))
            assert (subject.zero, subject.min, subject.max, subject.mean, subject.std) == (None,) * 5
            assert not subject.histogram.any()
        assert norms.loss == full.loss and norms.absent == full.absent


def test_norms_count_what_is_not_finite() -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.where(x > 0, x, math.nan)

    recipe = zoo.classifier(nn.Sequential(nn.Linear(zoo.FEATURES, zoo.CLASSES), Broken()))
    with Session(recipe, capture="norms") as session:
        output = session.forward().get("activation", "1")
        assert output is not None and output.nan > 0 and output.l2 is not None and math.isfinite(output.l2)
        first = session.first_nonfinite
        assert first is not None and first.place == "1 (Broken)" and (first.nan, first.inf) == (output.nan, output.inf)


@pytest.mark.parametrize("capture", ["norms", "layers:first"])
def test_the_norms_of_a_step_are_of_all_parameters_or_unknown(capture: str) -> None:
    with Session(plain.seeded(zoo.in_place)) as full, Session(plain.seeded(zoo.in_place), capture=capture) as session:
        full.next_batch()
        session.next_batch()
        expected, found = full.history[0], session.history[0]
    if capture == "norms":
        assert found.grad_l2 == pytest.approx(expected.grad_l2) and found.update_l2 == pytest.approx(expected.update_l2)
    else:
        assert found.grad_l2 is None and found.update_l2 is None


@pytest.mark.parametrize(
    ("capture", "layers", "parameters"),
    [
        ("layers:first", {"first"}, {"first.weight", "first.bias"}),
        ("layers:first,head", {"first", "head"}, {"first.weight", "first.bias", "head.weight", "head.bias"}),
        ("layers:?e*", {"head", "relu", "second"}, {"head.weight", "head.bias", "second.weight", "second.bias"}),
        ("layers:second.bias", set(), {"second.bias"}),
        ("layers:relu", {"relu"}, set()),
    ],
)
def test_chosen_layers_are_seen_as_in_full_and_no_other(capture: str, layers: set[str], parameters: set[str]) -> None:
    for full, some in zip(reports_at("full", zoo.in_place), reports_at(capture, zoo.in_place), strict=True):
        expected = {
            key: subject
            for key, subject in by_key(full).items()
            if key.name in (layers if key.kind in (SubjectKind.ACTIVATION, SubjectKind.ACTIVATION_GRAD) else parameters)
        }
        assert by_key(some) == expected
        assert {key.name for key in expected} <= layers | parameters
        assert {absence.name for absence in some.absent} <= layers | parameters


def test_a_chosen_layer_has_what_is_inside_it() -> None:
    forward, backward, _ = reports_at("layers:block", zoo.checkpoint_plain, steps=1)
    inside = {"block", "block.0", "block.1", "block.2", "block.3"}
    assert {subject.name for subject in forward.subjects} == inside
    assert {s.name for s in backward.subjects if s.kind == "activation_grad"} == inside
    assert {s.name for s in backward.subjects if s.kind == "grad"} == {
        f"block.{i}.{p}" for i in "03" for p in ("weight", "bias")
    }


def test_hooks_are_only_where_they_are_needed() -> None:
    for capture, layers in (("full", 5), ("norms", 5), ("layers:second", 1), ("off", 0)):
        recipe = plain.seeded(zoo.in_place)
        assert isinstance(recipe.model, nn.Module)
        with Session(recipe, capture=capture) as session:
            session.next_batch()
            hooked = [m for m in recipe.model.modules() if m._forward_hooks or m._forward_pre_hooks]
            assert len(hooked) == layers
            parameters = [p for p in recipe.model.parameters() if getattr(p, "_post_accumulate_grad_hooks", None)]
            assert len(parameters) == {5: 6, 1: 2, 0: 0}[layers]
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in recipe.model.modules())


def test_off_has_the_loss_and_the_rate_and_nothing_else() -> None:
    with Session(plain.seeded(zoo.plain_mlp), capture="off") as session:
        reports = session.next_batch()
        assert [len(report.subjects) for report in reports] == [0, 0, 0]
        assert [report.absent for report in reports] == [(), (), ()]
        assert reports[0].loss is not None and reports[2].lr == (0.1,)
        (record,) = session.history
        assert record.loss == reports[0].loss and record.grad_l2 is None and record.update_l2 is None
        key = SubjectKey(SubjectKind.UPDATE, "0.weight")
        with pytest.raises(Exception, match="Capture is off"):
            session.values(key)
        assert "capture is off" in session.explain("0.weight").reason.lower()
        # What is still there can be looked at.
        assert session.values(SubjectKey(SubjectKind.PARAMETER, "0.weight")).shape == (8, zoo.FEATURES)
        assert session.values(SubjectKey(SubjectKind.GRAD, "0.weight")).shape == (8, zoo.FEATURES)


def test_a_forward_that_fails_with_capture_off_is_undone_and_a_step_is_not() -> None:
    class Fragile(nn.Linear):
        fails = False

        def forward(self, x: Tensor) -> Tensor:
            if self.fails:
                raise ValueError("no")
            return super().forward(x)

    class Stumbling(torch.optim.SGD):
        fails = False

        def step(self, closure: Any = None) -> Any:
            done = super().step(closure)
            if self.fails:
                raise ValueError("no")
            return done

    model = Fragile(zoo.FEATURES, zoo.CLASSES)
    optimizer = Stumbling(model.parameters(), lr=0.1)
    with Session(zoo.classifier(model, optimizer=optimizer), capture="off") as session:
        session.next_batch()
        model.fails = True
        with pytest.raises(UserCodeFailed) as caught:
            session.forward()
        assert "undone" in caught.value.failure.undone and not session.is_broken
        model.fails, optimizer.fails = False, True
        session.forward()
        session.backward()
        with pytest.raises(UserCodeFailed) as caught:
            session.step()
        assert session.is_broken
        assert "It could not be undone" in caught.value.failure.undone
        assert "capture off" in caught.value.failure.undone


def test_the_level_can_be_changed_between_two_steps() -> None:
    expected = plain.train_plainly(plain.seeded(zoo.batchnorm_dropout_conv), steps=6)
    with Session(plain.seeded(zoo.batchnorm_dropout_conv)) as session:
        counts = []
        for capture in ("full", "off", "norms", "layers:0", "off", "full"):
            session.set_capture(capture)
            assert session.info.capture == str(session.capture) == capture
            counts.append([len(report.subjects) for report in session.next_batch()])
        assert session.observer.errors == []
        plain.assert_same_outcome(expected, plain.outcome_of(session))
    full, off, norms, layers, again_off, again = counts
    assert full == again and off == again_off == [0, 0, 0]
    assert norms[:2] == full[:2] and layers == [1, 2, 4]


def test_it_is_refused_inside_a_step_and_for_unknown_layers() -> None:
    with Session(plain.seeded(zoo.in_place)) as session:
        session.forward()
        with pytest.raises(BadInput, match="between two steps"):
            session.set_capture("off")
        assert session.capture == FULL and session.position.rest is Rest.FORWARD
        session.backward()
        session.step()
        with pytest.raises(BadInput, match=r"no layer 'frist' \(is it first\?\); expected names of its layers"):
            session.set_capture("layers:frist")
        assert session.capture == FULL
    with pytest.raises(BadInput, match="no layer 'nothing'"):
        Session(plain.seeded(zoo.in_place), capture="layers:nothing")
    recipe = plain.seeded(zoo.in_place)
    with pytest.raises(BadInput):
        Session(recipe, capture="everything")
    assert isinstance(recipe.model, nn.Module)
    assert not any(m._forward_hooks for m in recipe.model.modules())


@pytest.mark.parametrize(
    "text", ["", "FULL", "layers", "layers:", "layers: ,", "norms:0", "off:", "everything", "full,off"]
)
def test_what_is_no_level(text: str) -> None:
    with pytest.raises(BadInput, match=r"expected (full, layers:NAME|names with commas)"):
        Capture.parse(text)


names = st.text(st.characters(exclude_characters=",", categories=["L", "N", "P"]), min_size=1, max_size=8)


@given(
    st.one_of(
        st.sampled_from([Capture(level) for level in CaptureLevel if level is not CaptureLevel.LAYERS]),
        st.lists(names, min_size=1, max_size=4).map(lambda layers: Capture(CaptureLevel.LAYERS, tuple(layers))),
    )
)
def test_a_capture_is_read_as_it_is_written(capture: Capture) -> None:
    assert Capture.parse(str(capture)) == capture


def test_bare_tensors_can_be_chosen_from() -> None:
    recipe: Recipe = plain.seeded(zoo.bare_tensors)
    with Session(recipe, capture="layers:w") as session:
        assert {s.name for report in session.next_batch() for s in report.subjects} == {"w"}


@pytest.mark.parametrize("changes", [{"clip_norm": 1e-3}, {"clip_value": 1e-3}, {"precision": "fp16"}])
def test_with_capture_off_a_gradient_that_the_step_has_changed_is_not_shown(changes: dict[str, Any]) -> None:
    key = SubjectKey(SubjectKind.GRAD, "0.weight")
    with Session(plain.seeded(lambda: zoo.classifier(zoo.mlp(), **changes)), capture="off") as session:
        session.forward()
        session.backward()
        assert session.values(key).norm() > 0.01
        session.step()
        with pytest.raises(ValuesUnavailable, match="Capture is off: the gradient as the backward left it is not kept"):
            session.values(key)
        session.forward()
        session.backward()
        assert session.values(key).norm() > 0.01


def test_a_session_that_is_broken_goes_on_with_nothing() -> None:
    class Stumbling(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            super().step(closure)
            raise ValueError("no")

    model = zoo.mlp()
    optimizer = Stumbling(model.parameters(), lr=0.1)
    with Session(zoo.classifier(model, optimizer=optimizer), capture="off") as session:
        session.forward()
        session.backward()
        with pytest.raises(UserCodeFailed):
            session.step()
        moved = model[0].weight.detach().clone()
        for action in (session.step, session.forward, session.zero_grad, lambda: session.set_capture("full")):
            with pytest.raises(BadInput):
                action()
        assert torch.equal(moved, model[0].weight) and session.history == []


def test_with_capture_off_a_step_stands_without_its_validation_where_that_fails() -> None:
    def make() -> Recipe:
        return zoo.classifier(zoo.mlp(), validation=zoo.vectors(), metrics={"broken": lambda output, target: 1 / 0})

    expected = plain.train_plainly(plain.seeded(make), epochs=2)
    with Session(plain.seeded(make), capture="off") as session:
        while session.position.epoch < 2:
            step = session.next_batch()[-1]
        assert "The validation after this step failed, and was left out: ZeroDivisionError" in step.notes[0]
        assert not session.is_broken and session.validations == []
        assert plain.outcome_of(session).losses == expected.losses


class Encoder(nn.Module):
    """A frozen encoder layer in eval mode, with padding: there torch's fused kernel rounds differently."""

    def __init__(self) -> None:
        super().__init__()
        self.enc = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).requires_grad_(False)
        self.head = nn.Linear(16, zoo.CLASSES)

    def train(self, mode: bool = True) -> Encoder:
        super().train(mode)
        self.enc.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.repeat(1, 8).reshape(len(x), -1, 16)
        padding = torch.zeros(tokens.shape[:2], dtype=torch.bool)
        padding[:, -1] = True
        return self.head(self.enc(src=tokens, src_key_padding_mask=padding).mean(1))


@pytest.mark.parametrize("capture", ["full", "layers:enc", "layers:enc.linear1", "layers:enc.self_attn,head", "norms"])
def test_an_encoder_layer_that_torch_fuses_stays_fused_whatever_is_chosen_in_it(
    capture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fused, calls = torch._transformer_encoder_layer_fwd, []
    monkeypatch.setattr(torch, "_transformer_encoder_layer_fwd", lambda *a, **k: calls.append(1) or fused(*a, **k))
    expected = plain.train_plainly(plain.seeded(lambda: zoo.classifier(Encoder())), epochs=1)
    assert calls
    before = len(calls)
    with Session(plain.seeded(lambda: zoo.classifier(Encoder())), capture=capture) as session:
        found = plain.train_observed(session, epochs=1)
        inside = {a.name: a.reason for a in session.reports[Phase.FORWARD].absent if a.name.startswith("enc.")}
        seen = {s.name for s in session.reports[Phase.FORWARD].subjects}
    assert len(calls) == 2 * before
    plain.assert_same_outcome(expected, found)
    if capture.startswith("layers:enc."):
        assert inside and set(inside.values()) == {absences.FUSED} and "enc" not in seen


def test_an_encoder_layer_whose_input_needs_a_gradient_is_looked_into() -> None:
    class Behind(Encoder):
        def __init__(self) -> None:
            super().__init__()
            self.before = nn.Linear(16, 16)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.enc(src=self.before(x.repeat(1, 8).reshape(len(x), -1, 16))).mean(1))

    with Session(zoo.classifier(Behind())) as session:
        report = session.forward()
    assert {"enc", "enc.linear1"} <= {s.name for s in report.subjects}
    assert absences.FUSED not in {a.reason for a in report.absent}


def test_a_parameter_and_a_module_are_chosen_by_any_of_their_names() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(zoo.FEATURES, zoo.FEATURES)
            self.tied = nn.Linear(zoo.FEATURES, zoo.FEATURES)
            self.tied.weight = self.first.weight
            self.block = nn.Sequential(self.first, nn.Linear(zoo.FEATURES, zoo.CLASSES))

        def forward(self, x: Tensor) -> Tensor:
            return self.block(self.tied(x))

    with Session(zoo.classifier(Shared()), capture="layers:tied") as session:
        assert {s.name for r in session.next_batch() for s in r.subjects} == {"tied", "first.weight", "tied.bias"}
    with Session(zoo.classifier(Shared()), capture="layers:block") as session:
        names = {s.name for r in session.next_batch() for s in r.subjects}
    assert {"block", "first", "first.weight", "first.bias", "block.1"} <= names


def test_at_chosen_layers_a_sentence_and_a_norm_claim_no_more_than_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.where(x > 0, x, x * math.inf)

    def make() -> Recipe:
        return zoo.classifier(nn.Sequential(nn.Linear(zoo.FEATURES, 8), nn.Linear(8, zoo.CLASSES), Broken()))

    with Session(plain.seeded(make), capture="layers:0") as session:
        session.forward()
        first = session.first_nonfinite
        # Another run has shown it.
        assert first is not None and first.place == "2 (Broken)" and first.subject is None
        assert "in what it computes; made by mul in test_levels.py, line " in first.sentence
    with monkeypatch.context() as patched, Session(plain.seeded(make), capture="layers:0") as session:
        patched.setattr(Reruns, "forward", lambda self: None)
        session.forward()
        first = session.first_nonfinite
        assert first is not None and "those outputs that were captured were finite" in first.sentence
        assert session.backward().total_l2(SubjectKind.GRAD) is None
    with Session(plain.seeded(make)) as session:
        session.forward()
        assert session.first_nonfinite is not None and session.first_nonfinite.place == "2 (Broken)"


def test_off_lets_go_of_what_was_kept() -> None:
    with Session(plain.seeded(zoo.transformer_encoder)) as session:
        session.next_batch()
        session.next_batch()
        assert session.observer.previous._buffers and session.loop.step_before._kept
        session.set_capture("off")
        assert not session.observer.previous._buffers and not session.loop.step_before._kept
        session.next_batch()
        assert not session.observer.previous._buffers and not session.loop.step_before._kept
