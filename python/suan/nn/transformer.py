"""Multi-head attention and the transformer's layers (Vaswani et al. 2017), with torch's parameter names and
meanings of masks: in a bool mask True means "must not look", a floating one is added to the scores."""

import copy
import math

import suan

from . import functional as F
from . import init
from .containers import ModuleList
from .linear import Linear, _factory
from .module import Module
from .norm import Dropout, LayerNorm
from .parameter import Parameter


def _checked_mask(op, name, mask, shapes):
    if mask is None:
        return
    if not isinstance(mask, suan.Tensor) or not (mask.dtype == suan.bool or mask.is_floating_point()):
        got = f"{mask.dtype.name}" if isinstance(mask, suan.Tensor) else type(mask).__name__
        raise TypeError(f"[{op}] wrong type of {name}: expected a bool or floating Tensor, got {got}")
    if tuple(mask.shape) not in shapes:
        expected = " or ".join(str(s) for s in shapes)
        raise ValueError(f"[{op}] wrong shape of {name}: expected {expected}, got {tuple(mask.shape)}")


def _added(mask, dtype):
    """A mask as what is added to the scores."""
    if mask.dtype != suan.bool:
        return mask
    zero = suan.zeros((), dtype=dtype, device=mask.device)
    return suan.where(mask, zero + float("-inf"), zero)


