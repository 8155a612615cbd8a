"""Normalisation layers (layer, RMS, group, batch, instance) and dropout."""

import suan

from . import functional as F
from .linear import _factory
from .module import Module
from .parameter import Parameter


class _ShapeNorm(Module):
    def __init__(self, normalized_shape, eps, elementwise_affine, bias, device, dtype):
        super().__init__()
        shape = (
            (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        )
        self.normalized_shape, self.eps, self.elementwise_affine = shape, eps, elementwise_affine
        options = _factory(device, dtype)
        self.register_parameter(
            "weight", Parameter(suan.ones(*shape, **options)) if elementwise_affine else None
        )
        if bias is not None:
            self.register_parameter(
                "bias",
                Parameter(suan.zeros(*shape, **options)) if elementwise_affine and bias else None,
            )

    def extra_repr(self):
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        )


class LayerNorm(_ShapeNorm):
    """(x - mean) / sqrt(var + eps) · weight + bias over the last dimensions (Ba et al. 2016)."""

    def __init__(
        self,
        normalized_shape,
        eps=1e-5,
        elementwise_affine=True,
        bias=True,
        device=None,
        dtype=None,
    ):
        super().__init__(normalized_shape, eps, elementwise_affine, bool(bias), device, dtype)

    def forward(self, input):
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)


class RMSNorm(_ShapeNorm):
    """x / sqrt(mean(x²) + eps) · weight over the last dimensions (Zhang and Sennrich 2019)."""

    def __init__(
        self, normalized_shape, eps=None, elementwise_affine=True, device=None, dtype=None
    ):
        super().__init__(normalized_shape, eps, elementwise_affine, None, device, dtype)

    def forward(self, input):
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)


class GroupNorm(Module):
    """LayerNorm over groups of channels (Wu and He 2018); input [batch, channels, ...]."""

    def __init__(self, num_groups, num_channels, eps=1e-5, affine=True, device=None, dtype=None):
        super().__init__()
        if num_channels % num_groups:
            raise ValueError(
                f"[GroupNorm] channels do not group: expected a multiple of {num_groups}, got "
                f"{num_channels}"
            )
        self.num_groups, self.num_channels, self.eps, self.affine = (
            num_groups,
            num_channels,
            eps,
            affine,
        )
        options = _factory(device, dtype)
        self.register_parameter(
            "weight", Parameter(suan.ones(num_channels, **options)) if affine else None
        )
        self.register_parameter(
            "bias", Parameter(suan.zeros(num_channels, **options)) if affine else None
        )

    def forward(self, input):
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self):
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}"


class _BatchNorm(Module):
    _ranks = ()

    def __init__(
        self,
        num_features,
        eps=1e-5,
        momentum=0.1,
        affine=True,
        track_running_stats=True,
        device=None,
        dtype=None,
    ):
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        options = _factory(device, dtype)
        self.register_parameter(
            "weight", Parameter(suan.ones(num_features, **options)) if affine else None
        )
        self.register_parameter(
            "bias", Parameter(suan.zeros(num_features, **options)) if affine else None
        )
        tracked = track_running_stats
        place = {} if device is None else {"device": device}
        self.register_buffer(
            "running_mean", suan.zeros(num_features, **options) if tracked else None
        )
        self.register_buffer("running_var", suan.ones(num_features, **options) if tracked else None)
        self.register_buffer(
            "num_batches_tracked", suan.zeros((), dtype=suan.int64, **place) if tracked else None
        )

    def reset_running_stats(self):
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def forward(self, input):
        if input.dim() not in self._ranks:
            expected = " or ".join(map(str, self._ranks))
            raise ValueError(
                f"[{type(self).__name__}] wrong input rank: expected {expected}, got shape "
                f"{tuple(input.shape)}"
            )
        mean, var = self.running_mean, self.running_var
        training = self.training or mean is None
        if self.training and mean is not None:
            with suan.no_grad():
                self.num_batches_tracked.add_(1)
            if self.momentum is None:
                return self._cumulative(input)
        return F.batch_norm(
            input, mean, var, self.weight, self.bias, training, self.momentum or 0.0, self.eps
        )

    def _cumulative(self, input):
        """momentum None: the running statistics become the mean over all batches so far. Their number is a tensor, so
        that a compiled step need not read it."""
        running = self.running_mean, self.running_var
        batch = [suan.zeros_like(r) for r in running]
        out = F.batch_norm(input, *batch, self.weight, self.bias, True, 1.0, self.eps)
        with suan.no_grad():
            for r, b in zip(running, batch):
                r.add_((b - r) / self.num_batches_tracked.to(r.dtype))
        return out

    def extra_repr(self):
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(_BatchNorm):
    """Per-channel normalisation of [batch, channels] or [batch, channels, length] (Ioffe and
    Szegedy 2015)."""

    _ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Per-channel normalisation of [batch, channels, height, width] (Ioffe and Szegedy 2015)."""

    _ranks = (4,)


class BatchNorm3d(_BatchNorm):
    """Per-channel normalisation of [batch, channels, depth, height, width] (Ioffe and Szegedy 2015)."""

    _ranks = (5,)


class _InstanceNorm(_BatchNorm):
    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=False, track_running_stats=False, device=None,
                 dtype=None):
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype)

    def forward(self, input):
        at = input.dim() - min(self._ranks)  # 1 with a batch, 0 without
        if at not in (0, 1) or input.shape[at] != self.num_features:
            raise ValueError(
                f"[{type(self).__name__}] wrong input: expected [batch, {self.num_features}, ...] of "
                f"{max(self._ranks)} dimensions, or without batch, got shape {tuple(input.shape)}"
            )
        x = input if at else input.unsqueeze(0)
        own = self.training or self.running_mean is None
        out = F.instance_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, own, self.momentum or 0.0, self.eps
        )
        return out if at else out.squeeze(0)


class InstanceNorm1d(_InstanceNorm):
    """Normalises each channel of each sample of [batch, channels, length], also without batch (Ulyanov et al. 2016)."""

    _ranks = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """Normalises each channel of each image of [batch, channels, height, width], also without batch."""

    _ranks = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """Normalises each channel of each sample of [batch, channels, depth, height, width], also without batch."""

    _ranks = (4, 5)


class Dropout(Module):
    """In training, zeroes each element with probability p and scales the others by 1 / (1 - p)."""

    _call = staticmethod(F.dropout)

    def __init__(self, p=0.5, inplace=False):
        super().__init__()
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"[{type(self).__name__}] wrong probability: expected 0 to 1, got {p}")
        self.p, self.inplace = p, inplace

    def forward(self, input):
        return self._call(input, self.p, self.training, self.inplace)

    def extra_repr(self):
        return f"p={self.p}, inplace={self.inplace}"


class Dropout1d(Dropout):
    """Drops whole channels of [batch, channels, length]."""

    _call = staticmethod(F.dropout1d)


class Dropout2d(Dropout):
    """Drops whole channels of [batch, channels, height, width]."""

    _call = staticmethod(F.dropout2d)


class Dropout3d(Dropout):
    """Drops whole channels of [batch, channels, depth, height, width]."""

    _call = staticmethod(F.dropout3d)


class AlphaDropout(Dropout):
    """Dropout that keeps mean and variance after selu (Klambauer et al. 2017)."""

    _call = staticmethod(F.alpha_dropout)


class FeatureAlphaDropout(Dropout):
    """AlphaDropout of whole channels."""

    _call = staticmethod(F.feature_alpha_dropout)
