"""The best weights are kept and put back, the rate falls on a plateau, and training begins anew from them with another optimizer."""
import copy
import hashlib

import torch
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset

#: T.run(batches="DataLoader")
torch.manual_seed(16)
X = torch.randn(40, 4)
Y = X @ torch.randn(4, 1)
train_dl, val_dl = DataLoader(TensorDataset(X[:30], Y[:30]), 15), DataLoader(TensorDataset(X[30:], Y[30:]), 10)
model_ft = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 1))
criterion = nn.L1Loss()
#: T.trains("model_ft", model_ft)


def train_model(model, criterion, optimizer, scheduler, num_epochs):
    best, best_loss, bad = copy.deepcopy(model.state_dict()), float("inf"), 0
    for epoch in range(num_epochs):
        for phase in ["train", "val"]:
            model.train() if phase == "train" else model.eval()
            running_loss = 0.0
            for inputs, labels in train_dl if phase == "train" else val_dl:
                #: T.batch()
                optimizer.zero_grad()
                #: T.zero_grad()
                with torch.set_grad_enabled(phase == "train"):
                    outputs = model(inputs)
                    #: T.call("model_ft") if phase == "train" else T.evaluate()
                    loss = criterion(outputs, labels)
                    if phase == "train":
                        #: T.backward(loss, "loss")
                        loss.backward()
                        optimizer.step()
                        #: T.step("optimizer_ft" if isinstance(optimizer, optim.SGD) else "fine")
                running_loss += loss.item() * inputs.size(0)
            print(epoch, phase, round(running_loss, 5))
        scheduler.step(running_loss)
        #: T.schedule()
        if running_loss < best_loss:
            best_loss, best, bad = running_loss, copy.deepcopy(model.state_dict()), 0
        else:
            bad += 1
            if bad > 1:
                break
    model.load_state_dict(best)
    return model


optimizer_ft = optim.SGD(model_ft.parameters(), lr=0.3)
model_ft = train_model(model_ft, criterion, optimizer_ft, optim.lr_scheduler.ReduceLROnPlateau(optimizer_ft, patience=0), 3)
fine = optim.Adam(model_ft[2].parameters(), lr=0.01)
model_ft = train_model(model_ft, criterion, fine, optim.lr_scheduler.ReduceLROnPlateau(fine), 2)
print("FINAL", hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model_ft.parameters())).hexdigest())
