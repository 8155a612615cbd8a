"""suan.distributions: random variables with torch's names: samples (reparameterised where there is a gradient), log
probabilities, entropies and Kullback-Leibler divergences. Those that need the gamma function are absent."""

from ..naming import guard as _guard
from .continuous import Exponential, Laplace, LogNormal, MultivariateNormal, Normal, Uniform
from .discrete import Bernoulli, Categorical, Geometric, OneHotCategorical
from .distribution import Distribution, Independent
from .divergence import kl_divergence

__all__ = [
    "Bernoulli", "Categorical", "Distribution", "Exponential", "Geometric", "Independent", "Laplace", "LogNormal",
    "MultivariateNormal", "Normal", "OneHotCategorical", "Uniform", "kl_divergence",
]
__getattr__ = _guard(__name__, globals())
