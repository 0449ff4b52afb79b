"""A stream of data with workers that persist, an iterator that is begun anew by hand, and steps counted instead of epochs."""
import hashlib

import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

#: T.run(batches="DataLoader")


class Stream(IterableDataset):
    def __iter__(self):
        info = get_worker_info()
        for i in range(info.id, 40, info.num_workers):
            g = torch.Generator().manual_seed(i)
            x = torch.randn(3, generator=g)
            yield x, x.max().unsqueeze(0)


if __name__ == "__main__":
    torch.manual_seed(24)
    loader = DataLoader(Stream(), batch_size=5, num_workers=2, persistent_workers=True)
    regressor = nn.Sequential(nn.Linear(3, 8), nn.Softplus(), nn.Linear(8, 1))
    adam = torch.optim.NAdam(regressor.parameters(), lr=0.01)
    #: T.trains("regressor", regressor)
    train_iter = iter(loader)
    for step in range(12):
        try:
            x, y = next(train_iter)
        except StopIteration:
            train_iter = iter(loader)
            x, y = next(train_iter)
        #: T.batch()
        out = regressor(x)
        #: T.call("regressor")
        adam.zero_grad()
        #: T.zero_grad()
        loss = nn.functional.l1_loss(out, y)
        #: T.backward(loss, "loss")
        loss.backward()
        adam.step()
        #: T.step("adam")
        if step % 4 == 0:
            print(step, round(loss.item(), 6))
    print("FINAL", hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in regressor.parameters())).hexdigest())
