"""The 8x8 handwritten digits, embedded in the package: real data without a download.

Provenance: the test part of "Optical Recognition of Handwritten Digits" (E. Alpaydin and C. Kaynak, 1998, UCI
Machine Learning Repository, doi 10.24432/C50P49, licence CC BY 4.0): 1,797 digits by 13 writers, 32x32
bitmaps of which every 4x4 block was counted, so that a pixel is 0..16. Taken from scikit-learn
(BSD-3-Clause), where it is `load_digits`.
"""

from __future__ import annotations

import hashlib
import io
from importlib import resources

import numpy as np
import torch
from torch import Tensor

from prunus.data.sets import ImageData, Split, statistics
from prunus.errors import DataError

FILE, SHA256 = "digits.npz", "b2dab7b501728c22e9119ad76740b2e17c77a231e42d1e592380d90886f1a05e"
EVERY = 5  # every fifth sample of each class is a test sample


def load_digits() -> ImageData:
    """1,797 grey 8x8 digits, pixels 0..16 scaled to 0..255 and rounded.

    The split is fixed and stratified: of each class, in the order of the file, samples 5, 10, 15, … are the
    test set (355 of 1,797). Both parts hold digits by all writers. Raises DataError where the package's file
    is missing or damaged.
    """
    pixels, numbers = _arrays()
    images = torch.from_numpy(np.rint(pixels * (255 / 16)).astype(np.uint8)).unsqueeze(1)
    labels = torch.from_numpy(numbers.astype(np.int64))
    tested = _every_fifth(labels)
    train, test = Split(images[~tested], labels[~tested]), Split(images[tested], labels[tested])
    mean, std = statistics(train.images)
    return ImageData("digits", train, test, tuple("0123456789"), mean, std)


def _arrays() -> tuple[np.ndarray, np.ndarray]:
    """Pixels and labels. Raises DataError where the file is not the one that came with the package."""
    try:
        content = resources.files("prunus.data").joinpath(FILE).read_bytes()
    except OSError as error:
        raise DataError(f"The embedded digits ({FILE}) are missing: install prunus anew.") from error
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise DataError(f"The embedded digits ({FILE}) are damaged: install prunus anew.")
    arrays = np.load(io.BytesIO(content), allow_pickle=False)
    return arrays["images"], arrays["labels"]


def _every_fifth(labels: Tensor) -> Tensor:
    tested = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(10):
        tested[torch.nonzero(labels == label).flatten()[EVERY - 1 :: EVERY]] = True
    return tested
