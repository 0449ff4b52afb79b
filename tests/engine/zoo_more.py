"""More of the zoo: what models do that a debugger is easily wrong about."""

from __future__ import annotations

import copy
import random
import warnings
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, TensorDataset
from zoo_parts import BATCH, CLASSES, FEATURES, SAMPLES, adam, classifier, mlp, sequences, vectors

from gradscope import Recipe


class Framed(nn.Module):
    """stem -> what is to be tried -> head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(FEATURES, FEATURES)
        self.head = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.middle(self.stem(x)))

    def middle(self, x: Tensor) -> Tensor:
        return x


# ---------------------------------------------------------------------------------------------- views, calls


class Reshape(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], -1, 2)


class Views(Framed):
    """One view is used, another is not: the model goes on with what is behind it, and changes that in place."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = Reshape(), Reshape()

    def middle(self, x: Tensor) -> Tensor:
        self.unused(x)
        x = self.used(x).transpose(1, 2).reshape(x.shape) * 1
        self.unused(x)
        x += 1
        x[:, 0].mul_(2)
        return x


def views() -> Recipe:
    return classifier(Views())


class Reused(Framed):
    def __init__(self, calls: int) -> None:
        super().__init__()
        self.calls = calls
        self.cell = nn.Linear(FEATURES, FEATURES)
        self.relu = nn.ReLU(inplace=True)

    def middle(self, x: Tensor) -> Tensor:
        for _ in range(self.calls):
            x = self.relu(self.cell(x)) + 0.1
        return x


def reused_5_times() -> Recipe:
    return classifier(Reused(5))


def reused_50_times() -> Recipe:
    return classifier(Reused(50))


