"""Layers and functions of nn as programs that run under torch's names: make_layers.py runs them in PyTorch and
keeps what comes out, test_layers.py runs them in Suan.

A case is `make(T, nn, F)`, which gives a module or a function, and its inputs: a shape (normal numbers that take
a gradient), an array (taken as it is; a floating one takes no gradient), or Grad(array). Every number comes from
a generator seeded by the case's name, so that only results need keeping.
"""

import zlib

import numpy as np

CASES = {}


class Grad:
    """An input that takes a gradient and is not normally distributed."""

    def __init__(self, array):
        self.array = np.asarray(array, np.float64)


class Case:
    def __init__(self, name, make, inputs, twice=True, compiled=True):
        self.name, self.make, self.specs, self.twice, self.compiled = name, make, inputs, twice, compiled

    def build(self, T, nn, F, dtype):
        """(call, inputs, parameters by name): the layer with its weights drawn anew, and its inputs."""
        rng = np.random.RandomState(zlib.crc32(self.name.encode()))
        call, inputs, parameters = self.make(T, nn, F), [], {}
        if isinstance(call, nn.Module):
            call = call.to(dtype)
            for name, p in call.named_parameters():
                parameters[name] = p
                with T.no_grad():
                    p.copy_(T.tensor(rng.standard_normal(tuple(p.shape)) * 0.5))
        for spec in self.specs:
            if isinstance(spec, tuple):
                spec = Grad(rng.standard_normal(spec))
            if isinstance(spec, Grad):
                inputs.append(T.tensor(spec.array, dtype=dtype).requires_grad_())
            elif isinstance(spec, np.ndarray):
                inputs.append(T.tensor(spec, dtype=dtype) if spec.dtype.kind == "f" else T.tensor(spec))
            else:
                inputs.append(spec)
        return call, inputs, parameters

    def weights(self, T, outputs, dtype):
        """Numbers that make a loss of the floating outputs, so that every element's gradient is another."""
        rng = np.random.RandomState(zlib.crc32(self.name.encode()) ^ 1)
        return [T.tensor(rng.standard_normal(tuple(o.shape)), dtype=dtype) for o in outputs if o.requires_grad]

    def run(self, T, nn, F, dtype):
        """{name: array} of outputs, gradients, and gradients of the squared gradients' sum."""
        call, inputs, parameters = self.build(T, nn, F, dtype)
        outputs = flat(call(*inputs))
        found = {f"out{i}": o for i, o in enumerate(outputs)}
        leaves = {f"in{i}": x for i, x in enumerate(inputs) if getattr(x, "requires_grad", False)}
        leaves.update(parameters)
        if not leaves or not any(o.requires_grad for o in outputs):
            return {k: (v.detach() + 0).numpy() for k, v in found.items()}  # + 0: torch has zeros without memory
        loss = weighted(outputs, self.weights(T, outputs, dtype))
        first = T.autograd.grad(loss, list(leaves.values()), create_graph=self.twice,
                                allow_unused=True)
        found.update({f"d {k}": g for k, g in zip(leaves, first) if g is not None})
        if self.twice:
            total = sum((g * g).sum() for g in first if g is not None)
            if total.requires_grad:
                try:
                    second = T.autograd.grad(total, list(leaves.values()), allow_unused=True)
                except RuntimeError as error:  # torch lacks some second derivatives
                    if "not implemented" not in str(error):
                        raise
                    second = ()
                found.update({f"dd {k}": g for k, g in zip(leaves, second) if g is not None})
        return {k: (v.detach() + 0).numpy() for k, v in found.items()}  # + 0: torch has zeros without memory


def flat(outputs):
    """The tensors of nested tuples and lists, in order."""
    if outputs is None:
        return []
    if isinstance(outputs, (tuple, list)):
        return [t for o in outputs for t in flat(o)]
    return [outputs]


def weighted(outputs, weights):
    flowing = [o for o in outputs if o.requires_grad]
    return sum((o * w).sum() for o, w in zip(flowing, weights))


