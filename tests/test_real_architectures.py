"""The hardest real architectures: those on which other pruning tools fail or hang, at a small resolution."""

from __future__ import annotations

from dataclasses import replace

import pytest
from benchmarks.architectures import ARCHITECTURES, Architecture
from benchmarks.coverage_workers import randomised

from tests.network_check import check_network
from tests.torchvision_shim import missing

EXACT = (
    "torchvision/shufflenet_v2_x1_0",  # channel shuffle
    "torchvision/deeplabv3_mobilenet_v3_large",  # several outputs, dilations
    "timm/res2net50_14w_8s",  # hierarchical splits with literal widths
    "timm/mixnet_s",  # mixed kernels on unequal splits
    "timm/dpn48b",  # slices and concatenations with literals
    "timm/cspresnet50",  # cross-stage splits
    "timm/skresnet18",  # softmax over branches
    "timm/rexnet_100",  # additions to a part of the channels
    "timm/ghostnet_050",  # cheap channels and a slice
    "timm/visformer_tiny",  # attention on feature maps with batch norms
    "torchvision/swin_t",  # windows and layer norms
)

SIZE, OWN_SIZE = 64, {"timm/visformer_tiny": 224}  # pixels; the latter takes no others


def architecture(name: str) -> Architecture:
    """The entry of the benchmark's list; skips where its library is missing."""
    if reason := missing("torchvision", *(["timm"] if name.startswith("timm") else [])):
        pytest.skip(reason)
    found = next(a for a in ARCHITECTURES if a.name == name)
    return replace(found, size=OWN_SIZE.get(name, SIZE))


@pytest.mark.parametrize("name", EXACT)
def test_exact(name: str) -> None:
    outcome = check_network(*randomised(architecture(name)), seed=0)
    assert outcome.exact
    assert outcome.removed > 0.45 * outcome.channels
