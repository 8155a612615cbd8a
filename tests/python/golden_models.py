"""Three models of the transformers library in Suan, with its parameter names, for the golden
answers."""

import suan
from suan import nn
from suan.nn import functional as F


class Conv1D(nn.Module):
    """GPT-2's linear layer, its weight [in, out]."""

    def __init__(self, out, width):
        super().__init__()
        self.weight = nn.Parameter(suan.zeros(width, out))
        self.bias = nn.Parameter(suan.zeros(out))

    def forward(self, x):
        return x @ self.weight + self.bias


class Named(nn.Module):
    """A module made of its named children."""

    def __init__(self, /, **children):
        super().__init__()
        for name, child in children.items():
            setattr(self, name, child)


def attend(q, k, v, heads, **options):
    batch, seq, width = q.shape
    q, k, v = (t.view(batch, seq, heads, width // heads).transpose(1, 2) for t in (q, k, v))
    y = F.scaled_dot_product_attention(q, k, v, **options)
    return y.transpose(1, 2).reshape(batch, seq, width)


class GPT2(nn.Module):
    heads = 4

    def __init__(self, vocab=128, positions=32, width=64, layers=2):
        super().__init__()
        blocks = [
            Named(
                ln_1=nn.LayerNorm(width),
                ln_2=nn.LayerNorm(width),
                attn=Named(c_attn=Conv1D(3 * width, width), c_proj=Conv1D(width, width)),
                mlp=Named(c_fc=Conv1D(4 * width, width), c_proj=Conv1D(width, 4 * width)),
            )
            for _ in range(layers)
        ]
        self.transformer = Named(
            wte=nn.Embedding(vocab, width),
            wpe=nn.Embedding(positions, width),
            h=nn.ModuleList(blocks),
            ln_f=nn.LayerNorm(width),
        )

    def loss(self, input_ids):
        t = self.transformer
        x = t.wte(input_ids) + t.wpe(suan.arange(input_ids.shape[1]))
        for block in t.h:
            q, k, v = block.attn.c_attn(block.ln_1(x)).split(x.shape[-1], dim=2)
            x = x + block.attn.c_proj(attend(q, k, v, self.heads, is_causal=True))
            x = x + block.mlp.c_proj(F.gelu(block.mlp.c_fc(block.ln_2(x)), "tanh"))
        scores = F.linear(t.ln_f(x), t.wte.weight)[:, :-1]
        return F.cross_entropy(scores.reshape(-1, scores.shape[-1]), input_ids[:, 1:].reshape(-1))


class Bert(nn.Module):
    heads = 4

    def __init__(self, vocab=128, positions=32, width=64, inner=128, layers=2, classes=3):
        super().__init__()

        def norm():
            return nn.LayerNorm(width, eps=1e-12)

        def layer():
            return Named(
                attention=Named(
                    self=Named(**{n: nn.Linear(width, width) for n in ("query", "key", "value")}),
                    output=Named(dense=nn.Linear(width, width), LayerNorm=norm()),
                ),
                intermediate=Named(dense=nn.Linear(width, inner)),
                output=Named(dense=nn.Linear(inner, width), LayerNorm=norm()),
            )

        self.bert = Named(
            embeddings=Named(
                word_embeddings=nn.Embedding(vocab, width),
                position_embeddings=nn.Embedding(positions, width),
                token_type_embeddings=nn.Embedding(2, width),
                LayerNorm=norm(),
            ),
            encoder=Named(layer=nn.ModuleList([layer() for _ in range(layers)])),
            pooler=Named(dense=nn.Linear(width, width)),
        )
        self.classifier = nn.Linear(width, classes)

    def loss(self, input_ids, attention_mask, labels):
        e = self.bert.embeddings
        x = e.word_embeddings(input_ids) + e.position_embeddings(suan.arange(input_ids.shape[1]))
        x = e.LayerNorm(x + e.token_type_embeddings(suan.zeros_like(input_ids)))
        mask = (attention_mask != 0)[:, None, None, :]
        for layer in self.bert.encoder.layer:
            a = layer.attention
            own = a.get_submodule("self")
            y = attend(own.query(x), own.key(x), own.value(x), self.heads, attn_mask=mask)
            x = a.output.LayerNorm(a.output.dense(y) + x)
            y = layer.output.dense(F.gelu(layer.intermediate.dense(x)))
            x = layer.output.LayerNorm(y + x)
        return F.cross_entropy(self.classifier(suan.tanh(self.bert.pooler.dense(x[:, 0]))), labels)


class ConvNorm(nn.Module):
    def __init__(self, inputs, outputs, kernel, stride=1, relu=True):
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.normalization = nn.BatchNorm2d(outputs)
        self.relu = relu

    def forward(self, x):
        x = self.normalization(self.convolution(x))
        return F.relu(x) if self.relu else x


class ResNet(nn.Module):
    def __init__(self, stem=8, widths=(8, 16, 24), classes=4):
        super().__init__()
        stages, inputs = [], stem
        for i, width in enumerate(widths):
            stride = 1 if i == 0 else 2
            block = Named(
                layer=nn.Sequential(
                    ConvNorm(inputs, width, 3, stride), ConvNorm(width, width, 3, relu=False)
                )
            )
            if inputs != width or stride != 1:
                block.shortcut = ConvNorm(inputs, width, 1, stride, relu=False)
            stages.append(Named(layers=nn.ModuleList([block])))
            inputs = width
        self.resnet = Named(
            embedder=Named(embedder=ConvNorm(3, stem, 7, 2)),
            encoder=Named(stages=nn.ModuleList(stages)),
        )
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(widths[-1], classes))

    def loss(self, pixel_values, labels):
        x = F.max_pool2d(self.resnet.embedder.embedder(pixel_values), 3, 2, 1)
        for stage in self.resnet.encoder.stages:
            for block in stage.layers:
                rest = block.shortcut(x) if hasattr(block, "shortcut") else x
                x = F.relu(block.layer(x) + rest)
        return F.cross_entropy(self.classifier(F.adaptive_avg_pool2d(x, 1)), labels)