class KeywordsOnly(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(FEATURES, FEATURES)

    def forward(self, *, x: Tensor, scale: float = 1.0) -> Tensor:
        return self.linear(x) * scale


class WithKeywords(Framed):
    def __init__(self) -> None:
        super().__init__()
        self.inner = KeywordsOnly()

    def middle(self, x: Tensor) -> Tensor:
        return self.inner(x=x, scale=2.0)


def keywords_only() -> Recipe:
    return classifier(WithKeywords())


class Bypassed(Framed):
    """Layers that are used without a call, in every way, and one that is not used."""

    def __init__(self) -> None:
        super().__init__()
        self.by_forward = nn.Linear(FEATURES, FEATURES)
        self.by_parent = nn.Linear(FEATURES, FEATURES)
        self.block = nn.Sequential(nn.Linear(FEATURES, FEATURES), nn.Tanh())
        self.layers = nn.ModuleList([nn.Linear(FEATURES, FEATURES)])
        self.weights = nn.ParameterList([torch.ones(FEATURES)])
        self.idle = nn.Linear(2, 2)

    def middle(self, x: Tensor) -> Tensor:
        x = self.by_forward.forward(x)
        x = F.linear(x, self.by_parent.weight, self.by_parent.bias)
        x = self.block.forward(x)
        return self.layers[0](x) * self.weights[0]


def bypassed() -> Recipe:
    return classifier(Bypassed())


class Changing(Framed):
    """Another path in each batch."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.ModuleList(nn.Linear(FEATURES, FEATURES) for _ in range(3))

    def middle(self, x: Tensor) -> Tensor:
        for _ in range(1 + int(x.detach().sum() > 0)):
            x = self.steps[int(x.detach().abs().sum() * 10) % 3](x).tanh()
        return x


def control_flow() -> Recipe:
    return classifier(Changing())


def layers_600() -> Recipe:
    layers: list[nn.Module] = [nn.Linear(FEATURES, 4)]
    for _ in range(299):
        layers += [nn.Linear(4, 4), nn.ReLU(inplace=True)]
    model = nn.Sequential(*layers, nn.Linear(4, CLASSES))
    return classifier(model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))


# ---------------------------------------------------------------------------------------------- outputs


@dataclass
class Result:
    logits: Tensor
    hidden: list[tuple[Tensor, ...]]
    note: str = "text"


class ModelOutput(OrderedDict[str, Any]):
    """As in transformers: a dict whose items are attributes too."""

    def __post_init__(self) -> None: ...

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class Structured(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(FEATURES, FEATURES)

    def forward(self, x: Tensor, kind: str) -> Any:
        y = self.linear(x)
        return {
            "dict": lambda: {"logits": y, "rest": None, "twice": y * 2},
            "dataclass": lambda: Result(y, [(y * 2, x)]),
            "output": lambda: ModelOutput(logits=y, hidden=(x, [y])),
            "nested": lambda: [y, (x, {"deep": [y * 3]})],
        }[kind]()


class StructuredOutputs(Framed):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Structured()

    def middle(self, x: Tensor) -> Tensor:
        x = self.inner(x, "dict")["twice"]
        result = self.inner(x, "dataclass")
        x = self.inner(result.logits + result.hidden[0][0], "output").logits
        return self.inner(x, "nested")[1][1]["deep"][0]


def structured_outputs() -> Recipe:
    return classifier(StructuredOutputs())


class Packed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(FEATURES, 4, batch_first=True)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        lengths = torch.arange(len(x)) % 4 + 1
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        padded, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True)
        return self.head(padded.sum(1))


def packed_sequence() -> Recipe:
    return classifier(Packed(), dataset=sequences())


class Odd(nn.Module):
    """Outputs that hardly have statistics: whole numbers, truth values, eight bits, nothing, one number."""

    def forward(self, x: Tensor) -> Any:
        return {
            "index": x.argmax(1),
            "mask": x > 0,
            "fp8": x.detach().to(torch.float8_e4m3fn),
            "half": x.half(),
            "empty": x[:0],
            "scalar": x.sum(),
            "one": x[:1, :1],
            "none": None,
        }


class OddOutputs(Framed):
    def __init__(self) -> None:
        super().__init__()
        self.odd = Odd()

    def middle(self, x: Tensor) -> Tensor:
        odd = self.odd(x)
        return x * odd["mask"] + odd["half"].float() + odd["scalar"].tanh() + odd["empty"].sum() + odd["one"]


def odd_outputs() -> Recipe:
    return classifier(OddOutputs())


class Complex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.spectrum = nn.Parameter(torch.randn(FEATURES // 2 + 1, dtype=torch.complex64))

    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.rfft(x) * self.spectrum


class Filtered(Framed):
    def __init__(self) -> None:
        super().__init__()
        self.filter = Complex()

    def middle(self, x: Tensor) -> Tensor:
        return torch.fft.irfft(self.filter(x), n=FEATURES)


def complex_parameters() -> Recipe:
    return classifier(Filtered())


def bf16_model() -> Recipe:
    data = TensorDataset(torch.randn(SAMPLES, FEATURES, dtype=torch.bfloat16), torch.randint(0, CLASSES, (SAMPLES,)))
    return classifier(mlp().to(torch.bfloat16), dataset=data)


# ---------------------------------------------------------------------------------------------- gradients


def several_backwards() -> Recipe:
    """Two losses, one of them backpropagated inside the step; a gradient with create_graph; one that is thrown away."""
    model = nn.Sequential(nn.Linear(FEATURES, 8), nn.Tanh(), nn.Linear(8, CLASSES))

    def step(model: nn.Module, batch: list[Tensor]) -> Tensor:
        x, y = batch
        output = model(x)
        output.square().mean().backward(retain_graph=True)
        (slope,) = torch.autograd.grad(output.logsumexp(1).sum(), model[0].weight, create_graph=True)
        torch.autograd.grad(output.sum(), model[2].bias, retain_graph=True)
        return F.cross_entropy(output, y) + 0.1 * slope.square().sum()

    return classifier(model, training_step=step)


def inner_loop() -> Recipe:
    """A step of gradient descent inside the model's own step, and the gradient through it."""
    model = nn.Sequential(nn.Linear(FEATURES, 8), nn.Tanh(), nn.Linear(8, CLASSES))

    def step(model: nn.Module, batch: list[Tensor]) -> Tensor:
        x, y = batch
        parameters = dict(model.named_parameters())
        loss = F.cross_entropy(torch.func.functional_call(model, parameters, (x,)), y)
        slopes = torch.autograd.grad(loss, list(parameters.values()), create_graph=True)
        moved = {name: p - 0.1 * slope for (name, p), slope in zip(parameters.items(), slopes, strict=True)}
        return F.cross_entropy(torch.func.functional_call(model, moved, (x,)), y)

    return classifier(model, training_step=step)


class WithFunctorch(Framed):
    def middle(self, x: Tensor) -> Tensor:
        return x + torch.func.vmap(torch.func.grad(lambda row: self.stem(row).square().sum()))(x)


def functorch_inside() -> Recipe:
    return classifier(WithFunctorch())


def own_hooks() -> Recipe:
    """The user's hooks change outputs and gradients, before and after ours."""
    model = nn.Sequential(nn.Linear(FEATURES, 8), nn.Tanh(), nn.Linear(8, CLASSES))
    model[0].register_forward_hook(lambda module, args, output: output * 3)
    model[1].register_full_backward_hook(lambda module, of_input, of_output: (of_input[0] * 2,))
    model[2].register_forward_pre_hook(lambda module, args: (args[0] + 1,))
    model[2].weight.register_hook(lambda gradient: gradient * 10)

    def quintuple(parameter: Tensor) -> None:
        assert parameter.grad is not None
        parameter.grad.data.mul_(5)

    model[0].weight.register_post_accumulate_grad_hook(quintuple)
    return classifier(model)


class Memory(nn.Module):
    """A layer that has an output of its own to be trained: a leaf."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(FEATURES, FEATURES))

    def forward(self) -> Tensor:
        return self.table


class ReturnsItsWeight(Framed):
    def __init__(self) -> None:
        super().__init__()
        self.memory = Memory()

    def middle(self, x: Tensor) -> Tensor:
        return x @ self.memory() + x @ self.memory().T


def returned_parameter() -> Recipe:
    return classifier(ReturnsItsWeight())


# ---------------------------------------------------------------------------------------------- copies, structure


def lazy() -> Recipe:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = nn.Sequential(nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(CLASSES))
    return classifier(model)


def ema_by_deepcopy() -> Recipe:
    """A copy of the model in every step, run too."""

    def step(model: nn.Module, batch: list[Tensor]) -> Tensor:
        x, y = batch
        teacher = copy.deepcopy(model).eval()
        with torch.no_grad():
            target = teacher(x).softmax(1)
        return F.cross_entropy(model(x), target) + F.cross_entropy(model(x), y)

    return classifier(nn.Sequential(mlp(), nn.Dropout(0.2)), training_step=step)


def averaged_model() -> Recipe:
    model = nn.Sequential(nn.Linear(FEATURES, 8), nn.BatchNorm1d(8), nn.Linear(8, CLASSES))
    found: list[AveragedModel] = []

    def step(model: nn.Module, batch: list[Tensor]) -> Tensor:
        x, y = batch
        if not found:
            # Made while the hooks are there.
            found.append(AveragedModel(model, use_buffers=True))
        found[0].update_parameters(model)
        with torch.no_grad():
            target = found[0].eval()(x)
        return F.cross_entropy(model(x), y) + F.mse_loss(model(x), target)

    return classifier(model, training_step=step)


class FrozenTeacher(nn.Module):
    """An encoder in eval mode under no_grad: torch may run it as one kernel, which rounds differently."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.teacher = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        self.teacher.eval()
        padding = torch.arange(x.shape[1]) >= torch.arange(1, len(x) + 1)[:, None] * 4
        with torch.no_grad():
            seen = self.teacher(x, src_key_padding_mask=padding)
        return self.head(seen.mean(1))


def frozen_encoder() -> Recipe:
    data = TensorDataset(torch.randn(SAMPLES, 40, 16), torch.randint(0, CLASSES, (SAMPLES,)))
    return classifier(FrozenTeacher(), dataset=data)


class Growing(Framed):
    """A layer more from the third batch on; and a head that is replaced in the fourth."""

    def __init__(self) -> None:
        super().__init__()
        self.batches = 0

    def middle(self, x: Tensor) -> Tensor:
        return self.extra(x) if hasattr(self, "extra") else x


def parameters_come_and_go() -> Recipe:
    model = Growing()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def step(model: Growing, batch: list[Tensor]) -> Tensor:
        x, y = batch
        model.batches += 1
        if model.batches == 3:
            model.extra = nn.Linear(FEATURES, FEATURES)
            optimizer.add_param_group({"params": model.extra.parameters(), "lr": 0.05})
        if model.batches == 4:
            model.head = nn.Linear(FEATURES, CLASSES)
            optimizer.add_param_group({"params": model.head.parameters(), "lr": 0.05})
        if model.batches == 5:
            model.stem.bias = nn.Parameter(torch.zeros(FEATURES))
        return F.cross_entropy(model(x), y)

    return classifier(model, optimizer=optimizer, training_step=step)


# ---------------------------------------------------------------------------------------------- compiled, scripted


def compiled_model() -> Recipe:
    return classifier(torch.compile(mlp(), backend="eager"))


class Compiled(Framed):
    def __init__(self) -> None:
        super().__init__()
        self.block = torch.compile(nn.Sequential(nn.Linear(FEATURES, FEATURES), nn.Dropout(0.2)), backend="eager")

    def middle(self, x: Tensor) -> Tensor:
        return self.block(x)


def compiled_part() -> Recipe:
    return classifier(Compiled())


def compiled_in_place() -> Recipe:
    model = mlp()
    model.compile(backend="eager")
    return classifier(model)


def compiled_step() -> Recipe:
    def step(model: nn.Module, batch: list[Tensor]) -> Tensor:
        x, y = batch
        return F.cross_entropy(model(x), y)

    return classifier(mlp(), training_step=torch.compile(step, backend="eager"))


class CompiledInside(Framed):
    """A compiled function that calls layers: nobody can see into it."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(FEATURES, FEATURES)
        self.run = [torch.compile(lambda x: self.hidden(x).tanh(), backend="eager", fullgraph=True)]

    def middle(self, x: Tensor) -> Tensor:
        return self.run[0](x)


def compiled_function() -> Recipe:
    return classifier(CompiledInside())


def _scripted(make: Callable[[nn.Module], nn.Module]) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make(nn.Sequential(nn.Linear(FEATURES, FEATURES), nn.BatchNorm1d(FEATURES), nn.ReLU()))


class Scripted(Framed):
    def __init__(self) -> None:
        super().__init__()
        self.scripted = _scripted(torch.jit.script)
        self.traced = _scripted(lambda block: torch.jit.trace(block, torch.randn(BATCH, FEATURES)))

    def middle(self, x: Tensor) -> Tensor:
        return self.traced(self.scripted(x))


def scripted_parts() -> Recipe:
    return classifier(Scripted())


def scripted_model() -> Recipe:
    return classifier(nn.Sequential(_scripted(torch.jit.script), nn.Linear(FEATURES, CLASSES)))


# ---------------------------------------------------------------------------------------------- rough user code


class Dice(Framed):
    def middle(self, x: Tensor) -> Tensor:
        noise = torch.randn_like(x) * random.random() + float(np.random.rand())
        return F.dropout(x + noise, 0.1 + 0.1 * random.random())


def random_numbers() -> Recipe:
    return classifier(Dice())


class Fragile(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(FEATURES, FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        if not hasattr(self, "cache"):
            self.cache = x.detach()
            raise ValueError("not this time")
        del self.cache
        return x


class Rough(Framed):
    """A layer raises every other time, which is caught; an attribute comes and goes."""

    def __init__(self) -> None:
        super().__init__()
        self.fragile = Fragile()

    def middle(self, x: Tensor) -> Tensor:
        for _ in range(3):
            try:
                x = self.fragile(x)
            except ValueError:
                x = x + 1
        return x


def raises_and_is_caught() -> Recipe:
    return classifier(Rough())


def workers() -> Recipe:
    loader = DataLoader(vectors(), BATCH, shuffle=True, num_workers=2, generator=torch.Generator().manual_seed(0))
    return classifier(mlp(), dataset=loader)


class WeightedLoss(nn.Module):
    """A loss with a weight of its own, and with a memory of the batches before."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(CLASSES))
        self.register_buffer("mean", torch.zeros(CLASSES))

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        self.mean.mul_(0.9).add_(output.detach().mean(0), alpha=0.1)
        return F.cross_entropy(output * self.scale - self.mean, target) + self.scale.square().mean()


def loss_with_weights() -> Recipe:
    model, loss = mlp(), WeightedLoss()
    parameters = [*model.parameters(), *loss.parameters()]
    return classifier(model, loss=loss, optimizer=torch.optim.Adam(parameters, lr=0.01))


class SharedRoot(nn.Module):
    """A module under two names, and one inside another that is called on its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(FEATURES, FEATURES)
        self.block = nn.Sequential(self.first, nn.Tanh())
        self.again = self.block
        self.head = nn.Linear(FEATURES, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.again(self.first(self.block(x))))


def shared_modules() -> Recipe:
    model = SharedRoot()
    return classifier(model, optimizer=adam(model))


MORE: tuple[Callable[[], Recipe], ...] = (
    views,
    reused_5_times,
    reused_50_times,
    keywords_only,
    bypassed,
    control_flow,
    layers_600,
    structured_outputs,
    packed_sequence,
    odd_outputs,
    complex_parameters,
    bf16_model,
    several_backwards,
    inner_loop,
    functorch_inside,
    own_hooks,
    returned_parameter,
    lazy,
    ema_by_deepcopy,
    averaged_model,
    frozen_encoder,
    parameters_come_and_go,
    compiled_model,
    compiled_part,
    compiled_in_place,
    compiled_step,
    compiled_function,
    scripted_parts,
    scripted_model,
    random_numbers,
    raises_and_is_caught,
    workers,
    loss_with_weights,
    shared_modules,
)
