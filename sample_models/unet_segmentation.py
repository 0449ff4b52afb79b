"""A U-Net that finds the discs: segmentation with validation, metrics, and a checkpoint to start from.

Each image has a disc and a square in noise; the model says of every pixel whether it belongs to the disc. Going down,
it sees more of the image and less detail; the skip connections carry the detail across to the way up.

What to watch:
* Forward: `up2` and `up1` are given twice the channels that come up from below: the other half skipped the bottom.
* Backward: `down1` gets a gradient though it is the farthest from the loss: the skip connection is a short way back.
* Run: each epoch ends with a validation, which gives a loss, Dice and IoU (1 is perfect). Dice passes 0.8 within four
  epochs. The best weights, by Dice, are kept.
* Run this file with Python: it trains ten epochs and saves `unet_segmentation.pt` beside itself, with "state_dict" and
  "optimizer". From then on the recipe goes on from there, loss and all.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from gradscope import Recipe

CHECKPOINT = Path(__file__).with_suffix(".pt")
SIZE = 32
EPOCHS = 10


def shapes(count: int, *, seed: int) -> TensorDataset:
    """Images and masks, both of shape (1, SIZE, SIZE)."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, 1, 1, 1, generator=generator)

    row, column = torch.arange(SIZE).view(-1, 1), torch.arange(SIZE).view(1, -1)
    square = torch.maximum((row - uniform(6, 25)).abs(), (column - uniform(6, 25)).abs()) < uniform(3, 6)
    disc = torch.hypot(row - uniform(6, 25), column - uniform(6, 25)) < uniform(5, 8)
    image = torch.where(disc, uniform(0.5, 1), torch.where(square, uniform(0.5, 1), 0.0))
    noise = 0.1 * torch.randn(image.shape, generator=generator)
    return TensorDataset(image + noise, disc.float())


def convolutions(channels_in: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down1 = convolutions(1, 8)
        self.down2 = convolutions(8, 16)
        self.bottom = convolutions(16, 32)
        self.pool = nn.MaxPool2d(2)
        self.grow2 = nn.ConvTranspose2d(32, 16, kernel_size=2, stride=2)
        self.up2 = convolutions(32, 16)
        self.grow1 = nn.ConvTranspose2d(16, 8, kernel_size=2, stride=2)
        self.up1 = convolutions(16, 8)
        self.output = nn.Conv2d(8, 1, kernel_size=1)

    def forward(self, images: Tensor) -> Tensor:
        fine = self.down1(images)
        coarse = self.down2(self.pool(fine))
        x = self.bottom(self.pool(coarse))
        x = self.up2(torch.cat([coarse, self.grow2(x)], dim=1))
        x = self.up1(torch.cat([fine, self.grow1(x)], dim=1))
        return self.output(x)


def dice(logits: Tensor, masks: Tensor) -> Tensor:
    found = (logits > 0).float()
    return 2 * (found * masks).sum() / (found.sum() + masks.sum())


def iou(logits: Tensor, masks: Tensor) -> Tensor:
    found = (logits > 0).float()
    return (found * masks).sum() / torch.maximum(found, masks).sum()


def recipe() -> Recipe:
    model = UNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    if CHECKPOINT.exists():
        checkpoint = torch.load(CHECKPOINT, weights_only=True)
        model.load_state_dict(checkpoint["state_dict"])
        optimizer.load_state_dict(checkpoint["optimizer"])
    return Recipe(
        name="U-Net segmentation",
        description="Finds discs among squares in noise: skip connections, BCEWithLogitsLoss, Adam, validation, Dice.",
        model=model,
        dataset=shapes(256, seed=1),
        loss=nn.BCEWithLogitsLoss(),
        optimizer=optimizer,
        validation=shapes(64, seed=2),
        metrics={"dice": dice, "iou": iou},
        best_metric="dice",
        best_mode="max",
        batch_size=16,
    )


def main() -> None:
    torch.manual_seed(0)
    training = recipe()
    model, optimizer = training.model, training.optimizer
    batches = DataLoader(training.dataset, training.batch_size, shuffle=True)
    images, masks = training.validation.tensors
    for epoch in range(1, EPOCHS + 1):
        model.train()
        for x, y in batches:
            optimizer.zero_grad()
            loss = training.loss(model(x), y)
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            score = dice(model(images), masks)
        print(f"epoch {epoch} of {EPOCHS}: loss {loss:.3f}, validation Dice {score:.3f}")
    torch.save({"state_dict": model.state_dict(), "optimizer": optimizer.state_dict()}, CHECKPOINT)
    print(f"saved {CHECKPOINT}")


if __name__ == "__main__":
    main()
