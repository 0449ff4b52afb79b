"""CTC over strided convolutions: after the stride of 4 most transcripts are longer than the frames; zero_infinity hides it."""
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

FAULT, WHERE = "ctc-too-short", ""
EVIDENCE = "7 frames for 5 to 9 labels"
BATCH_SIZE, STEPS = 32, 120
STRIDE = 4


class Speech(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(8, 48, 5, stride=STRIDE, padding=2)
        self.out = nn.Linear(48, 7)
    def forward(self, x):
        return F.log_softmax(self.out(F.relu(self.conv(x)).transpose(1, 2)), -1)


def words(n):
    length = torch.randint(5, 10, (n,))
    y = torch.randint(1, 7, (n, 9))
    where = (torch.arange(28) * length[:, None]) // 28
    x = F.one_hot(y.gather(1, where), 8).float().transpose(1, 2)
    x[:, 7] = torch.cat([torch.ones(n, 1, dtype=torch.bool), where[:, 1:] != where[:, :-1]], 1).float()
    return x + 0.15 * torch.randn(n, 8, 28), y, length


def make_model():
    torch.manual_seed(15)
    return Speech()


def make_dataset():
    torch.manual_seed(16)
    return TensorDataset(*words(960))


def make_loss():
    return None


def training_step(model, batch):
    x, y, length = batch
    out = model(x)
    frames = torch.full((len(x),), out.shape[1])
    return F.ctc_loss(out.transpose(0, 1), y, frames, length, blank=0, zero_infinity=True), out


def make_optimizer(params):
    return torch.optim.Adam(params, lr=1e-2)
