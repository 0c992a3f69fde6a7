"""Segmentation: losses, metrics, windows to train on, and prediction on pictures of any size."""

from prunus.segmentation.evaluation import evaluate
from prunus.segmentation.losses import binary, dice_loss, log_jaccard
from prunus.segmentation.metrics import Confusion
from prunus.segmentation.patches import Patches
from prunus.segmentation.predict import predict, strips

__all__ = ["Confusion", "Patches", "binary", "dice_loss", "evaluate", "log_jaccard", "predict", "strips"]
