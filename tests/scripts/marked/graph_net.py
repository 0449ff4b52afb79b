"""Node classification on one graph: messages added up by index_add, a mask for training and one for validation, by-hand weight decay."""
import hashlib

import torch
from torch import nn

#: T.run(batches="one graph")
torch.manual_seed(22)
n, edges = 30, torch.randint(0, 30, (2, 90))
feats, labels = torch.randn(n, 5), torch.randint(0, 3, (n,))
train_mask, val_mask = torch.arange(n) < 20, torch.arange(n) >= 20


class Conv(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.empty(i, o)), nn.Parameter(torch.zeros(o))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, x, edge_index):
        h = x @ self.weight
        out = torch.zeros_like(h).index_add(0, edge_index[1], h[edge_index[0]])
        return out + self.bias


class GCN(nn.Module):
    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList([Conv(5, 8), Conv(8, 3)])

    def forward(self, x, edge_index):
        x = self.convs[0](x, edge_index).relu()
        return self.convs[1](nn.functional.dropout(x, 0.5, self.training), edge_index)


model = GCN()
optimizer = torch.optim.Adam([dict(params=model.convs[0].parameters(), weight_decay=5e-4), dict(params=model.convs[1].parameters())], lr=0.02)
#: T.trains("model", model)


def train():
    model.train()
    optimizer.zero_grad()
    #: T.zero_grad()
    out = model(feats, edges)
    #: T.call("model")
    loss = nn.functional.nll_loss(out.log_softmax(1)[train_mask], labels[train_mask])
    #: T.backward(loss, "loss")
    loss.backward()
    optimizer.step()
    #: T.step("optimizer")
    return float(loss)


@torch.no_grad()
def test():
    model.eval()
    pred = model(feats, edges).argmax(1)
    #: T.evaluate()
    return int((pred[val_mask] == labels[val_mask]).sum())


for epoch in range(1, 5):
    print(f"Epoch: {epoch:02d}, Loss: {train():.4f}, Val: {test()}")
print("FINAL", hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.parameters())).hexdigest())
