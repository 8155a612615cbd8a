"""What a recipe's task trains: its model, its data, its loss, its evaluation and its samples."""

from pathlib import Path

import numpy as np

from .. import data
from ..models import CNN, GPT, GPTConfig
from ..nn import functional as F


def make_task(recipe):
    """The task object of a checked recipe. Draws the initial weights from suan's default
    generator."""
    return {"char_gpt": CharGPT, "cnn": ImageClassifier}[recipe.task](recipe)


class CharGPT:
    """Next-character prediction; the last part of the text is held out."""

    unit = "chars"

    def __init__(self, recipe):
        m, batch = recipe.model, recipe.train.batch
        self.recipe = recipe
        train, held_out = self._texts(recipe.data)
        self.vocab = data.CharVocab(train + held_out)
        self.model = GPT(
            GPTConfig(
                vocab=len(self.vocab),
                block=m.block,
                layers=m.layers,
                heads=m.heads,
                width=m.width,
                dropout=m.dropout,
            )
        )
        blocks = data.TextBlocks(self.vocab.encode(train), m.block)
        self.loader = data.DataLoader(
            blocks, batch, shuffle=True, replacement=True, seed=recipe.seed
        )
        self.held_out = data.TextBlocks(self.vocab.encode(held_out), m.block, stride=m.block)
        self.items_per_step = batch * m.block

    @staticmethod
    def _texts(source):
        if source.source == "fashion_mnist":
            raise ValueError(
                "[train] wrong data for char_gpt: expected source bible or a path, got "
                "fashion_mnist"
            )
        if source.source == "bible":
            folder = data.fetch.bible()
            return data.read_text(folder / "train.txt"), data.read_text(folder / "val.txt")
        text = data.read_text(source.path)
        cut = int(len(text) * (1 - source.holdout))
        return text[:cut], text[cut:]

    def loss(self, x, y):
        return self.model(x, y)

    def evaluate(self, max_batches=None):
        """Mean loss in nats per character over the held-out text, or over max_batches spread
        through it."""
        rows = np.arange(len(self.held_out))
        if max_batches is not None and len(rows) > max_batches * 64:
            rows = rows[:: len(rows) // (max_batches * 64)][: max_batches * 64]
        total = count = 0
        for start in range(0, len(rows), 64):
            part = rows[start : start + 64]
            total += self.model(*self.held_out.get_batch(part)).item() * len(part)
            count += len(part)
        return {"val_loss": total / count}

    def sample(self, step):
        """Text that the model writes from a line break on, or None. Drawn from numbers of its own,
        so that sampling never moves the training's random state."""
        n = self.recipe.log.sample_chars
        if n == 0:
            return None
        rng = np.random.Generator(np.random.Philox(key=[self.recipe.seed, step]))
        start = self.vocab.encode("\n" if "\n" in self.vocab.chars else self.vocab.chars[0])
        numbers = self.model.generate(start.tolist(), n, temperature=0.8, rng=rng)
        return self.vocab.decode(numbers[1:])

    def extra_state(self):
        return {"chars": self.vocab.chars}

    def score(self, metrics):
        return f"validation loss {metrics['val_loss']:.4f} nats per character"


class ImageClassifier:
    """Pictures to classes, with the data set's own test part for evaluation."""

    unit = "images"

    def __init__(self, recipe):
        m = recipe.model
        self.recipe = recipe
        source = recipe.data
        if source.source == "bible":
            raise ValueError(
                "[train] wrong data for cnn: expected source fashion_mnist or a path, got bible"
            )
        train, self.held_out = data.load_fashion_mnist(Path(source.path) if source.path else None)
        self.model = CNN(
            classes=int(train.labels.max()) + 1,
            widths=m.widths,
            hidden=m.hidden,
            size=train.images.shape[1],
            dropout=m.dropout,
        )
        self.loader = data.DataLoader(
            train, recipe.train.batch, shuffle=True, drop_last=True, seed=recipe.seed
        )
        self.items_per_step = recipe.train.batch

    def loss(self, x, y):
        return F.cross_entropy(self.model(x), y)

    def evaluate(self, max_batches=None):
        """Mean loss and accuracy over the test pictures, or over the first max_batches batches of
        them."""
        n = (
            len(self.held_out)
            if max_batches is None
            else min(len(self.held_out), max_batches * 100)
        )
        loss = right = 0
        for start in range(0, n, 100):
            x, y = self.held_out.get_batch(np.arange(start, min(start + 100, n)))
            scores = self.model(x)
            loss += F.cross_entropy(scores, y, reduction="sum").item()
            right += (scores.argmax(1) == y).sum().item()
        return {"val_loss": loss / n, "accuracy": right / n}

    def sample(self, step):
        return None

    def extra_state(self):
        return {}

    def score(self, metrics):
        return f"test accuracy {100 * metrics['accuracy']:.2f} %, loss {metrics['val_loss']:.4f}"
