"""Prints what hangs on its own objects, at every place of a step: hooks, attributes, state, signatures, modes."""
import hashlib
import inspect
import signal
import sys

import torch
from torch import nn

HOOKS = [
    "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_forward_hooks_with_kwargs",
    "_forward_pre_hooks_with_kwargs", "_forward_hooks_always_called", "_state_dict_hooks", "_load_state_dict_pre_hooks",
]


def look(where):
    for name, module in model.named_modules():
        print(where, name, sorted(vars(module)), [len(getattr(module, hook)) for hook in HOOKS], len(vars(module)["_forward_hooks"]))
    for name, p in model.named_parameters():
        print(where, name, type(p).__name__, sorted(vars(p)), p._backward_hooks, p.grad is None or vars(p.grad))
    print(where, sorted(vars(optimizer)), sorted(optimizer.param_groups[0]), len(optimizer._optimizer_step_pre_hooks))
    print(where, len(optimizer._optimizer_step_post_hooks), sorted(vars(scheduler)), sorted(scheduler.state_dict().items(), key=str))


torch.manual_seed(18)
model = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2)
print(inspect.signature(model.forward), inspect.signature(type(model).forward), model.forward.__qualname__)
print(inspect.signature(optimizer.step), inspect.signature(optimizer.zero_grad), optimizer.step.__name__)
print(inspect.signature(scheduler.step), type(scheduler).step.__qualname__, inspect.signature(nn.utils.clip_grad_norm_))
print(inspect.signature(torch.Tensor.backward), inspect.signature(torch.autograd.backward), torch.Tensor.backward.__module__)
print(__name__, __spec__, __package__, __file__.endswith("looks_at_itself.py"), sys.argv, type(__builtins__).__name__)
print(sys.gettrace(), sys.getprofile(), signal.getsignal(signal.SIGINT) is signal.default_int_handler)
print(signal.getsignal(signal.SIGTERM), sys.excepthook is sys.__excepthook__, sys.stdout is sys.__stdout__)
print(inspect.currentframe().f_code.co_name, sys.modules["__main__"].__dict__ is globals(), sorted(k for k in globals() if k[0] == "_"))
look("at first")
for i in range(4):
    x = torch.randn(9, 3)
    optimizer.zero_grad()
    y = model(x)
    loss = y.square().mean()
    look(f"{i} forward")
    print(type(y.grad_fn).__name__, y.requires_grad, y.is_leaf, y.retains_grad, type(loss.grad_fn).__name__, sorted(vars(loss)))
    loss.backward()
    look(f"{i} backward")
    nn.utils.clip_grad_norm_(model.parameters(), 0.5)
    optimizer.step()
    look(f"{i} step")
    scheduler.step()
    print(torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_rng_state().sum().item(), torch.get_num_threads())
    print(torch.initial_seed(), torch.is_anomaly_enabled(), torch.are_deterministic_algorithms_enabled(), torch.get_default_dtype())
h = hashlib.sha256()
for p in model.parameters():
    h.update(p.detach().numpy().tobytes())
print("FINAL", h.hexdigest())
