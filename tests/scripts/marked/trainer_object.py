"""Everything in an object: a dataclass of parts, a Trainer with methods, main() under __name__ == "__main__"."""
from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


@dataclass
class Parts:
    model: nn.Module
    optimizer: torch.optim.Optimizer
    criterion: nn.Module = field(default_factory=nn.HuberLoss)


class Trainer:
    def __init__(self, parts: Parts, loader: DataLoader) -> None:
        self.parts, self.loader, self.step = parts, loader, 0

    def run(self, epochs: int) -> None:
        for self.epoch in range(epochs):
            self._epoch()

    def _epoch(self) -> None:
        self.parts.model.train()
        for batch in self.loader:
            #: T.batch()
            self._training_step(*batch)
            self.step += 1
        print(f"epoch {self.epoch}, step {self.step}: {self.last:.5f}")

    def _training_step(self, x: torch.Tensor, y: torch.Tensor) -> None:
        self.parts.optimizer.zero_grad()
        #: T.zero_grad()
        prediction = self.parts.model(x)
        #: T.call("trainer.parts.model")
        self.loss = self.parts.criterion(prediction, y)
        #: T.backward(self.loss, None)
        self.loss.backward()
        self.parts.optimizer.step()
        #: T.step("trainer.parts.optimizer")
        self.last = self.loss.item()


def main() -> None:
    torch.manual_seed(55)
    x = torch.randn(120, 4)
    loader = DataLoader(TensorDataset(x, x.abs().sum(1, keepdim=True)), batch_size=30, shuffle=True)
    trainer = Trainer(_parts(), loader)
    #: T.trains("trainer.parts.model", trainer.parts.model)
    trainer.run(epochs=3)
    h = hashlib.sha256()
    for p in trainer.parts.model.parameters():
        h.update(p.detach().numpy().tobytes())
    print("FINAL", h.hexdigest())


def _parts() -> Parts:
    model = nn.Sequential(nn.Linear(4, 18), nn.Mish(), nn.Linear(18, 1))
    return Parts(model, torch.optim.RAdam(model.parameters(), lr=1e-2))


#: T.run(batches="DataLoader")
if __name__ == "__main__":
    main()
