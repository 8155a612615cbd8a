"""Rounding to bfloat16 by chance, for parameters that have no float32 copy."""

import suan


def stochastic_round(x):
    """x, float32, in bfloat16: one of its two neighbours there, with the chances that make the mean x.

    Drawn from the default generator (suan.manual_seed). What bfloat16 holds exactly stays, as do infinities and NaN;
    beyond its largest number it is an infinity. Below 1.2e-38 the neighbour nearer to zero is taken.

    An update smaller than half the distance of two bfloat16 numbers (0.4 % of a weight) is lost when a sum is rounded
    to the nearest, every time; by chance it arrives in the mean (Gupta et al. 2015, "Deep learning with limited
    numerical precision")."""
    size = x.abs()
    nearest = size.bfloat16().float()
    # 1 ± a bit more than half the relative distance, at either end of a binade, rounds to the next number.
    below = (nearest * (1 - 1.1 * 2.0**-8)).bfloat16().float()
    low = suan.where(nearest <= size, nearest, below)
    high = (low * (1 + 1.5 * 2.0**-8)).bfloat16().float()
    # Where low is high there is no distance, 0 / 0 is NaN, and the comparison false.
    up = suan.rand(*x.shape, device=x.device) < (size - low) / (high - low)
    rounded = suan.where(up, high, low)
    return suan.where(x < 0, -rounded, rounded).bfloat16()