def case(name, make, *inputs, **options):
    assert name not in CASES, name
    CASES[name] = Case(name, make, inputs, **options)


# ---- recurrent -------------------------------------------------------------------------------------------

case("rnn tanh", lambda T, nn, F: nn.RNN(3, 4), (5, 2, 3))
case("rnn relu, 2 layers, batch first", lambda T, nn, F: nn.RNN(3, 4, 2, "relu", batch_first=True), (2, 5, 3))
case("rnn both ways with a state", lambda T, nn, F: nn.RNN(3, 4, bidirectional=True), (5, 2, 3), (2, 2, 4))
case("rnn no bias, no batch", lambda T, nn, F: nn.RNN(3, 4, bias=False), (5, 3), (1, 4))
case("lstm", lambda T, nn, F: nn.LSTM(3, 4), (5, 2, 3))
case("lstm 2 layers both ways, batch first", lambda T, nn, F: nn.LSTM(3, 4, 2, batch_first=True, bidirectional=True),
     (2, 5, 3))


def _with_pair(build):
    """A module that takes its state as two inputs."""

    def make(T, nn, F):
        class Pair(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = build(nn)

            def forward(self, x, h, c):
                return self.inner(x, (h, c))

        return Pair()

    return make


case("lstm with a state", _with_pair(lambda nn: nn.LSTM(3, 4, 2)), (5, 2, 3), (2, 2, 4), (2, 2, 4))
case("lstm projected, both ways", _with_pair(lambda nn: nn.LSTM(3, 4, 2, bidirectional=True, proj_size=2)),
     (4, 2, 3), (4, 2, 2), (4, 2, 4))
case("lstm no bias, no batch", _with_pair(lambda nn: nn.LSTM(3, 4, bias=False, batch_first=True)),
     (5, 3), (1, 4), (1, 4))
case("lstm one step", lambda T, nn, F: nn.LSTM(3, 4), (1, 2, 3))
case("gru", lambda T, nn, F: nn.GRU(3, 4), (5, 2, 3))
case("gru 2 layers both ways, batch first", lambda T, nn, F: nn.GRU(3, 4, 2, batch_first=True, bidirectional=True),
     (2, 5, 3), (4, 2, 4))
case("gru no bias, no batch", lambda T, nn, F: nn.GRU(3, 4, bias=False), (5, 3))
case("rnn cell", lambda T, nn, F: nn.RNNCell(3, 4), (2, 3), (2, 4))
case("rnn cell relu, no bias", lambda T, nn, F: nn.RNNCell(3, 4, bias=False, nonlinearity="relu"), (2, 3))
case("lstm cell", _with_pair(lambda nn: nn.LSTMCell(3, 4)), (2, 3), (2, 4), (2, 4))
case("lstm cell, no batch", lambda T, nn, F: nn.LSTMCell(3, 4), (3,))
case("gru cell", lambda T, nn, F: nn.GRUCell(3, 4), (2, 3), (2, 4))
case("gru cell no bias, no batch", lambda T, nn, F: nn.GRUCell(3, 4, bias=False), (3,), (4,))
for side in ("right", "left"):
    case(f"pad sequence {side}", lambda T, nn, F, side=side: lambda a, b, c: nn.utils.rnn.pad_sequence(
        [a, b, c], side == "left", 2.5, side), (2, 3), (4, 3), (1, 3))
case("unpad sequence", lambda T, nn, F: lambda x: nn.utils.rnn.unpad_sequence(x, T.tensor([2, 4, 1]), True), (3, 4, 2),
     compiled=False)

# ---- attention, transformers -------------------------------------------------------------------------------

CAUSAL = np.triu(np.ones((4, 4), bool), 1)
PADDED = np.array([[False, False, False, True], [False, False, False, False]])
PADDED_BY = np.where(PADDED, -np.inf, 0.0)
ADDED = np.random.RandomState(5).standard_normal((4, 4))


def _attention(options, **call):
    """MultiheadAttention with its masks (arrays) as buffers and the other arguments of the call."""

    def make(T, nn, F):
        class Attend(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = nn.MultiheadAttention(**options)
                for key, value in call.items():
                    if isinstance(value, np.ndarray):
                        self.register_buffer(key, T.tensor(value))

            def forward(self, q, k=None, v=None):
                given = {key: getattr(self, key) if isinstance(value, np.ndarray) else value
                         for key, value in call.items()}
                k = q if k is None else k
                return self.inner(q, k, k if v is None else v, **given)

        return Attend()

    return make


HEADS = {"embed_dim": 6, "num_heads": 2}
case("attention to itself", _attention(HEADS), (4, 2, 6))
case("attention without weights", _attention(HEADS, need_weights=False), (4, 2, 6))
case("attention batch first, weights by head",
     _attention({**HEADS, "batch_first": True}, average_attn_weights=False), (2, 4, 6), (2, 3, 6))
case("attention no batch, no bias", _attention({**HEADS, "bias": False}), (4, 6), (3, 6), (3, 6))
case("attention kdim, vdim", _attention({**HEADS, "kdim": 3, "vdim": 5}), (4, 2, 6), (3, 2, 3), (3, 2, 5))
case("attention bool masks", _attention(HEADS, attn_mask=CAUSAL, key_padding_mask=PADDED), (4, 2, 6))
case("attention bool masks without weights",
     _attention(HEADS, attn_mask=CAUSAL, key_padding_mask=PADDED, need_weights=False), (4, 2, 6))
case("attention causal", _attention(HEADS, attn_mask=CAUSAL, is_causal=True, need_weights=False), (4, 2, 6))
case("attention added mask and padding", _attention(HEADS, attn_mask=ADDED, key_padding_mask=PADDED_BY), (4, 2, 6))
case("attention added mask without weights", _attention(HEADS, attn_mask=ADDED, need_weights=False), (4, 2, 6))
case("attention mask by head",
     _attention({**HEADS, "batch_first": True}, attn_mask=np.random.RandomState(6).standard_normal((4, 4, 4)),
                need_weights=False), (2, 4, 6))
case("attention added keys", _attention({**HEADS, "add_bias_kv": True, "add_zero_attn": True}, attn_mask=CAUSAL,
                                        key_padding_mask=PADDED), (4, 2, 6))
case("attention added keys without weights",
     _attention({**HEADS, "add_bias_kv": True, "batch_first": True}, attn_mask=CAUSAL, need_weights=False),
     (2, 4, 6))

SMALL = {"d_model": 6, "nhead": 2, "dim_feedforward": 5, "dropout": 0.0}
case("encoder layer", lambda T, nn, F: nn.TransformerEncoderLayer(**SMALL), (4, 2, 6))
case("encoder layer norm first, gelu, masks",
     lambda T, nn, F: nn.TransformerEncoderLayer(**SMALL, activation="gelu", batch_first=True, norm_first=True),
     (2, 4, 6), CAUSAL, PADDED)
case("encoder layer no bias", lambda T, nn, F: nn.TransformerEncoderLayer(**SMALL, bias=False), (4, 2, 6))
case("decoder layer", lambda T, nn, F: nn.TransformerDecoderLayer(**SMALL), (4, 2, 6), (3, 2, 6), CAUSAL)
case("decoder layer norm first",
     lambda T, nn, F: nn.TransformerDecoderLayer(**SMALL, batch_first=True, norm_first=True, activation=F.gelu),
     (2, 4, 6), (2, 4, 6), CAUSAL, None, None, PADDED)
case("encoder", lambda T, nn, F: nn.TransformerEncoder(nn.TransformerEncoderLayer(**SMALL), 2, nn.LayerNorm(6),
                                                       enable_nested_tensor=False),
     (4, 2, 6), CAUSAL)
case("decoder", lambda T, nn, F: nn.TransformerDecoder(nn.TransformerDecoderLayer(**SMALL), 2), (4, 2, 6), (3, 2, 6))
case("transformer", lambda T, nn, F: nn.Transformer(6, 2, 1, 2, 5, 0.0, batch_first=True), (2, 3, 6), (2, 4, 6),
     None, CAUSAL)

# ---- transposed convolutions, padding ------------------------------------------------------------------------

case("conv transpose 1d", lambda T, nn, F: nn.ConvTranspose1d(3, 4, 3, stride=2, padding=1, output_padding=1), (2, 3, 5))
case("conv transpose 2d", lambda T, nn, F: nn.ConvTranspose2d(4, 6, (3, 2), (2, 3), (1, 0), (1, 2), 2, True, (1, 2)),
     (2, 4, 3, 4))
case("conv transpose 2d beyond the stride", lambda T, nn, F: nn.ConvTranspose2d(2, 3, 2, 1, 0, 1, dilation=2, bias=False),
     (2, 2, 3, 3))
case("conv transpose 3d, no batch", lambda T, nn, F: nn.ConvTranspose3d(2, 3, 2, stride=2), (2, 2, 3, 2))
case("conv transpose with an output size", lambda T, nn, F: nn.ConvTranspose2d(2, 3, 3, stride=3), (1, 2, 2, 3),
     [8, 9])
for mode in ("reflect", "replicate", "circular"):
    case(f"conv padded by {mode}", lambda T, nn, F, mode=mode: nn.Conv2d(2, 3, 3, padding=(1, 2), padding_mode=mode),
         (1, 2, 4, 5))
case("circular pad", lambda T, nn, F: nn.CircularPad2d((1, 2, 3, 0)), (1, 2, 4, 3))
case("reflection pad", lambda T, nn, F: nn.ReflectionPad1d(2), (1, 2, 5))
case("constant pad", lambda T, nn, F: nn.ConstantPad2d((1, 0, -1, 2), 3.5), (1, 2, 4, 3))

# ---- images -----------------------------------------------------------------------------------------------------

case("pixel shuffle", lambda T, nn, F: nn.PixelShuffle(2), (2, 8, 3, 2))
case("pixel unshuffle", lambda T, nn, F: nn.PixelUnshuffle(3), (2, 6, 3))
case("channel shuffle", lambda T, nn, F: nn.ChannelShuffle(2), (1, 6, 2, 2))
case("unfold", lambda T, nn, F: nn.Unfold((2, 3), (1, 2), (1, 0), (2, 1)), (2, 3, 5, 6))
case("unfold, no batch", lambda T, nn, F: nn.Unfold(2), (3, 4, 4))
case("fold", lambda T, nn, F: nn.Fold((5, 6), (2, 3), (1, 2), (1, 0), (2, 1)), (2, 18, 6))
case("adaptive average 1d", lambda T, nn, F: nn.AdaptiveAvgPool1d(3), (2, 2, 7))
case("adaptive average 3d", lambda T, nn, F: nn.AdaptiveAvgPool3d((2, None, 3)), (2, 2, 5, 3, 4))

SHAPES = {1: (2, 2, 5), 2: (2, 2, 5, 4), 3: (1, 2, 3, 4, 3)}
for mode, ranks in {"nearest": (1, 2, 3), "nearest-exact": (1, 2, 3), "area": (1, 2, 3), "linear": (1,),
                    "bilinear": (2,), "bicubic": (2,), "trilinear": (3,)}.items():
    for n in ranks:
        for what, options in {"up": {"size": (11, 9, 7)[:n]}, "down": {"size": (2, 3, 1)[:n]},
                              "scale": {"scale_factor": 1.7}}.items():
            for corners in (None, True) if "linear" in mode or "cubic" in mode else (None,):
                case(f"interpolate {mode} {n} {what}{' corners' if corners else ''}",
                     lambda T, nn, F, o={**options, "mode": mode, "align_corners": corners}:
                     lambda x: F.interpolate(x, **o), SHAPES[n])
case("interpolate recomputed scale", lambda T, nn, F: nn.Upsample(
    scale_factor=(1.7, 0.6), mode="bilinear", recompute_scale_factor=True), (1, 2, 5, 4))
case("upsample twice", lambda T, nn, F: nn.UpsamplingBilinear2d(scale_factor=2), (1, 2, 3, 4))

for mode in ("bilinear", "nearest", "bicubic"):
    for outside in ("zeros", "border", "reflection"):
        for corners in (False, True):
            case(f"grid sample {mode} {outside}{' corners' if corners else ''}",
                 lambda T, nn, F, o=(mode, outside, corners): lambda x, g: F.grid_sample(x, g, *o),
                 (2, 2, 4, 5), (2, 3, 4, 2))
case("grid sample of a volume", lambda T, nn, F: lambda x, g: F.grid_sample(x, g, "bilinear", "border", False),
     (2, 2, 3, 4, 5), (2, 2, 3, 2, 3))
for corners in (False, True):
    case(f"affine grid{' corners' if corners else ''}",
         lambda T, nn, F, c=corners: lambda theta: F.affine_grid(theta, (2, 3, 4, 5), c), (2, 2, 3))
case("affine grid of a volume", lambda T, nn, F: lambda theta: F.affine_grid(theta, (1, 3, 2, 4, 3), False), (1, 3, 4))

# ---- activations, norms, embedding bags ----------------------------------------------------------------------

WIDE = np.random.RandomState(3).standard_normal((4, 6)) * 3
for name in ("Hardswish", "Hardsigmoid", "Mish", "Softsign", "Tanhshrink", "SELU", "CELU", "Hardshrink", "Softshrink",
             "Hardtanh", "ReLU6"):
    case(name, lambda T, nn, F, name=name: getattr(nn, name)(), Grad(WIDE))
case("celu 0.3", lambda T, nn, F: nn.CELU(0.3), Grad(WIDE * 100))
case("threshold", lambda T, nn, F: nn.Threshold(0.5, -2.0), Grad(WIDE))
case("softmin", lambda T, nn, F: nn.Softmin(1), Grad(WIDE))
case("softmax 2d", lambda T, nn, F: nn.Softmax2d(), (2, 3, 2, 2))
case("prelu one", lambda T, nn, F: nn.PReLU(), Grad(WIDE))
case("prelu by channel", lambda T, nn, F: nn.PReLU(3), (2, 3, 4))
case("rrelu in evaluation", lambda T, nn, F: lambda x: F.rrelu(x), Grad(WIDE))
case("glu", lambda T, nn, F: nn.GLU(0), Grad(WIDE))


def _running(build, batches=0, evaluate=False):
    """A norm that has seen so many batches, and whose running statistics are outputs too."""

    def make(T, nn, F):
        class Norm(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = build(nn)
                for seed in range(batches):
                    self.inner(T.tensor(np.random.RandomState(9 + seed).standard_normal((4, 3, 5)), dtype=T.float32))
                self.inner.train(not evaluate)

            def forward(self, x):
                out = self.inner(x)
                return out, self.inner.running_mean.clone(), self.inner.running_var.clone()

        return Norm()

    return make


case("instance norm 1d", lambda T, nn, F: nn.InstanceNorm1d(3), (2, 3, 5))
case("instance norm 1d, no batch", lambda T, nn, F: nn.InstanceNorm1d(3, affine=True), (3, 5))
case("instance norm 2d", lambda T, nn, F: nn.InstanceNorm2d(3, affine=True, eps=0.1), (2, 3, 4, 3))
case("instance norm 3d", lambda T, nn, F: nn.InstanceNorm3d(2), (2, 2, 2, 3, 2))
case("instance norm with running statistics",
     _running(lambda nn: nn.InstanceNorm1d(3, track_running_stats=True, momentum=0.3)), (2, 3, 5))
case("instance norm in evaluation", _running(lambda nn: nn.InstanceNorm1d(3, track_running_stats=True), 1, True),
     (2, 3, 5))
for batches in (1, 3):
    case(f"batch norm of no momentum, {batches} batches", _running(lambda nn: nn.BatchNorm1d(3, momentum=None), batches),
         (2, 3, 5))
case("instance norm of no momentum",
     _running(lambda nn: nn.InstanceNorm1d(3, track_running_stats=True, momentum=None)), (2, 3, 5))
case("batch norm 3d", lambda T, nn, F: nn.BatchNorm3d(2), (2, 2, 2, 3, 2))
case("max pool 3d", lambda T, nn, F: nn.MaxPool3d(2), (1, 2, 4, 4, 2))
for rank, size, shape in ((1, 3, (2, 2, 7)), (1, 4, (3, 8)), (2, (2, None), (2, 2, 5, 3)), (2, (3, 4), (1, 2, 7, 6)),
                          (2, 2, (1, 2, 4, 6)), (2, 5, (2, 3, 4)), (3, (2, 3, None), (1, 2, 3, 4, 2))):
    case(f"adaptive maximum {rank}, {size} of {shape}", lambda T, nn, F, n=rank, s=size: getattr(
        nn, f"AdaptiveMaxPool{n}d")(s, return_indices=True), shape)
case("adaptive maximum of equal values", lambda T, nn, F: lambda x: F.adaptive_max_pool2d(x, (2, 3), True),
     Grad(np.zeros((1, 1, 3, 5))))


def _unpooled(rank, *window, **options):
    """What is pooled, doubled and put back."""

    def make(T, nn, F):
        pool, unpool = (getattr(nn, f"Max{kind}{rank}d") for kind in ("Pool", "Unpool"))

        class Both(nn.Module):
            def __init__(self):
                super().__init__()
                self.pool, self.unpool = pool(*window, return_indices=True), unpool(*window)

            def forward(self, x):
                values, places = self.pool(x)
                return self.unpool(values * values, places, **options)

        return Both()

    return make


case("max unpool 1d", _unpooled(1, 2), (2, 3, 6))
case("max unpool 1d, no batch, another size", _unpooled(1, 2, output_size=(7,)), (3, 7))
case("max unpool 2d", _unpooled(2, (2, 3)), (2, 2, 4, 6))
case("max unpool 2d, stride and padding", _unpooled(2, 2, 3, 1, output_size=(1, 2, 5, 7)), (1, 2, 5, 7))
case("max unpool 3d", _unpooled(3, 2), (1, 2, 4, 2, 4))
case("lp pool 1d", lambda T, nn, F: nn.LPPool1d(3, 2), Grad(np.random.RandomState(2).rand(2, 3, 7) + 0.1))
case("lp pool 2d", lambda T, nn, F: nn.LPPool2d(1.5, (2, 3), 1, True),
     Grad(np.random.RandomState(2).rand(1, 2, 4, 4) + 0.1))
case("lp pool 3d", lambda T, nn, F: nn.LPPool3d(2, 2), (1, 2, 4, 3, 2))
case("local response norm", lambda T, nn, F: nn.LocalResponseNorm(3, 0.5, 0.6, 1.5), (2, 5, 3, 2))
case("local response norm, even size, 1d", lambda T, nn, F: nn.LocalResponseNorm(4, 1.0), (2, 6, 3))
case("local response norm 3d", lambda T, nn, F: nn.LocalResponseNorm(2), (1, 3, 2, 2, 2))
case("avg pool 3d", lambda T, nn, F: nn.AvgPool3d(2, 1, 1), (1, 2, 3, 4, 2))

BAGS = np.random.RandomState(4).randint(0, 7, (3, 4))
for mode in ("sum", "mean", "max"):
    case(f"embedding bag {mode}", lambda T, nn, F, mode=mode: nn.EmbeddingBag(7, 3, mode=mode), BAGS)
    case(f"embedding bag {mode} padded", lambda T, nn, F, mode=mode: nn.EmbeddingBag(7, 3, mode=mode, padding_idx=2),
         np.array([[2, 1, 2], [2, 2, 2], [0, 3, 6]]))
for mode in ("sum", "mean"):
    case(f"embedding bag {mode} by offsets", lambda T, nn, F, mode=mode: nn.EmbeddingBag(7, 3, mode=mode),
         BAGS.ravel(), np.array([0, 3, 3, 8]))
case("embedding bag with the last offset", lambda T, nn, F: nn.EmbeddingBag(7, 3, include_last_offset=True),
     BAGS.ravel(), np.array([0, 3, 8, 12]))
case("embedding bag weighted", lambda T, nn, F: lambda w, s: F.embedding_bag(
    T.tensor(BAGS), w, mode="sum", per_sample_weights=s), (7, 3), (3, 4), compiled=False)

# ---- losses ------------------------------------------------------------------------------------------------------

SIGNS = np.array([1.0, -1.0, -1.0, 1.0])
CHANCES = np.array([[0.1, 0.9, 0.5], [0.99, 0.3, 0.02]])
COUNTS = np.array([[0.0, 1.0, 4.0], [2.0, 7.0, 3.0]])


def loss_case(name, make, *inputs, reductions=("mean", "sum", "none"), **options):
    for reduction in reductions:
        case(f"{name} {reduction}", lambda T, nn, F: make(T, nn, F, reduction), *inputs, **options)


loss_case("bce", lambda T, nn, F, r: nn.BCELoss(reduction=r), Grad(CHANCES), CHANCES[::-1].copy())
loss_case("bce weighted", lambda T, nn, F, r: lambda x, y, w: F.binary_cross_entropy(x, y, w, reduction=r),
          Grad(CHANCES), CHANCES[::-1].copy(), COUNTS)
loss_case("margin ranking", lambda T, nn, F, r: nn.MarginRankingLoss(0.3, reduction=r), (4,), (4,), SIGNS)
loss_case("hinge embedding", lambda T, nn, F, r: nn.HingeEmbeddingLoss(0.7, reduction=r), (4,), SIGNS)
loss_case("cosine embedding", lambda T, nn, F, r: nn.CosineEmbeddingLoss(0.1, reduction=r), (4, 3), (4, 3), SIGNS)
loss_case("soft margin", lambda T, nn, F, r: nn.SoftMarginLoss(reduction=r), (4,), SIGNS)
loss_case("multilabel soft margin", lambda T, nn, F, r: nn.MultiLabelSoftMarginLoss(reduction=r), (2, 3),
          np.array([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]]))
loss_case("multi margin", lambda T, nn, F, r: nn.MultiMarginLoss(reduction=r), (3, 4), np.array([0, 3, 1]))
loss_case("multi margin squared", lambda T, nn, F, r: nn.MultiMarginLoss(2, 0.5, T.tensor([1.0, 2.0, 0.5, 1.0]),
                                                                         reduction=r),
          (3, 4), np.array([0, 3, 1]), twice=False)
loss_case("multilabel margin", lambda T, nn, F, r: nn.MultiLabelMarginLoss(reduction=r), (3, 4),
          np.array([[3, 0, -1, 1], [-1, 2, 2, 2], [1, 1, 2, 0]]), twice=False)
case("multilabel margin of one row", lambda T, nn, F: F.multilabel_margin_loss, (4,), np.array([2, 0, -1, 0]),
     twice=False)
loss_case("triplet", lambda T, nn, F, r: nn.TripletMarginLoss(reduction=r), (3, 4), (3, 4), (3, 4))
loss_case("triplet swapped, p 1", lambda T, nn, F, r: nn.TripletMarginLoss(0.5, 1.0, swap=True, reduction=r),
          (3, 4), (3, 4), (3, 4))
loss_case("triplet by another distance", lambda T, nn, F, r: nn.TripletMarginWithDistanceLoss(
    distance_function=lambda a, b: 1 - F.cosine_similarity(a, b), reduction=r), (3, 4), (3, 4), (3, 4))
loss_case("gaussian", lambda T, nn, F, r: nn.GaussianNLLLoss(full=True, reduction=r), (2, 3), (2, 3),
          Grad(CHANCES + 0.5))
case("gaussian, one variance a row, too small", lambda T, nn, F: nn.GaussianNLLLoss(eps=0.2), (2, 3), (2, 3),
     Grad(CHANCES[:, :1]))
loss_case("poisson", lambda T, nn, F, r: nn.PoissonNLLLoss(full=True, reduction=r), (2, 3), COUNTS)
loss_case("poisson of no logarithm", lambda T, nn, F, r: nn.PoissonNLLLoss(False, reduction=r), Grad(CHANCES), COUNTS)
case("cosine similarity", lambda T, nn, F: nn.CosineSimilarity(), (3, 4, 2), (3, 4, 2))
case("pairwise distance", lambda T, nn, F: nn.PairwiseDistance(3.0, keepdim=True), (3, 4), (3, 4))


def _ctc(**options):
    return lambda T, nn, F, r: lambda x, y, i, o: F.ctc_loss(F.log_softmax(x, -1), y, i, o, reduction=r, **options)


loss_case("ctc", _ctc(), (7, 3, 5), np.array([[1, 2, 2, 4], [3, 1, 0, 0], [4, 4, 1, 0]]), np.array([7, 5, 6]),
          np.array([4, 2, 3]), twice=False)
loss_case("ctc in one row, blank 2", _ctc(blank=2), (6, 3, 4), np.array([1, 3, 3, 0, 1]), np.array([6, 6, 4]),
          np.array([3, 0, 2]), twice=False, compiled=False)
loss_case("ctc with one that does not fit", _ctc(zero_infinity=True), (3, 2, 4), np.array([[1, 1, 1], [1, 2, 3]]),
          np.array([3, 3]), np.array([3, 3]), twice=False)
loss_case("ctc, no batch", _ctc(), (5, 4), np.array([1, 2, 1]), np.array(5), np.array(3), twice=False)

# ---- batch norms folded into what is before them -----------------------------------------------------------


def _fused(layer, norm, fold, bias=True, **options):
    """Layer and norm (with statistics of its own), folded; and the two one after the other."""

    def make(T, nn, F):
        first = getattr(nn, layer)(3, 4, *((2,) if "Conv" in layer else ()), bias=bias, **options)
        second = getattr(nn, norm)(4, affine=bias)
        numbers = np.random.RandomState(8)
        with T.no_grad():
            for p in (*first.parameters(), *second.parameters(), second.running_mean):
                p.copy_(T.tensor(numbers.standard_normal(tuple(p.shape))))
            second.running_var.copy_(T.tensor(numbers.rand(4) + 0.5))
        both = nn.Sequential(first, second).double().eval()
        more = (True,) if "Transpose" in layer else ()
        one = getattr(nn.utils, fold)(both[0], both[1], *more)

        def run(x):
            with T.no_grad():
                return one(x), both(x), one.weight, one.bias

        return run

    return make


X2 = np.random.RandomState(12).standard_normal((2, 3, 4, 5))
case("conv and batch norm in one", _fused("Conv2d", "BatchNorm2d", "fuse_conv_bn_eval"), X2)
case("conv and batch norm in one, no bias", _fused("Conv2d", "BatchNorm2d", "fuse_conv_bn_eval", False), X2)
case("transposed conv and batch norm in one", _fused("ConvTranspose2d", "BatchNorm2d", "fuse_conv_bn_eval"), X2)
case("linear and batch norm in one", _fused("Linear", "BatchNorm1d", "fuse_linear_bn_eval"), X2[0, :, :, 0].T.copy())
