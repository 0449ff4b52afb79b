"""Two tasks whose gradients are taken one by one, projected where they are against each other, and put into .grad."""
import hashlib

import torch
import torch.nn as nn

#: T.run(batches="own random")
torch.manual_seed(6)
trunk, head_a, head_b = nn.Linear(6, 10), nn.Linear(10, 1), nn.Linear(10, 1)
shared = list(trunk.parameters())
opt = torch.optim.Adam([*shared, *head_a.parameters(), *head_b.parameters()], lr=0.01)
#: T.trains("trunk", trunk)
#: T.trains("head_a", head_a)
#: T.trains("head_b", head_b)
for step in range(4):
    x = torch.randn(16, 6)
    opt.zero_grad()
    #: T.zero_grad()
    h = torch.relu(trunk(x))
    #: T.call("trunk")
    loss_a = (head_a(h) - x[:, :1]).pow(2).mean()
    #: T.call("head_a")
    loss_b = (head_b(h) + x[:, :1]).abs().mean()
    #: T.call("head_b")
    #: T.backward(loss_a, "loss_a")
    grads_a = torch.autograd.grad(loss_a, [*shared, *head_a.parameters()], retain_graph=True)
    #: T.backward(loss_b, "loss_b")
    grads_b = torch.autograd.grad(loss_b, [*shared, *head_b.parameters()])
    flat_a = torch.cat([g.flatten() for g in grads_a[:2]])
    flat_b = torch.cat([g.flatten() for g in grads_b[:2]])
    dot = flat_a @ flat_b
    for p, ga, gb in zip(shared, grads_a, grads_b):
        p.grad = ga + gb - (dot / flat_a.pow(2).sum() * ga if dot < 0 else 0)
    for head, grads in ((head_a, grads_a[2:]), (head_b, grads_b[2:])):
        for p, g in zip(head.parameters(), grads):
            p.grad = g
    opt.step()
    #: T.step("opt")
    print(f"{step} {loss_a.item():.6f} {loss_b.item():.6f} {float(dot):.5f}")
everything = [*shared, *head_a.parameters(), *head_b.parameters()]
print("FINAL", hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in everything)).hexdigest())
