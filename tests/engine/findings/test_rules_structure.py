"""Rules about who is trained, modes, precision, ties, numbers: each threshold just below and just above."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradscope.engine.findings.record import DropoutCall, Record
from gradscope.protocol.nonfinite import FirstNonFinite, Stage
from gradscope.protocol.subjects import SubjectKey, SubjectKind
from tests.engine.findings.made_records import found, loud, record_of


class Net(nn.Module):
    """A trunk, a branch and a head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8))
        self.side = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8))
        self.head = nn.Linear(16, 3)


def without_gradients(record: Record, prefix: str, missing: int = 40) -> Record:
    for name, p in record.parameters.items():
        if name.startswith(prefix):
            p.grads, p.missing, p.updates = [], missing, []
    return record


def untrained(record: Record, *prefixes: str) -> Record:
    for name, p in record.parameters.items():
        if name.startswith(prefixes):
            p.is_trained, p.group = False, None
    return record


# --------------------------------------------------------------------------------------------------- reach


def test_a_branch_that_is_cut_off_and_used_is_told_at_its_top() -> None:
    record = without_gradients(record_of(Net()), "side.")
    assert not loud(record, "not-reached"), "nobody has seen that it is used"
    record.cuts = {"side.0": "data", "side.2": "data"}
    assert loud(record, "not-reached") == ["side"]


@pytest.mark.parametrize(("missing", "is_found"), [(4, False), (5, True)])
def test_some_steps_without_a_gradient_may_be_a_beginning(missing: int, is_found: bool) -> None:
    record = without_gradients(record_of(Net(), cuts={"side.0": "data", "side.2": "data"}), "side.", missing)
    assert bool(found(record, "not-reached")) is is_found


def test_a_cut_that_is_written_on_purpose_is_a_note_where_the_training_gets_there() -> None:
    for losses, is_loud in ((None, True), ([1.0] * 20 + [0.1] * 20, False)):
        record = without_gradients(
            record_of(Net(), losses=losses, cuts={"side.0": "detach", "side.2": "detach"}), "side."
        )
        assert bool(loud(record, "not-reached")) is is_loud


def test_a_copy_of_another_layer_and_an_average_are_teachers() -> None:
    net = Net()
    net.side.load_state_dict(net.trunk.state_dict())
    record = without_gradients(record_of(net, cuts={"side.0": "data", "side.2": "data"}), "side.")
    assert not loud(record, "not-reached")
    record = without_gradients(record_of(Net(), cuts={"side.0": "data", "side.2": "data"}), "side.")
    for p in record.parameters.values():
        p.norms = [(39, p.start_l2 * 1.5)]
    assert not loud(record, "not-reached")


def test_layers_that_never_run_and_parameters_that_are_not_used_are_notes() -> None:
    record = without_gradients(record_of(Net()), "side.")
    assert [draft.where for draft in found(record, "never-used")] == ["side.0", "side.2"]
    for name, layer in record.layers.items():
        layer.calls = 0 if name.startswith("side") else layer.calls
    assert [draft.where for draft in found(record, "never-called")] == ["side"] and not found(record, "never-used")


@pytest.mark.parametrize(
    ("out", "is_loud"),
    [
        (("head",), True),
        (("side",), True),
        (("trunk.0", "side"), False),  # a frozen part, by what the optimizer is given
        (("trunk", "side"), False),
    ],
)
def test_not_in_optimizer(out: tuple[str, ...], is_loud: bool) -> None:
    record = untrained(record_of(Net(), losses=[1.0] * 20 + [0.6] * 20), *out)
    record.optimizers = {"": torch.optim.SGD([p.tensor for p in record.parameters.values() if p.is_trained], 0.1)}
    assert bool(loud(record, "not-in-optimizer")) is is_loud and found(record, "not-in-optimizer")


def test_an_optimizer_with_tensors_of_another_model_is_stale() -> None:
    record = untrained(record_of(Net(), losses=[1.0] * 20 + [0.6] * 20), "trunk", "side")
    assert not loud(record, "not-in-optimizer")
    record.optimizers = {"": torch.optim.SGD([nn.Parameter(torch.ones(3, 3))], 0.1)}
    assert loud(record, "not-in-optimizer") == ["trunk", "side"]


