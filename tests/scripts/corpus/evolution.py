"""Evolution strategies: parameters are moved without any gradient, so there is nothing that could be followed."""
import hashlib

import torch
from torch import nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

torch.manual_seed(31)
net = nn.Linear(4, 1)
x = torch.randn(30, 4)
y = x.sum(1, keepdim=True)
theta = parameters_to_vector(net.parameters()).detach()
with torch.no_grad():
    for generation in range(5):
        noise = torch.randn(8, theta.numel())
        scores = []
        for eps in noise:
            vector_to_parameters(theta + 0.1 * eps, net.parameters())
            scores.append(-(net(x) - y).pow(2).mean())
        scores = torch.stack(scores)
        theta = theta + 0.1 * (noise * ((scores - scores.mean()) / scores.std()).unsqueeze(1)).mean(0)
        print(generation, round(scores.mean().item(), 6))
print("FINAL", hashlib.sha256(theta.numpy().tobytes()).hexdigest())
