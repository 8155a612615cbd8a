"""suan.optim: optimizers and learning-rate schedules, with torch's names and state_dict format."""

from ..naming import guard as _guard
from . import lr_scheduler
from .adam import Adam, AdamW
from .formula import Adadelta, Adagrad, Adamax, NAdam, RAdam, RMSprop, Rprop
from .lbfgs import LBFGS
from .matrix import Adafactor, Muon
from .optimizer import Optimizer
from .sgd import SGD

__all__ = [
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "LBFGS",
    "Muon",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "SGD",
    "lr_scheduler",
]
__getattr__ = _guard(__name__, globals())
