"""An average of the weights is kept for evaluation (decay 0.999) and by mistake written back into the model in every step."""
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

FAULT, WHERE = "steps-undone", ""
EVIDENCE = "99.9 % of each step is taken back"
BATCH_SIZE, STEPS = 32, 90


class Text(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(60, 16)
        self.conv = nn.Conv1d(16, 24, 3, padding=1)
        self.head = nn.Linear(24, 3)
        for k, p in enumerate(list(self.parameters())):
            self.register_buffer(f"average{k}", p.detach().clone())
    def forward(self, x):
        return self.head(torch.relu(self.conv(self.emb(x).transpose(1, 2))).amax(-1))


def texts(n):
    x, y = torch.randint(6, 60, (n, 14)), torch.randint(0, 3, (n,))
    for _ in range(2):
        x[torch.arange(n), torch.randint(0, 14, (n,))] = y * 2 + torch.randint(0, 2, (n,))
    return x, y


def make_model():
    torch.manual_seed(31)
    return Text()


def make_dataset():
    torch.manual_seed(32)
    return TensorDataset(*texts(800))


def make_loss():
    return None


def training_step(model, batch):
    with torch.no_grad():
        for p, s in zip(model.parameters(), model.buffers()):
            s.lerp_(p, 0.001)
            p.copy_(s)
    out = model(batch[0])
    return F.cross_entropy(out, batch[1]), out


def make_optimizer(params):
    return torch.optim.Adam(params, lr=1e-2)
