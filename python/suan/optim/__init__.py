"""suan.optim: SGD, Adam, AdamW and learning-rate schedules, with torch's names and state_dict
format."""

from ..naming import guard as _guard
from . import lr_scheduler
from .adam import Adam, AdamW
from .optimizer import Optimizer
from .sgd import SGD

__all__ = ["Adam", "AdamW", "Optimizer", "SGD", "lr_scheduler"]
__getattr__ = _guard(__name__, globals())
