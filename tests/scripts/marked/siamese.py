"""A Siamese network: the same net is called twice (or three times) for one loss."""
import hashlib
import random

import torch
import torch.nn.functional as F
from torch import nn, optim
from torch.utils.data import DataLoader, Dataset


class Triplets(Dataset):
    def __init__(self, n=120):
        g = torch.Generator().manual_seed(2)
        self.cls = torch.randint(0, 4, (n,), generator=g)
        self.x = torch.randn(n, 8, generator=g) + torch.eye(4, 8)[self.cls] * 3
        self.rng = random.Random(0)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        same = self.rng.choice((self.cls == self.cls[i]).nonzero().flatten().tolist())
        other = self.rng.choice((self.cls != self.cls[i]).nonzero().flatten().tolist())
        return {"anchor": self.x[i], "positive": self.x[same], "negative": self.x[other]}


class Embedder(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(8, 32), nn.Linear(32, 6)

    def forward(self, x):
        return F.normalize(self.fc2(torch.relu(self.fc1(x))), dim=-1)


if __name__ == "__main__":
    #: T.run(batches="DataLoader")
    torch.manual_seed(14)
    siamese = Embedder()
    #: T.trains("siamese", siamese)
    optimizer = optim.Adagrad(siamese.parameters(), lr=0.02)
    triplet_loss = nn.TripletMarginLoss(margin=0.3)
    for batch in DataLoader(Triplets(), batch_size=12):
        #: T.batch()
        a = siamese(batch["anchor"])
        p = siamese(batch["positive"])
        n = siamese(batch["negative"])
        #: T.call("siamese", "siamese", "siamese")
        loss = triplet_loss(a, p, n)
        optimizer.zero_grad()
        #: T.zero_grad()
        #: T.backward(loss, "loss")
        loss.backward()
        optimizer.step()
        #: T.step("optimizer")
        print(f"{loss:.5f}", end=" ")
    print()
    h = hashlib.sha256()
    for p in siamese.parameters():
        h.update(p.detach().numpy().tobytes())
    print("FINAL", h.hexdigest())
