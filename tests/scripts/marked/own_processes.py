"""A Pool of processes (fork) in the middle of training, DataLoader workers (fork), and a module that is trained in the child."""
import hashlib
import multiprocessing as mp
import os

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

#: T.run(batches="DataLoader")


class Squares(Dataset):
    def __init__(self):
        self.smooth = nn.Conv1d(1, 1, 3, padding=1)
        self.owner = os.getpid()

    def __len__(self):
        return 64

    def __getitem__(self, i):
        assert os.getpid() != self.owner
        x = torch.randn(10, generator=torch.Generator().manual_seed(i))
        with torch.no_grad():
            return self.smooth(x.view(1, 1, -1)).view(-1), x.square().mean().view(1)


def fit_line(seed):
    """A training of its own in a child: nobody's business but the child's."""
    torch.manual_seed(seed)
    w = nn.Linear(1, 1)
    opt = torch.optim.SGD(w.parameters(), lr=0.1)
    for _ in range(3):
        x = torch.randn(8, 1)
        opt.zero_grad()
        (w(x) - 2 * x).pow(2).mean().backward()
        opt.step()
    return round(w.weight.item(), 6)


if __name__ == "__main__":
    torch.manual_seed(9)
    model = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 1))
    #: T.trains("model", model)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    loader = DataLoader(Squares(), batch_size=16, shuffle=True, num_workers=2, multiprocessing_context="fork")
    for epoch in range(2):
        for inputs, target in loader:
            #: T.batch()
            optimizer.zero_grad()
            #: T.zero_grad()
            loss = nn.functional.mse_loss(model(inputs), target)
            #: T.call("model")
            #: T.backward(loss, "loss")
            loss.backward()
            optimizer.step()
            #: T.step("optimizer")
        with mp.get_context("fork").Pool(2) as pool:
            print(epoch, f"{loss.item():.5f}", pool.map(fit_line, [1, 2, 3]))
    h = hashlib.sha256()
    for p in model.parameters():
        h.update(p.detach().numpy().tobytes())
    print("FINAL", h.hexdigest())