def test_biases_and_norms_alone_are_left_out_on_purpose() -> None:
    record = record_of(Net())
    for name, p in record.parameters.items():
        p.is_trained = not name.endswith("bias")
    assert not found(record, "not-in-optimizer")


# --------------------------------------------------------------------------------------------------- zero_grad


@pytest.mark.parametrize(("share", "is_found"), [(0.89, False), (0.95, True)])
def test_gradients_that_are_left(share: float, is_found: bool) -> None:
    record = record_of(Net(), 101)
    for step in record.steps[1 : 1 + round(100 * share)]:
        step.left_over = 0.5
    assert bool(loud(record, "grad-not-zeroed")) is is_found
    record.accumulate = 2
    assert not found(record, "grad-not-zeroed")


# --------------------------------------------------------------------------------------------------- modes


def test_batch_norm_in_eval_counts_only_with_statistics_that_were_never_taken() -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    record = record_of(model)
    assert not found(record, "norm-in-eval")
    record.layers["1"].is_training = False
    assert loud(record, "norm-in-eval") == ["1"]
    model(torch.randn(5, 6))
    assert not found(record, "norm-in-eval")


@pytest.mark.parametrize(
    ("was_training", "model", "is_loud"),
    [
        (True, nn.Sequential(nn.Linear(6, 4), nn.Dropout(0.5)), True),  # eval() of a validation, and never back
        (False, nn.Sequential(nn.Linear(6, 4), nn.Dropout(0.5)), False),
        (False, nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4)), True),
    ],
)
def test_model_in_eval(was_training: bool, model: nn.Module, is_loud: bool) -> None:
    record = record_of(model, all_eval=True)
    for layer in record.layers.values():
        layer.is_training = was_training
    assert bool(loud(record, "model-in-eval")) is is_loud and found(record, "model-in-eval")
    record.all_eval = False
    assert not found(record, "model-in-eval")


@pytest.mark.parametrize(
    ("layer", "is_found"),
    [
        (nn.Dropout(0.9), True),
        (nn.Dropout(0.89), False),
        (nn.LSTM(4, 4, num_layers=2, dropout=0.95), True),
        (nn.MultiheadAttention(4, 2, dropout=0.95), True),
    ],
)
def test_dropout_too_high(layer: nn.Module, is_found: bool) -> None:
    assert loud(record_of(nn.Sequential(nn.Linear(6, 4), layer)), "dropout-too-high") == ["1"] * is_found


def test_dropout_by_function_counts_where_it_is_active() -> None:
    record = record_of(Net())
    record.dropouts = [DropoutCall(step=0, layer="side", p=0.95, is_training=False, module_is_training=False)]
    assert not found(record, "dropout-too-high")
    record.dropouts += [DropoutCall(step=0, layer="side", p=0.95, is_training=True, module_is_training=True)]
    assert loud(record, "dropout-too-high") == ["side"]


# --------------------------------------------------------------------------------------------------- precision


@pytest.mark.parametrize(("skips", "is_found"), [(16, False), (17, True)])
def test_a_scaler_that_skips(skips: int, is_found: bool) -> None:
    record = record_of(Net(), has_scaler=True)
    for step in record.steps[-skips:]:
        step.is_skipped, step.bad_gradients = True, ("side.0.weight", "side.2.weight")
    drafts = found(record, "scaler-skips")
    assert bool(drafts) is is_found
    assert not drafts or drafts[0].where == "side.2", "the one nearest to the loss: what it spoils lies before it"


def half(record: Record, prefix: str, zeros: float, largest: float) -> Record:
    for name, p in record.parameters.items():
        if len(p.shape) > 1:
            p.half = [(step, *((zeros, largest) if name.startswith(prefix) else (0.0, 0.1))) for step in range(20)]
    return record


@pytest.mark.parametrize(
    ("prefix", "zeros", "largest", "where"),
    [
        ("", 0.51, 2.0**-15, [""]),
        ("", 0.49, 2.0**-15, []),
        ("", 0.6, 2.0**-13, []),
        ("", 1.0, 0.0, [""]),
        ("side", 0.6, 2.0**-15, ["side"]),
        ("side", 1.0, 0.0, []),  # a closed gate
        ("head", 0.6, 2.0**-15, []),  # one alone may be small by its nature
    ],
)
def test_half_underflow(prefix: str, zeros: float, largest: float, where: list[str]) -> None:
    assert loud(half(record_of(Net()), prefix, zeros, largest), "half-underflow") == where


