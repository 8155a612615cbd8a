"""Batch norms folded into the layer before them, for evaluation."""

import copy

import suan

from ..parameter import Parameter


def _folded(op, weight, bias, mean, var, eps, bn_weight, bn_bias, axis):
    if mean is None or var is None:
        raise ValueError(f"[{op}] no running statistics: expected running_mean and running_var, got None")
    with suan.no_grad():
        scale = (var + eps).rsqrt()
        scale = scale if bn_weight is None else scale * bn_weight
        shift = -mean if bias is None else bias - mean
        shift = shift * scale if bn_bias is None else shift * scale + bn_bias
        shape = [-1 if d == axis else 1 for d in range(weight.dim())]
        wide = weight * scale.reshape(shape).to(weight.dtype)
        return (Parameter(wide, weight.requires_grad),
                Parameter(shift.to(weight.dtype), weight.requires_grad if bias is None else bias.requires_grad))


def fuse_conv_bn_weights(conv_w, conv_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, transpose=False):
    """(weight, bias) of one convolution that does what a convolution and a batch norm in evaluation do: the weight
    [out, in, kernel...] (transposed: [in, out, kernel...]) and bias (or None) of the first, the running mean and
    variance, eps, weight and bias (or None) of the second. Rounds elsewhere: not the same bits."""
    return _folded("fuse_conv_bn_weights", conv_w, conv_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, int(transpose))


def fuse_linear_bn_weights(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b):
    """As fuse_conv_bn_weights, of a linear layer's weight [out, in] and bias (or None)."""
    return _folded("fuse_linear_bn_weights", linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, 0)


def _fused(op, layer, bn, fold, *more):
    if layer.training or bn.training:
        raise ValueError(f"[{op}] layers in training: expected both in evaluation (eval()), got another")
    out = copy.deepcopy(layer)
    out.weight, out.bias = None, None
    weight, bias = fold(layer.weight, layer.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias, *more)
    out.weight, out.bias = weight, bias
    return out


def fuse_conv_bn_eval(conv, bn, transpose=False):
    """One convolution for a convolution and the batch norm after it, both in evaluation; they stay as they are."""
    return _fused("fuse_conv_bn_eval", conv, bn, fuse_conv_bn_weights, transpose)


def fuse_linear_bn_eval(linear, bn):
    """One linear layer for a linear layer and the batch norm after it, both in evaluation; they stay as they are."""
    if linear.out_features != bn.num_features:
        raise ValueError(f"[fuse_linear_bn_eval] sizes differ: expected a norm of {linear.out_features} features, got "
                         f"{bn.num_features}")
    return _fused("fuse_linear_bn_eval", linear, bn, fuse_linear_bn_weights)
