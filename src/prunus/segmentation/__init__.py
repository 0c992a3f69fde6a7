"""Segmentation: losses, metrics, windows to train on, and prediction on pictures of any size."""

from .evaluation import evaluate
from .losses import binary, dice_loss, log_jaccard
from .metrics import Confusion
from .patches import Patches
from .predict import predict, strips

__all__ = ["Confusion", "Patches", "binary", "dice_loss", "evaluate", "log_jaccard", "predict", "strips"]
