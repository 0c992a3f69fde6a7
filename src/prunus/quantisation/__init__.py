"""From weights to what is coded: grids with error feedback, codebooks, and grids that are trained."""

from prunus.quantisation.codebook import share_weights, tune_centroids
from prunus.quantisation.folding import condense_norms, fold_norms
from prunus.quantisation.grid import quantise
from prunus.quantisation.quantised import Quantised
from prunus.quantisation.sharing import error_shares
from prunus.quantisation.soft_clusters import train_clusters
from prunus.quantisation.trained import train_on_grids

__all__ = [
    "Quantised",
    "condense_norms",
    "error_shares",
    "fold_norms",
    "quantise",
    "share_weights",
    "train_clusters",
    "train_on_grids",
    "tune_centroids",
]
