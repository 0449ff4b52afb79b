"""FunctionWatch on small real modules: what it sees, and that it changes nothing."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradscope.engine.findings.record import LayerFacts, LossCall, ParameterFacts, Record
from gradscope.engine.findings.watch.functions import FunctionWatch


class Watched:
    """A model whose forwards are watched, as a session would."""

    def __init__(self, model: nn.Module, step: int = 0) -> None:
        self.model, self.record, self.step = model, Record(), step
        self.errors: list[Exception] = []
        self.output: Tensor | None = None
        self._stack: list[str] = []
        for name, module in model.named_modules():
            mine = tuple(f"{name}.{key}".strip(".") for key, _ in module.named_parameters(recurse=False))
            is_leaf = not any(True for _ in module.children())
            self.record.layers[name] = LayerFacts(name, type(module).__name__, is_leaf, mine, module=module)
            module.register_forward_pre_hook(lambda _m, _i, name=name: self._stack.append(name))
            module.register_forward_hook(lambda _m, _i, out: self._leave(out))

    def _leave(self, out: Any) -> None:
        self._stack.pop()
        if not self._stack:
            self.output = out if isinstance(out, Tensor) else None

    @contextmanager
    def watching(self) -> Iterator[Record]:
        watch = FunctionWatch(
            self.record,
            step=self.step,
            layer=lambda: self._stack[-1] if self._stack else "",
            output=lambda: self.output,
            on_error=self.errors.append,
        )
        with watch:
            yield self.record
        assert not self.errors

    def run(self, x: Tensor, loss: Callable[[Any], Tensor]) -> Record:
        with self.watching():
            loss(self.model(x))
        return self.record


class Apply(nn.Module):
    """A function as a layer with no parameters; `own` is its first argument."""

    def __init__(self, function: Callable[..., Any], **parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def only_loss(record: Record) -> LossCall:
    assert len(record.losses) == 1
    return record.losses[0]


X = torch.linspace(-2, 2, 48).reshape(8, 6)
CLASSES = torch.arange(8) % 3


@pytest.mark.parametrize(
    ("head", "made_by", "place"),
    [
        (nn.Softmax(1), "SoftmaxBackward0", "1"),
        (nn.Sigmoid(), "SigmoidBackward0", "1"),
        (nn.ReLU(), "ReluBackward0", "1"),
        (nn.Flatten(), "AddmmBackward0", "0"),
        (Apply(lambda _, x: x.softmax(1)), "SoftmaxBackward0", "1"),
    ],
)
def test_a_loss_knows_how_its_input_was_made_and_in_which_layer(head: nn.Module, made_by: str, place: str) -> None:
    call = only_loss(Watched(nn.Sequential(nn.Linear(6, 3), head)).run(X, lambda out: F.cross_entropy(out, CLASSES)))
    assert (call.function, call.class_dim, call.requires_grad) == ("cross_entropy", 1, True)
    assert call.made_by == made_by and call.place == (place if not isinstance(head, nn.Flatten) else "1")
    assert call.rows_sum_to_one == made_by.startswith("Softmax")
    assert call.options["ignore_index"] == -100


def test_a_functional_activation_of_the_root_is_placed_at_the_last_leaf_before() -> None:
    model = Apply(
        lambda own, x: torch.sigmoid(own.out(torch.relu(own.body(x)))), body=nn.Linear(6, 4), out=nn.Linear(4, 3)
    )
    call = only_loss(Watched(model).run(X, lambda out: F.binary_cross_entropy_with_logits(out, torch.ones(8, 3))))
    assert call.place == "out" and call.is_in_unit and not call.rows_sum_to_one


def test_what_was_made_before_the_last_function_is_known() -> None:
    model = nn.Sequential(nn.Linear(6, 3), nn.Softmax(1), nn.LogSoftmax(1))
    call = only_loss(Watched(model).run(X, lambda out: F.nll_loss(out, CLASSES)))
    assert (call.made_by, call.made_of) == ("LogSoftmaxBackward0", "SoftmaxBackward0") and call.logsumexp < 1e-5


@pytest.mark.parametrize(
    ("loss", "function"),
    [
        (lambda p: -(F.one_hot(CLASSES, 3) * torch.log_softmax(p, -1)).sum(1).mean(), "log_softmax"),
        (lambda p: (p.logsumexp(1) - p.gather(1, CLASSES[:, None])[:, 0]).mean(), "logsumexp"),
    ],
)
def test_a_cross_entropy_by_hand_is_seen(loss: Callable[[Tensor], Tensor], function: str) -> None:
    record = Watched(nn.Sequential(nn.Linear(6, 3), nn.Softmax(1))).run(X, loss)
    call = next(call for call in record.losses if call.function == function)
    assert call.rows_sum_to_one and call.class_dim == 1 and call.place == "1"


def test_a_log_of_probabilities_is_no_fault_unless_they_went_through_a_softmax_twice() -> None:
    once = nn.Sequential(nn.Linear(6, 3), nn.Softmax(1))
    twice = nn.Sequential(nn.Linear(6, 3), nn.Softmax(1), nn.Softmax(1))
    by_hand = lambda p: -p.log().gather(1, CLASSES[:, None]).mean()  # noqa: E731
    assert not Watched(once).run(X, by_hand).losses
    call = only_loss(Watched(twice).run(X, by_hand))
    assert call.function == "log" and call.made_by == call.made_of == "SoftmaxBackward0"


def test_targets_out_of_reach_are_counted_without_what_may_be_noise() -> None:
    model = nn.Sequential(nn.Linear(6, 1), nn.ReLU())
    target = torch.tensor([-1.0, -0.001, 1, 1, 1, 1, 1, 1])[:, None]
    call = only_loss(Watched(model).run(X, lambda out: F.mse_loss(out, target)))
    assert call.out_of_reach == pytest.approx(1 / 8)
    by_hand = only_loss(Watched(model).run(X, lambda out: ((target - out) ** 2).mean()))
    assert by_hand.function == "difference" and by_hand.out_of_reach == pytest.approx(1 / 8)


# --------------------------------------------------------------------------------------------------- broadcasting

Y = torch.linspace(0, 1, 8)


@pytest.mark.parametrize(
    "loss",
    [
        lambda out: ((out - Y) ** 2).mean(),
        lambda out: (Y - out).abs().mean(),
        lambda out: F.huber_loss(out, Y) + 0,
        lambda out: torch.where(out > 0.5, out, Y).mean(),
        lambda out: (out / (1 + Y)).mean(),
    ],
)
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_every_prediction_against_every_target_is_seen(loss: Callable[[Tensor], Tensor]) -> None:
    record = Watched(nn.Linear(6, 1)).run(X, loss)
    assert record.broadcasts and record.broadcasts[0].result == (8, 8)


def test_a_loss_in_the_forward_of_the_model_is_seen_too() -> None:
    model = Apply(lambda own, x: ((own.out(x) - Y) ** 2).mean(), out=nn.Linear(6, 1))
    assert Watched(model).run(X, lambda out: out * 1).broadcasts


@pytest.mark.parametrize(
    "loss",
    [
        lambda out: ((out[:, 0] - Y) ** 2).mean(),
        lambda out: ((out - Y[:, None]) ** 2).mean(),
        lambda out: (out - out[:, 0]).abs().mean(),  # a ranking: all against all, of one and the same
        lambda out: (Y[:, None] - out[:, 0]).abs().min(1).values.mean(),  # the nearest of all: written so
        lambda out: (out.unsqueeze(1) - Y).abs().mean(),
        lambda out: (out * torch.tensor([0.1, 0.5, 0.9])).mean(),
    ],
)
def test_a_comparison_of_all_with_all_that_is_meant_is_not_told(loss: Callable[[Tensor], Tensor]) -> None:
    assert not Watched(nn.Linear(6, 1)).run(X, loss).broadcasts


# --------------------------------------------------------------------------------------------------- layout

SEQUENCE = torch.linspace(-1, 1, 4 * 5 * 6).reshape(4, 5, 6)
WANTED = torch.arange(20).reshape(4, 5) % 3


@pytest.mark.parametrize(
    ("seen_as", "is_wrong"),
    [
        (lambda out: (out.view(4, 3, 5), WANTED), True),
        (lambda out: (out.reshape(4, 3, 5).float(), WANTED), True),
        (lambda out: (out.transpose(1, 2), WANTED), False),
        (lambda out: (out.transpose(1, 2).contiguous(), WANTED), False),
        (lambda out: (out.flatten(0, 1), WANTED.flatten()), False),
        (lambda out: (out.reshape(-1, 3), WANTED.t().reshape(-1)), True),
        (lambda out: (out.transpose(0, 1).reshape(-1, 3), WANTED.t().reshape(-1)), False),
    ],
)
def test_a_view_in_place_of_a_transpose_is_seen(
    seen_as: Callable[[Tensor], tuple[Tensor, Tensor]], is_wrong: bool
) -> None:
    record = Watched(nn.Linear(6, 3)).run(SEQUENCE, lambda out: F.cross_entropy(*seen_as(out)))
    assert only_loss(record).is_relayout is is_wrong


# --------------------------------------------------------------------------------------------------- softmax and its use


def attention(use: Callable[[Tensor, Tensor], Tensor]) -> nn.Module:
    def forward(own: Any, x: Tensor) -> Tensor:
        scores = own.q(x) @ own.k(x).transpose(1, 2) / 2
        return use(scores, own.v(x))

    return Apply(forward, q=nn.Linear(6, 4), k=nn.Linear(6, 4), v=nn.Linear(6, 4))


@pytest.mark.parametrize(
    ("use", "wrong"),
    [
        (lambda w, v: w.softmax(-1) @ v, None),
        (lambda w, v: w.softmax(1) @ v, (1, 2)),
        (lambda w, v: torch.bmm(F.dropout(w.softmax(0), 0.1), v), (0, 2)),
        (lambda w, v: F.softmax(w + torch.zeros(5, 5), dim=1).to(v.dtype).matmul(v), (1, 2)),
        (lambda w, v: torch.einsum("bqk,bkd->bqd", w.softmax(1), v), (1, 2)),
        (lambda w, v: torch.einsum("bqk,bkd->bqd", w.softmax(2), v), None),
        (lambda w, v: torch.baddbmm(torch.zeros(4, 5, 4), w.softmax(1), v), (1, 2)),
        (lambda w, v: v.transpose(1, 2) @ w.softmax(-1).transpose(1, 2), None),
        (lambda w, v: v.transpose(1, 2) @ w.softmax(-1), (2, 1)),
        # Soft assignments: each token is given to the clusters, and these sum over tokens.
        (lambda w, v: w.softmax(-1).transpose(1, 2) @ v, None),
        # Slot attention: a competition between slots, normalised once more over the inputs.
        (lambda w, v: (w.softmax(1) / w.softmax(1).sum(-1, keepdim=True)) @ v, None),
        (lambda w, v: (lambda a: (a @ v) / a.sum(-1, keepdim=True))(w.softmax(1)), None),
        (lambda w, v: (w.softmax(-1).unsqueeze(-1) * v.unsqueeze(1)).sum(2), None),
    ],
)
def test_the_dimension_of_a_softmax_is_compared_with_the_one_that_is_summed_over(
    use: Callable[[Tensor, Tensor], Tensor], wrong: tuple[int, int] | None
) -> None:
    record = Watched(attention(use)).run(SEQUENCE, lambda out: out.sum())
    assert [(use.dim, use.contracted) for use in record.softmaxes] == ([wrong] if wrong else [])
    assert all(use.layer == "" for use in record.softmaxes)


@pytest.mark.parametrize(
    ("use", "is_wrong"),
    [
        (lambda s, x: (s.softmax(1) * x).sum(1), False),
        (lambda s, x: (s.softmax(-1) * x).sum(1), True),  # over a single score: all weights are 1
        (lambda s, x: (s.squeeze(-1).softmax(1).unsqueeze(-1) * x).sum(dim=1), False),
        (lambda s, x: (s[:, :, 0].softmax(-1)[:, :, None] * x).mean(1), False),
        (lambda s, x: s.softmax(2).transpose(1, 2) @ x, True),
        (lambda s, x: s.softmax(1).transpose(1, 2) @ x, False),
    ],
)
def test_weights_of_a_pooling(use: Callable[[Tensor, Tensor], Tensor], is_wrong: bool) -> None:
    model = Apply(lambda own, x: use(own.score(x), x), score=nn.Linear(6, 1))
    assert bool(Watched(model).run(SEQUENCE, lambda out: out.sum()).softmaxes) is is_wrong


def test_clusters_with_learnt_centres_and_pooling_over_positions_are_no_attention() -> None:
    def vlad(own: Any, x: Tensor) -> Tensor:
        assigned = (x @ own.centres.weight.t()).softmax(-1)
        return torch.einsum("bnk,bnd->bkd", assigned, x)

    model = Apply(vlad, centres=nn.Linear(6, 3))
    assert not Watched(model).run(SEQUENCE.requires_grad_(False), lambda out: out.sum()).softmaxes


# --------------------------------------------------------------------------------------------------- what it must not do


def test_a_dropout_is_told_with_the_mode_of_its_layer() -> None:
    watched = Watched(nn.Sequential(nn.Linear(6, 3), Apply(lambda _, x: F.dropout(x, 0.6))))
    watched.model.eval()
    call = watched.run(X, lambda out: out.sum()).dropouts[0]
    assert (call.layer, call.p, call.is_training, call.module_is_training) == ("1", 0.6, True, False)


def test_results_gradients_and_random_numbers_are_as_without_it() -> None:
    def train(is_watched: bool) -> tuple[Tensor, Tensor, Tensor]:
        torch.manual_seed(0)
        first = nn.Linear(6, 8)
        model = nn.Sequential(first, nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3), nn.Softmax(1))
        watched = Watched(model)
        if is_watched:
            with watched.watching():
                loss = F.cross_entropy(model(X), CLASSES)
        else:
            loss = F.cross_entropy(model(X), CLASSES)
        loss.backward()
        assert first.weight.grad is not None
        return loss.detach(), first.weight.grad, torch.get_rng_state()

    for a, b in zip(train(True), train(False), strict=True):
        assert torch.equal(a, b)


def test_no_tensor_outlives_its_forward() -> None:
    watched = Watched(attention(lambda w, v: w.softmax(1) @ v))
    with watched.watching():
        out = watched.model(SEQUENCE)
        alive = weakref.ref(out)
    watched.output = None
    del out
    gc.collect()
    assert alive() is None and watched.record.softmaxes


def test_an_error_of_its_own_is_handed_over_and_not_raised() -> None:
    watched = Watched(nn.Linear(6, 3))

    def fail() -> str:
        raise ValueError("gone")

    with FunctionWatch(
        watched.record,
        step=0,
        layer=fail,
        output=lambda: None,
        on_error=watched.errors.append,
    ):
        assert torch.relu(X).shape == X.shape
    assert watched.errors and isinstance(watched.errors[0], ValueError)


@pytest.mark.filterwarnings("ignore:.torch.jit.trace. is deprecated")
def test_transformed_and_traced_functions_are_left_alone() -> None:
    def loss(w: Tensor) -> Tensor:
        return F.cross_entropy((X @ w).softmax(1), CLASSES)

    watched = Watched(nn.Linear(6, 3))
    w = torch.ones(6, 3)
    expected = torch.func.grad(loss)(w)
    with watched.watching() as record:
        assert torch.equal(torch.func.grad(loss)(w), expected)
        torch.func.vmap(lambda row: F.softmax(row, 0) @ row)(X)
        torch.jit.trace(lambda x: F.softmax(x, 0) @ x.t(), X)
    assert not record.losses and not record.softmaxes


def test_a_compiled_function_gives_the_same_and_is_not_looked_into() -> None:
    function = torch.compile(lambda x: F.softmax(x, 0) @ x.t(), backend="eager")
    watched = Watched(nn.Linear(6, 3))
    with watched.watching() as record:
        inside = function(X)
    assert torch.equal(inside, function(X)) and not record.softmaxes


# --------------------------------------------------------------------------------------------------- cuts


@pytest.mark.parametrize(
    ("cut", "how"),
    [
        (lambda h: h.data, "data"),
        (lambda h: h.detach() * 2, "detach"),
        (lambda h: torch.from_numpy(h.detach().numpy()), "numpy"),
        (lambda h: (h > 0).float(), "gt"),
        (lambda h: h.round(), None),  # it has a derivative, of 0
    ],
)
def test_the_output_of_a_layer_without_gradients_is_followed_to_where_it_is_used(
    cut: Callable[[Tensor], Tensor], how: str | None
) -> None:
    def forward(own: Any, x: Tensor) -> Tensor:
        mixed: Tensor = own.head(torch.cat([own.main(x), cut(torch.tanh(own.side(x)))], 1))
        return mixed

    watched = Watched(Apply(forward, main=nn.Linear(6, 4), side=nn.Linear(6, 4), head=nn.Linear(8, 3)), step=1)
    for name, p in watched.model.named_parameters():
        without = name.startswith("side")
        facts = ParameterFacts(name, name.split(".")[0], tuple(p.shape), "", True, True, 0, "", 1.0, 1.0, False, p)
        facts.missing, facts.grads = int(without), [] if without else [(0, 1.0)]
        watched.record.parameters[name] = facts
    record = watched.run(X, lambda out: F.cross_entropy(out, CLASSES))
    assert record.cuts == ({"side": how} if how else {})


def test_a_head_that_the_loss_leaves_out_is_not_used() -> None:
    model = Apply(lambda own, x: (own.main(x), own.other(x)), main=nn.Linear(6, 3), other=nn.Linear(6, 3))
    watched = Watched(model, step=1)
    for name, p in watched.model.named_parameters():
        facts = ParameterFacts(name, name.split(".")[0], tuple(p.shape), "", True, True, 0, "", 1.0, 1.0, False, p)
        facts.missing = int(name.startswith("other"))
        facts.grads = [] if facts.missing else [(0, 1.0)]
        watched.record.parameters[name] = facts
    assert not watched.run(X, lambda out: F.cross_entropy(out[0], CLASSES)).cuts
    # Nor is what a loss compares with: a teacher's answer.
    assert not watched.run(X, lambda out: F.mse_loss(out[0], out[1].detach())).cuts