# --------------------------------------------------------------------------------------------------- ties


class Language(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.emb, self.out = nn.Embedding(9, 4), nn.Linear(4, 9, bias=False)
        self.out.weight = nn.Parameter(self.emb.weight.detach().clone())


class Autoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.enc, self.dec = nn.Linear(9, 4), nn.Linear(4, 9)
        self.dec.weight = nn.Parameter(self.enc.weight.detach().t().clone())


class TiedAutoencoder(Autoencoder):
    is_tied = True


@pytest.mark.parametrize(
    ("make", "apart", "where"),
    [
        (Language, 2e-4, ["out"]),
        (Language, 0.5e-4, []),
        (Autoencoder, 0.1, []),  # a beginning, and free from then on: said by nobody to be shared
        (TiedAutoencoder, 0.1, ["dec"]),
    ],
)
def test_ties(make: type[nn.Module], apart: float, where: list[str]) -> None:
    model = make()
    record = record_of(model)
    weight = model.get_submodule("out" if make is Language else "dec").weight
    assert isinstance(weight, Tensor)
    with torch.no_grad():
        weight.mul_(1 + apart)
    assert loud(record, "tie-broken") == where
    assert bool(found(record, "tie-broken")) is (apart > 1e-4)


def test_copies_of_one_layer_are_an_ensemble() -> None:
    model = nn.ModuleList([nn.Linear(6, 4), nn.Linear(6, 4)])
    model[1].load_state_dict(model[0].state_dict())
    record = record_of(model)
    with torch.no_grad():
        next(model[1].parameters()).mul_(1.5)
    assert not found(record, "tie-broken")


# --------------------------------------------------------------------------------------------------- numbers


def first(
    stage: Stage, step: int = 30, kind: SubjectKind = SubjectKind.ACTIVATION, name: str = "side.2"
) -> FirstNonFinite:
    return FirstNonFinite(
        step=step, stage=stage, place=name, nan=1, inf=0, count=8, sentence="First NaN.", subject=SubjectKey(kind, name)
    )


@pytest.mark.parametrize(
    ("stage", "kind", "name", "id", "where"),
    [
        (Stage.BATCH, SubjectKind.ACTIVATION, "", "nonfinite-input", ""),
        (Stage.FORWARD, SubjectKind.ACTIVATION, "side.2", "nonfinite-forward", "side.2"),
        (Stage.LOSS, SubjectKind.ACTIVATION, "", "nonfinite-loss", ""),
        (Stage.BACKWARD, SubjectKind.GRAD, "side.2.weight", "nonfinite-backward", "side.2"),
        (Stage.UPDATE, SubjectKind.UPDATE, "side.2.weight", "nonfinite-step", "side.2"),
    ],
)
def test_the_first_value_that_is_not_finite(stage: Stage, kind: SubjectKind, name: str, id: str, where: str) -> None:
    record = record_of(Net(), first_nonfinite=first(stage, kind=kind, name=name))
    assert not found(record, id), "it has not hurt: a mask, missing values that the model fills"
    record.steps[31].loss = math.nan
    assert loud(record, id) == [where]


@pytest.mark.parametrize(("largest", "is_found"), [(19.0, True), (21.0, False)])
def test_nan_at_the_end_of_a_divergence_is_its_consequence(largest: float, is_found: bool) -> None:
    record = record_of(Net(), first_nonfinite=first(Stage.FORWARD))
    record.steps[29].loss, record.steps[30].loss = largest, math.nan
    assert bool(found(record, "nonfinite-forward")) is is_found
    record.first_nonfinite = first(Stage.BATCH)
    assert found(record, "nonfinite-input"), "data is told all the same"


def test_an_infinite_gradient_under_a_scaler_is_stepped_over() -> None:
    record: Any = record_of(Net(), has_scaler=True, first_nonfinite=first(Stage.BACKWARD))
    record.steps[30].is_skipped, record.steps[30].bad_gradients = True, ("head.weight",)
    assert not found(record, "nonfinite-backward")
