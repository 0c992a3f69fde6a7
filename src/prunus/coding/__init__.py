"""How weights are stored: integers on a grid, indices of codebooks, and the coder of both.

Needs numpy alone; whatever computes in torch is in `prunus.quantisation`, and files are in `prunus.storage`.
"""

from prunus.coding.tensors import Codebook, CodedTensor, Grid, Plain, values_of

__all__ = ["Codebook", "CodedTensor", "Grid", "Plain", "values_of"]
