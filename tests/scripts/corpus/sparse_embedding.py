"""A sparse embedding with SparseAdam beside a dense net with Adam: two optimizers after one backward, kept in a list."""
import hashlib

import torch
from torch import nn

torch.manual_seed(23)


class Recommender(nn.Module):
    def __init__(self):
        super().__init__()
        self.users = nn.Embedding(20, 6, sparse=True)
        self.items = nn.EmbeddingBag(30, 6, mode="mean", sparse=True)
        self.mlp = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 1))

    def forward(self, users, bags):
        return self.mlp(torch.cat([self.users(users), self.items(bags)], 1)).squeeze(1)


net = Recommender()
sparse = [*net.users.parameters(), *net.items.parameters()]
optimizers = [torch.optim.SparseAdam(sparse, lr=0.01), torch.optim.Adam(net.mlp.parameters(), lr=0.01)]
for step in range(4):
    users, bags = torch.randint(0, 20, (8,)), torch.randint(0, 30, (8, 3))
    for opt in optimizers:
        opt.zero_grad()
    scores = net(users, bags)
    loss = nn.functional.binary_cross_entropy_with_logits(scores, (users % 2).float())
    loss.backward()
    for i in range(2):
        optimizers[i].step()
    print(step, round(loss.item(), 6))
print("FINAL", hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in net.parameters())).hexdigest())
