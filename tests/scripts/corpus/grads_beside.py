"""torch.autograd.grad that is no backward: a weight between two losses, an attack on the input, a norm that is only printed."""
import hashlib

import torch
from torch import nn

torch.manual_seed(32)
decoder = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4))
judge = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 1))
opt = torch.optim.Adam([*decoder.parameters(), *judge.parameters()], lr=0.01)
for step in range(4):
    z = torch.randn(10, 4, requires_grad=True)
    recon = decoder(z)
    nll_loss = (recon - z.detach()).abs().mean()
    g_loss = -judge(recon).mean()
    last_layer = decoder[2].weight
    nll_grads = torch.autograd.grad(nll_loss, last_layer, retain_graph=True)[0]
    g_grads = torch.autograd.grad(g_loss, last_layer, retain_graph=True)[0]
    d_weight = torch.clamp(nll_grads.norm() / (g_grads.norm() + 1e-4), 0.0, 1e4).detach()
    attack = torch.autograd.grad(nll_loss, z, retain_graph=True)[0].sign()
    worse = decoder((z + 0.1 * attack).detach())
    loss = nll_loss + 0.1 * d_weight * g_loss + (worse - z.detach()).abs().mean()
    opt.zero_grad()
    loss.backward(retain_graph=True)
    of_judge = torch.autograd.grad(g_loss, list(judge.parameters()))
    opt.step()
    print(step, round(loss.item(), 6), round(sum(g.norm() for g in of_judge).item(), 5))
everything = [*decoder.parameters(), *judge.parameters()]
print("FINAL", hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in everything)).hexdigest())