class MultiheadAttention(Module):
    """softmax(q kᵀ / √width + masks) v by heads, between projections.

    Parameters: in_proj_weight [3 * embed_dim, embed_dim] (or q_, k_ and v_proj_weight when kdim or vdim differ),
    in_proj_bias, bias_k and bias_v (add_bias_kv), out_proj.
    """

    def __init__(
        self, embed_dim, num_heads, dropout=0.0, bias=True, add_bias_kv=False, add_zero_attn=False, kdim=None,
        vdim=None, batch_first=False, device=None, dtype=None,
    ):
        super().__init__()
        if embed_dim < 1 or num_heads < 1 or embed_dim % num_heads:
            raise ValueError(f"[MultiheadAttention] heads do not divide: expected embed_dim as a multiple of "
                             f"num_heads, got {embed_dim} and {num_heads}")
        self.embed_dim, self.num_heads, self.head_dim = embed_dim, num_heads, embed_dim // num_heads
        self.kdim, self.vdim = embed_dim if kdim is None else kdim, embed_dim if vdim is None else vdim
        self.dropout, self.batch_first, self.add_zero_attn = dropout, batch_first, add_zero_attn
        self._qkv_same_embed_dim = self.kdim == embed_dim == self.vdim
        options = _factory(device, dtype)
        shapes = {"in_proj_weight": (3 * embed_dim, embed_dim) if self._qkv_same_embed_dim else None}
        for key, width in (("q", embed_dim), ("k", self.kdim), ("v", self.vdim)):
            shapes[f"{key}_proj_weight"] = None if self._qkv_same_embed_dim else (embed_dim, width)
        shapes["in_proj_bias"] = (3 * embed_dim,) if bias else None
        shapes["bias_k"] = shapes["bias_v"] = (1, 1, embed_dim) if add_bias_kv else None
        for key, shape in shapes.items():
            self.register_parameter(key, None if shape is None else Parameter(suan.empty(*shape, **options)))
        self.out_proj = Linear(embed_dim, embed_dim, bias=bias, **options)
        self._reset_parameters()

    def _reset_parameters(self):
        for key in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
            if self._parameters[key] is not None:
                init.xavier_uniform_(self._parameters[key])
        if self.in_proj_bias is not None:
            init.zeros_(self.in_proj_bias)
            init.zeros_(self.out_proj.bias)
        if self.bias_k is not None:
            init.xavier_normal_(self.bias_k)
            init.xavier_normal_(self.bias_v)

    def _projected(self, query, key, value):
        bias = self.in_proj_bias
        if self._qkv_same_embed_dim and query is key and key is value:
            return F.linear(query, self.in_proj_weight, bias).chunk(3, -1)
        if self._qkv_same_embed_dim:
            weights = self.in_proj_weight.chunk(3, 0)
        else:
            weights = self.q_proj_weight, self.k_proj_weight, self.v_proj_weight
        biases = (None,) * 3 if bias is None else bias.chunk(3, 0)
        return [F.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases)]

    def _check(self, query, key, value):
        for name, t, width in (("query", query, self.embed_dim), ("key", key, self.kdim), ("value", value, self.vdim)):
            if not isinstance(t, suan.Tensor):
                raise TypeError(f"[MultiheadAttention] wrong type of {name}: expected Tensor, got {type(t).__name__}")
            if t.dim() not in (2, 3) or t.dim() != query.dim() or t.shape[-1] != width:
                raise ValueError(f"[MultiheadAttention] wrong shape of {name}: expected 2 or 3 dimensions as query, "
                                 f"the last of {width}, got {tuple(t.shape)}")
        if tuple(key.shape)[:-1] != tuple(value.shape)[:-1]:
            raise ValueError(f"[MultiheadAttention] key and value differ: expected equal lengths and batches, got "
                             f"{tuple(key.shape)} and {tuple(value.shape)}")

    def forward(self, query, key, value, key_padding_mask=None, need_weights=True, attn_mask=None,
                average_attn_weights=True, is_causal=False):
        """query [length, batch, embed_dim], key and value [keys, batch, kdim or vdim] ([batch, length, ..] with
        batch_first; both also without batch). key_padding_mask [batch, keys]; attn_mask [length, keys] or
        [batch * heads, length, keys]. is_causal says that attn_mask is the causal one.

        Returns the output, shaped as query, and with need_weights the weights [batch, length, keys], averaged over
        heads, or [batch, heads, length, keys]; None otherwise, which is faster.
        """
        self._check(query, key, value)
        if is_causal and attn_mask is None:
            raise ValueError("[MultiheadAttention] is_causal without a mask: expected attn_mask, got None")
        unbatched = query.dim() == 2
        same = query is key, key is value
        if unbatched:
            query = query.unsqueeze(0)
            key = query if same[0] else key.unsqueeze(0)
            value = key if same[1] else value.unsqueeze(0)
            if key_padding_mask is not None:
                key_padding_mask = key_padding_mask.unsqueeze(0)
        batch_at = 0 if unbatched or self.batch_first else 1
        batch, length, keys = query.shape[batch_at], query.shape[1 - batch_at], key.shape[1 - batch_at]
        if key.shape[batch_at] != batch:
            raise ValueError(f"[MultiheadAttention] wrong batch of key: expected {batch}, got {key.shape[batch_at]}")
        heads = self.num_heads
        _checked_mask("MultiheadAttention", "attn_mask", attn_mask, [(length, keys), (batch * heads, length, keys)])
        _checked_mask("MultiheadAttention", "key_padding_mask", key_padding_mask, [(batch, keys)])

        q, k, v = self._projected(query, key, value)
        extra = 0
        if self.bias_k is not None:
            shape = (batch, 1, self.embed_dim) if batch_at == 0 else (1, batch, self.embed_dim)
            k = suan.cat([k, self.bias_k.expand(*shape)], 1 - batch_at)
            v = suan.cat([v, self.bias_v.expand(*shape)], 1 - batch_at)
            extra += 1
        # [batch, heads, length, head_dim]
        q, k, v = (t.unflatten(-1, (heads, self.head_dim)).transpose(1, 2) if batch_at == 0 else
                   t.unflatten(-1, (heads, self.head_dim)).permute(1, 2, 0, 3) for t in (q, k, v))
        if self.add_zero_attn:
            zero = suan.zeros(batch, heads, 1, self.head_dim, dtype=k.dtype, device=k.device)
            k, v = suan.cat([k, zero], 2), suan.cat([v, zero], 2)
            extra += 1
        dropout = self.dropout if self.training else 0.0
        causal = is_causal and key_padding_mask is None and not need_weights and not extra
        mask = None if causal else self._mask(attn_mask, key_padding_mask, batch, extra, q.dtype)
        if need_weights:
            scores = (q * (1.0 / math.sqrt(self.head_dim))) @ k.transpose(-2, -1)
            weights = F.dropout(F.softmax(scores if mask is None else scores + _added(mask, q.dtype), -1), dropout)
            out = weights @ v
        else:
            weights = None
            if mask is not None and mask.dtype == suan.bool:
                mask = mask.logical_not()
            out = F.scaled_dot_product_attention(q, k, v, mask, dropout, causal)
        out = out.transpose(1, 2) if batch_at == 0 else out.permute(2, 0, 1, 3)
        out = self.out_proj(out.flatten(2))
        if weights is not None and average_attn_weights:
            weights = weights.mean(1)
        if unbatched:
            return out.squeeze(0), None if weights is None else weights.squeeze(0)
        return out, weights

    def _mask(self, attn_mask, key_padding_mask, batch, extra, dtype):
        """Both masks as one that broadcasts to the scores: bool if both are, else added."""
        masks = []
        if attn_mask is not None:
            masks.append(attn_mask if attn_mask.dim() == 2 else attn_mask.unflatten(0, (batch, self.num_heads)))
        if key_padding_mask is not None:
            masks.append(key_padding_mask.unsqueeze(1).unsqueeze(1))
        if not masks:
            return None
        if len(masks) == 2 and masks[0].dtype == masks[1].dtype == suan.bool:
            mask = masks[0].logical_or(masks[1])
        else:
            mask = masks[0] if len(masks) == 1 else _added(masks[0], dtype) + _added(masks[1], dtype)
        return F.pad(mask, (0, extra)) if extra else mask  # what was added may always be looked at

    def extra_repr(self):
        return f"{self.embed_dim}, num_heads={self.num_heads}, batch_first={self.batch_first}"


