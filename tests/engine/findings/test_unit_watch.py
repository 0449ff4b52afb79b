"""UnitWatch on small real modules."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gradscope.engine.findings.record import WINDOW, LayerFacts, Record
from gradscope.engine.findings.watch.units import UnitWatch


def watched(model: nn.Module, x: Tensor, steps: int = 1) -> Record:
    record = Record()
    watch = UnitWatch(record)
    step = 0
    for name, module in model.named_modules():
        is_leaf = not any(True for _ in module.children())
        record.layers[name] = LayerFacts(name, type(module).__name__, is_leaf, (), calls=1, module=module)
        module.register_forward_hook(lambda m, given, out, name=name: watch.left(step, name, m, given[0], out))
    for step in range(steps):  # noqa: B007
        model(x)
        watch.settle()
    return record


def counts(record: Record, layer: str, *, is_input: bool = False) -> tuple[list[int], int]:
    _, fired, samples = record.units[layer, is_input].recent[-1]
    return fired.tolist(), samples


def test_each_unit_of_a_relu_is_counted_over_all_samples() -> None:
    layer = nn.Linear(2, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 0], [-1, 0], [0, 0]]))
        layer.bias.copy_(torch.tensor([0.0, 0, -1]))
    record = watched(nn.Sequential(layer, nn.ReLU()), torch.tensor([[1.0, 0], [2, 0], [-1, 0]]))
    assert counts(record, "1") == ([2, 1, 0], 3)


@pytest.mark.parametrize(
    ("layer", "x", "width"),
    [
        (nn.Conv2d(3, 5, 1), torch.randn(4, 3, 6, 6), 5),
        (nn.Conv1d(3, 5, 1), torch.randn(4, 3, 6), 5),
        (nn.Linear(3, 5), torch.randn(4, 6, 3), 5),
        (nn.Linear(3, 5), torch.randn(4, 2, 6, 3), 5),
    ],
)
def test_units_are_channels_of_a_convolution_and_features_of_a_linear(layer: nn.Module, x: Tensor, width: int) -> None:
    record = watched(nn.Sequential(layer, nn.ReLU()), x)
    assert record.units["1", False].width == width
    expected = 4 if isinstance(layer, nn.modules.conv._ConvNd) else x.numel() // 3
    assert counts(record, "1")[1] == expected


class Functional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4 * 9, 2)
        with torch.no_grad():
            self.conv.weight.fill_(1.0)
            self.conv.weight[1:] = 0.0
            assert self.conv.bias is not None
            self.conv.bias.copy_(torch.tensor([0.0, -1, -1, -1]))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.max_pool2d(torch.relu(self.conv(x)), 2)
        out: Tensor = self.head(h.flatten(1))
        return out


def test_a_relu_by_function_is_seen_where_it_goes_in_as_channels_even_when_flattened() -> None:
    record = watched(Functional(), torch.randn(5, 1, 8, 8))
    fired, samples = counts(record, "head", is_input=True)
    assert len(fired) == 4 and fired[0] > 0 and fired[1:] == [0, 0, 0] and samples == 5


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 2)),
        nn.Sequential(nn.Linear(4, 8), nn.LeakyReLU(), nn.Linear(8, 2)),
        nn.Sequential(nn.Linear(4, 8), nn.Softmax(-1), nn.Linear(8, 2)),
        nn.Sequential(nn.Linear(4, 2)),
    ],
)
def test_inputs_of_the_data_and_functions_that_always_let_a_gradient_pass_have_no_units_to_count(
    model: nn.Module,
) -> None:
    assert not watched(model, torch.eye(4)).units


def test_a_module_for_several_places_is_told_apart_by_what_goes_in_behind() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c, self.act = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2), nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.c(self.act(self.b(self.act(self.a(x)))))
            return out

    record = watched(Shared(), torch.randn(6, 4), steps=3)
    assert set(record.units) == {("b", True), ("c", True)}
    # In the first step the module is not known yet to have several places.
    assert len(record.units["b", True].recent) == 2


def test_a_loop_over_time_makes_one_entry_a_step() -> None:
    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.act = nn.Linear(4, 4), nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(5):
                x = self.act(self.cell(x))
            return x

    record = watched(Loop(), torch.randn(6, 4), steps=2)
    assert [entry[0] for entry in record.units["act", False].recent] == [0, 1]
    assert counts(record, "act")[1] == 30


def test_of_a_large_layer_a_part_is_looked_at_another_one_in_each_step() -> None:
    model = nn.Sequential(nn.Conv2d(1, 64, 1), nn.ReLU())
    record = watched(model, torch.randn(32, 1, 64, 64), steps=WINDOW + 2)
    facts = record.units["1", False]
    assert all(samples >= 8 for _, _, samples in facts.recent) and len(facts.first) == WINDOW
    assert max(int(fired.sum()) for _, fired, _ in facts.recent) <= 2 * 16384


def test_flat_parts_of_tanh_and_of_a_sigmoid_that_is_a_hidden_layer() -> None:
    wide = nn.Linear(4, 8)
    with torch.no_grad():
        wide.weight.fill_(50.0)
    tanh = watched(nn.Sequential(wide, nn.Tanh(), nn.Linear(8, 2)), torch.ones(3, 4))
    assert tanh.flat == {"1": [(0, 1.0)]}
    hidden = watched(nn.Sequential(wide, nn.Sigmoid(), nn.Linear(8, 2)), torch.ones(3, 4))
    assert hidden.flat == {"1": [(0, 1.0)]}
    answer = watched(nn.Sequential(wide, nn.Sigmoid()), torch.ones(3, 4))
    assert not answer.flat


class ByFunction(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.b(torch.tanh(100 * self.a(x)))
        return out


def test_a_tanh_by_function_counts_where_it_goes_in() -> None:
    record = watched(ByFunction(), torch.randn(6, 4))
    assert set(record.flat) == {"b"} and record.flat["b"][0][1] > 0.8


@pytest.mark.parametrize(
    ("norm", "is_wiped"),
    [
        (nn.GroupNorm(8, 8), True),
        (nn.GroupNorm(2, 8), False),
        (nn.LayerNorm(8), False),
        (nn.BatchNorm1d(8), False),
    ],
)
def test_how_far_samples_differ_behind_a_normalisation(norm: nn.Module, is_wiped: bool) -> None:
    torch.manual_seed(0)
    record = watched(nn.Sequential(nn.Linear(4, 8), norm, nn.Linear(8, 2)), torch.randn(6, 4), steps=3)
    assert len(record.norms["1"]) == 3
    for _, before, after in record.norms["1"]:
        assert before > 0.01 and (after < 1e-4) is is_wiped


def test_the_mean_of_what_an_instance_norm_puts_out_says_nothing_of_the_sample() -> None:
    def model(*between: nn.Module) -> nn.Module:
        parts = (nn.Conv2d(1, 4, 3), nn.InstanceNorm2d(4, affine=True), *between)
        return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))

    torch.manual_seed(0)
    x = torch.randn(6, 1, 8, 8)
    assert watched(model(), x).norms["1"][0][2] < 1e-6
    assert watched(model(nn.ReLU()), x).norms["1"][0][2] > 0.1


def test_nothing_is_changed_and_no_random_number_is_drawn() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    x, before = torch.randn(6, 4), torch.get_rng_state()
    plain = model(x)
    model[1].reset_running_stats()  # type: ignore[operator]
    record = Record()
    watch = UnitWatch(record)
    for name, module in model.named_children():
        module.register_forward_hook(lambda m, given, out, name=name: watch.left(0, name, m, given[0], out))
    assert torch.equal(model(x), plain) and torch.equal(torch.get_rng_state(), before)
    assert record.units and record.norms
