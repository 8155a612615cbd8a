"""GPT-2 (Radford et al. 2019): pre-norm transformer blocks, learned positions, tied output head.

GPTConfig() with its defaults is GPT-2 124M; state_dict names and shapes are those of the layers
here.
"""

import math
from dataclasses import dataclass

import suan

from .. import nn
from ..nn import functional as F


@dataclass
class GPTConfig:
    vocab: int = 50257
    block: int = 1024  # the longest context
    layers: int = 12
    heads: int = 12
    width: int = 768
    dropout: float = 0.0
    bias: bool = True
    gelu: str = "tanh"  # GPT-2's own form; "none" is the exact one
    fused_head: bool = (
        False  # loss without keeping the [tokens, vocab] scores: for large vocabularies
    )


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads, self.dropout = c.heads, c.dropout
        self.qkv = nn.Linear(c.width, 3 * c.width, bias=c.bias)
        self.out = nn.Linear(c.width, c.width, bias=c.bias)

    def forward(self, x):
        batch, seq, width = x.shape
        # [batch, seq, 3, heads, head_dim] -> three of [batch, heads, seq, head_dim], without a copy
        qkv = self.qkv(x).view(batch, seq, 3, self.heads, width // self.heads)
        q, k, v = (t.transpose(1, 2) for t in qkv.unbind(2))
        p = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=p, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(batch, seq, width))


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.norm1 = nn.LayerNorm(c.width, bias=c.bias)
        self.attention = Attention(c)
        self.norm2 = nn.LayerNorm(c.width, bias=c.bias)
        self.up = nn.Linear(c.width, 4 * c.width, bias=c.bias)
        self.down = nn.Linear(4 * c.width, c.width, bias=c.bias)
        self.dropout = nn.Dropout(c.dropout)
        self.gelu = c.gelu

    def forward(self, x):
        x = x + self.dropout(self.attention(self.norm1(x)))
        return x + self.dropout(self.down(F.gelu(self.up(self.norm2(x)), self.gelu)))


class GPT(nn.Module):
    """tokens [batch, seq] -> scores [batch, seq, vocab]; with targets [batch, seq], the mean
    loss."""

    def __init__(self, config):
        super().__init__()
        c = self.config = config
        if c.width % c.heads:
            raise ValueError(
                f"[GPT] heads do not divide the width: expected a divisor of {c.width}, got "
                f"{c.heads}"
            )
        self.token = nn.Embedding(c.vocab, c.width)
        self.position = nn.Embedding(c.block, c.width)
        self.dropout = nn.Dropout(c.dropout)
        self.blocks = nn.ModuleList([Block(c) for _ in range(c.layers)])
        self.norm = nn.LayerNorm(c.width, bias=c.bias)
        self.head = nn.Linear(c.width, c.vocab, bias=False)
        self.head.weight = self.token.weight
        for name, p in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(p)
            elif p.dim() == 2:
                # Residual branches start smaller, so that the sum over layers keeps its scale.
                shrink = (
                    math.sqrt(2 * c.layers) if name.endswith(("out.weight", "down.weight")) else 1.0
                )
                nn.init.normal_(p, std=0.02 / shrink)

    def forward(self, tokens, targets=None):
        seq = tokens.shape[1]
        if seq > self.config.block:
            raise ValueError(
                f"[GPT] sequence too long: expected at most {self.config.block} tokens, got {seq}"
            )
        x = self.token(tokens) + self.position.weight[:seq]
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        if targets is None:
            return self.head(x)
        if self.config.fused_head:
            return F.linear_cross_entropy(x, self.head.weight, targets)
        return F.cross_entropy(self.head(x).reshape(-1, self.config.vocab), targets.reshape(-1))

    def generate(self, tokens, n, temperature=1.0, top_k=None, rng=None):
        """Continues a list of token numbers by n more, drawn by the model's probabilities.

        rng is a numpy Generator (a fresh one when None); temperature 0 takes the likeliest
        token."""
        import numpy as np

        rng = np.random.default_rng() if rng is None else rng
        tokens, was_training = list(tokens), self.training
        self.eval()
        try:
            with suan.no_grad():
                for _ in range(n):
                    context = suan.tensor([tokens[-self.config.block :]], dtype=suan.int64)
                    scores = self(context)[0, -1].numpy().astype(np.float64)
                    tokens.append(_draw(scores, temperature, top_k, rng))
        finally:
            self.train(was_training)
        return tokens


def _draw(scores, temperature, top_k, rng):
    if temperature == 0:
        return int(scores.argmax())
    scores = scores / temperature
    if top_k is not None and top_k < len(scores):
        scores[scores < sorted(scores)[-top_k]] = -float("inf")
    weights = math.e ** (scores - scores.max())
    edge = rng.random() * weights.sum()
    return int(min(weights.cumsum().searchsorted(edge, side="right"), len(weights) - 1))