def _activation(name, activation):
    if callable(activation):
        return activation
    if activation not in ("relu", "gelu"):
        raise ValueError(f"[{name}] wrong activation: expected 'relu', 'gelu' or a function, got {activation!r}")
    return getattr(F, activation)


class _Layer(Module):
    """Attention, feed-forward, norms and dropouts; _norms says how many, one each around a residual block."""

    _norms = 0

    def __init__(self, d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first,
                 norm_first, bias, device, dtype):
        super().__init__()
        options = _factory(device, dtype)
        attention = dict(dropout=dropout, bias=bias, batch_first=batch_first, **options)
        self.self_attn = MultiheadAttention(d_model, nhead, **attention)
        if self._norms == 3:
            self.multihead_attn = MultiheadAttention(d_model, nhead, **attention)
        self.linear1 = Linear(d_model, dim_feedforward, bias=bias, **options)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias=bias, **options)
        self.norm_first = norm_first
        for i in range(1, self._norms + 1):
            setattr(self, f"norm{i}", LayerNorm(d_model, eps=layer_norm_eps, bias=bias, **options))
        for i in range(1, self._norms + 1):
            setattr(self, f"dropout{i}", Dropout(dropout))
        self.activation = _activation(type(self).__name__, activation)

    def _blocks(self, x, *blocks):
        """x + block(x) for each, the norm before the block or after the sum."""
        for i, block in enumerate(blocks, 1):
            norm, dropout = self._modules[f"norm{i}"], self._modules[f"dropout{i}"]
            x = x + dropout(block(norm(x))) if self.norm_first else norm(x + dropout(block(x)))
        return x

    def _feed_forward(self, x):
        return self.linear2(self.dropout(self.activation(self.linear1(x))))


class TransformerEncoderLayer(_Layer):
    """Self-attention and feed-forward, each with a residual and a norm after it (before it with norm_first)."""

    _norms = 2

    def __init__(self, d_model, nhead, dim_feedforward=2048, dropout=0.1, activation=F.relu, layer_norm_eps=1e-5,
                 batch_first=False, norm_first=False, bias=True, device=None, dtype=None):
        super().__init__(d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first,
                         norm_first, bias, device, dtype)

    def forward(self, src, src_mask=None, src_key_padding_mask=None, is_causal=False):
        """src [length, batch, d_model] ([batch, length, ..] with batch_first); masks as MultiheadAttention's."""
        attend = lambda x: self.self_attn(x, x, x, src_key_padding_mask, False, src_mask, is_causal=is_causal)[0]
        return self._blocks(src, attend, self._feed_forward)


