"""A small convolutional classifier for 28x28 pictures."""

from .. import nn
from ..nn import functional as F


class CNN(nn.Module):
    """[batch, channels, 28, 28] -> scores [batch, classes]; two 3x3 convolutions and two linear
    layers."""

    def __init__(self, channels=1, classes=10, widths=(32, 64), hidden=128, size=28, dropout=0.0):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, widths[0], 3, padding="same")
        self.conv2 = nn.Conv2d(widths[0], widths[1], 3, padding="same")
        self.fc1 = nn.Linear(widths[1] * (size // 4) ** 2, hidden)
        self.fc2 = nn.Linear(hidden, classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc1(x.flatten(1)))
        return self.fc2(self.dropout(x))
