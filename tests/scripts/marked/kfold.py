"""Cross-validation: a new model, optimizer and loader for each fold, made in a function."""
import hashlib

import torch
from torch import nn
from torch.utils.data import DataLoader, Subset, SubsetRandomSampler, TensorDataset

#: T.run(batches="DataLoader")
torch.manual_seed(15)
X = torch.randn(60, 5)
dataset = TensorDataset(X, X[:, 0].sin().unsqueeze(1))
digest = hashlib.sha256()


def reset_weights(m):
    if hasattr(m, "reset_parameters"):
        m.reset_parameters()


def run_fold(fold, train_ids, test_ids):
    trainloader = DataLoader(dataset, batch_size=20, sampler=SubsetRandomSampler(train_ids))
    testloader = DataLoader(Subset(dataset, test_ids), batch_size=20)
    network = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 1))
    network.apply(reset_weights)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    loss_function = nn.MSELoss()
    #: T.trains("network", network)
    for epoch in range(2):
        for i, (inputs, targets) in enumerate(trainloader, 0):
            #: T.batch()
            optimizer.zero_grad()
            #: T.zero_grad()
            outputs = network(inputs)
            #: T.call("network")
            loss = loss_function(outputs, targets)
            #: T.backward(loss, "loss")
            loss.backward()
            optimizer.step()
            #: T.step("optimizer")
    with torch.no_grad():
        total = 0.0
        for inputs, targets in testloader:
            total += loss_function(network(inputs), targets).item()
            #: T.evaluate()
    for p in network.parameters():
        digest.update(p.detach().numpy().tobytes())
    return total


ids = torch.randperm(60).tolist()
for fold in range(3):
    test_ids = ids[fold * 20 : fold * 20 + 20]
    print("fold", fold, round(run_fold(fold, [i for i in ids if i not in test_ids], test_ids), 6))
print("FINAL", digest.hexdigest())