class TransformerDecoderLayer(_Layer):
    """Self-attention, attention to memory and feed-forward, each with a residual and a norm."""

    _norms = 3

    def __init__(self, d_model, nhead, dim_feedforward=2048, dropout=0.1, activation=F.relu, layer_norm_eps=1e-5,
                 batch_first=False, norm_first=False, bias=True, device=None, dtype=None):
        super().__init__(d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first,
                         norm_first, bias, device, dtype)

    def forward(self, tgt, memory, tgt_mask=None, memory_mask=None, tgt_key_padding_mask=None,
                memory_key_padding_mask=None, tgt_is_causal=False, memory_is_causal=False):
        """tgt [length, batch, d_model], memory [keys, batch, d_model] ([batch, ..] with batch_first)."""

        def own(x):
            return self.self_attn(x, x, x, tgt_key_padding_mask, False, tgt_mask, is_causal=tgt_is_causal)[0]

        def other(x):
            return self.multihead_attn(x, memory, memory, memory_key_padding_mask, False, memory_mask,
                                       is_causal=memory_is_causal)[0]

        return self._blocks(tgt, own, other, self._feed_forward)


class _Stack(Module):
    def __init__(self, layer, num_layers, norm):
        super().__init__()
        self.layers = ModuleList([copy.deepcopy(layer) for _ in range(num_layers)])
        self.num_layers, self.norm = num_layers, norm


class TransformerEncoder(_Stack):
    """num_layers copies of a layer (equal weights at first, as torch's), then the norm if one is given.
    enable_nested_tensor and mask_check have no effect."""

    def __init__(self, encoder_layer, num_layers, norm=None, enable_nested_tensor=True, mask_check=True):
        super().__init__(encoder_layer, num_layers, norm)

    def forward(self, src, mask=None, src_key_padding_mask=None, is_causal=None):
        for layer in self.layers:
            src = layer(src, mask, src_key_padding_mask, bool(is_causal))
        return src if self.norm is None else self.norm(src)


class TransformerDecoder(_Stack):
    """num_layers copies of a layer (equal weights at first, as torch's), then the norm if one is given."""

    def __init__(self, decoder_layer, num_layers, norm=None):
        super().__init__(decoder_layer, num_layers, norm)

    def forward(self, tgt, memory, tgt_mask=None, memory_mask=None, tgt_key_padding_mask=None,
                memory_key_padding_mask=None, tgt_is_causal=None, memory_is_causal=False):
        for layer in self.layers:
            tgt = layer(tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask,
                        bool(tgt_is_causal), memory_is_causal)
        return tgt if self.norm is None else self.norm(tgt)


class Transformer(Module):
    """An encoder and a decoder, each closed by a LayerNorm."""

    def __init__(
        self, d_model=512, nhead=8, num_encoder_layers=6, num_decoder_layers=6, dim_feedforward=2048, dropout=0.1,
        activation=F.relu, custom_encoder=None, custom_decoder=None, layer_norm_eps=1e-5, batch_first=False,
        norm_first=False, bias=True, device=None, dtype=None,
    ):
        super().__init__()
        rest = (dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias, device, dtype)

        def build(custom, layer, stack, n):
            if custom is not None:
                return custom
            norm = LayerNorm(d_model, eps=layer_norm_eps, bias=bias, **_factory(device, dtype))
            return stack(layer(d_model, nhead, *rest), n, norm)

        self.encoder = build(custom_encoder, TransformerEncoderLayer, TransformerEncoder, num_encoder_layers)
        self.decoder = build(custom_decoder, TransformerDecoderLayer, TransformerDecoder, num_decoder_layers)
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first
        for p in self.parameters():
            if p.dim() > 1:
                init.xavier_uniform_(p)

    def forward(
        self, src, tgt, src_mask=None, tgt_mask=None, memory_mask=None, src_key_padding_mask=None,
        tgt_key_padding_mask=None, memory_key_padding_mask=None, src_is_causal=None, tgt_is_causal=None,
        memory_is_causal=False,
    ):
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        return self.decoder(tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask,
                            tgt_is_causal, memory_is_causal)

    @staticmethod
    def generate_square_subsequent_mask(sz, device=None, dtype=None):
        """[sz, sz]: -inf above the diagonal, 0 elsewhere."""
        return suan.full((sz, sz), float("-inf"), **_factory(device, dtype)).triu(1)
