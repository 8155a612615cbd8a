"""Models whose inference is measured, written once for the libraries that have torch's names: build(case, nn, F)."""

import numpy as np

#: case: (what, input)
CASES = {
    "resnet50": ("ResNet-50, one picture of 224×224, inference", lambda rng: rng.standard_normal((1, 3, 224, 224), dtype=np.float32)),
    "bert": ("BERT-base, 128 tokens, inference", lambda rng: rng.integers(0, 30522, (1, 128))),
    "gpt2_tokens": ("GPT-2 124M, 128 tokens, inference", lambda rng: rng.integers(0, 50257, (1, 128))),
}


def batch(case):
    return CASES[case][1](np.random.default_rng(7))


def build(case, nn, F):
    class Bottleneck(nn.Module):
        def __init__(self, inputs, width, stride):
            super().__init__()
            outputs = 4 * width
            self.conv1, self.norm1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
            self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
            self.norm2 = nn.BatchNorm2d(width)
            self.conv3, self.norm3 = nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
            self.shortcut = None
            if stride != 1 or inputs != outputs:
                self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
                self.shortcut_norm = nn.BatchNorm2d(outputs)

        def forward(self, x):
            y = F.relu(self.norm1(self.conv1(x)))
            y = F.relu(self.norm2(self.conv2(y)))
            y = self.norm3(self.conv3(y))
            return F.relu(y + (x if self.shortcut is None else self.shortcut_norm(self.shortcut(x))))

    class ResNet50(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.norm = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
            layers, inputs = [], 64
            for width, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
                for i in range(count):
                    layers.append(Bottleneck(inputs, width, stride if i == 0 else 1))
                    inputs = 4 * width
            self.layers, self.head = nn.Sequential(*layers), nn.Linear(2048, 1000)

        def forward(self, x):
            x = F.max_pool2d(F.relu(self.norm(self.stem(x))), 3, 2, 1)
            return self.head(self.layers(x).mean((2, 3)))

    class Attention(nn.Module):
        def __init__(self, width, heads, causal):
            super().__init__()
            self.heads, self.causal = heads, causal
            self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

        def forward(self, x):
            batch, seq, width = x.shape
            qkv = self.qkv(x).view(batch, seq, 3, self.heads, width // self.heads)
            q, k, v = (qkv[:, :, i].transpose(1, 2) for i in range(3))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
            return self.out(y.transpose(1, 2).reshape(batch, seq, width))

    class Block(nn.Module):
        """With the norms before what they norm (GPT-2), or after (BERT)."""

        def __init__(self, width, heads, causal):
            super().__init__()
            self.before = causal
            self.attention = Attention(width, heads, causal)
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x):
            if self.before:
                x = x + self.attention(self.norm1(x))
                return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))
            x = self.norm1(x + self.attention(x))
            return self.norm2(x + self.down(F.gelu(self.up(x))))

    class Transformer(nn.Module):
        def __init__(self, vocab, block, causal):
            super().__init__()
            self.token, self.position = nn.Embedding(vocab, 768), nn.Embedding(block, 768)
            self.blocks = nn.Sequential(*[Block(768, 12, causal) for _ in range(12)])
            self.norm = nn.LayerNorm(768)
            self.head = nn.Linear(768, vocab, bias=False) if causal else None

        def forward(self, tokens):
            x = self.token(tokens) + self.position.weight[:tokens.shape[1]]
            if self.head is None:
                return self.blocks(self.norm(x))
            return self.head(self.norm(self.blocks(x)))

    if case == "resnet50":
        return ResNet50()
    return Transformer(30522, 512, False) if case == "bert" else Transformer(50257, 1024, True)
