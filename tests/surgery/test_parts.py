"""A model that cannot be traced whole is pruned through its parts, and is whole again afterwards."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from tests.paint.nets import randomised
from torch import Tensor, nn

import prunus
from prunus.errors import CompactError, TraceError
from prunus.surgery.parts import core, whole

IMAGES = torch.randn(2, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Backbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(8, 12, 3, 2, 1), nn.BatchNorm2d(12), nn.ReLU())
        self.lateral = nn.ModuleList([nn.Conv2d(8, 6, 1), nn.Conv2d(12, 6, 1)])

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        first = self.first(x)
        second = self.second(first)
        top = self.lateral[1](second)
        return {"0": self.lateral[0](first) + nn.functional.interpolate(top, scale_factor=2.0), "1": top}


class Proposals(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = Heads(nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 2, 1))

    def forward(self, features: dict[str, Tensor]) -> list[Tensor]:
        """The best cell of every feature map: a place that depends on the data."""
        return [scores[:, 0].flatten(1).argmax(1) for scores in self.head(list(features.values()))]


class Heads(nn.Module):
    def __init__(self, conv: nn.Module, last: nn.Module) -> None:
        super().__init__()
        self.conv, self.last = conv, last

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return [self.last(torch.relu(self.conv(x))) for x in features]


class Pool(nn.Module):
    """A window of 3 x 3 cells around a place, of which the second feature map is left out."""

    featmap_names = ("0",)
    output_size = (3, 3)

    def forward(self, features: dict[str, Tensor], places: list[Tensor]) -> Tensor:
        x = nn.functional.pad(features["0"], (1, 1, 1, 1))
        width = features["0"].shape[-1]
        corners = [(int(place) // width, int(place) % width) for place in places[0]]
        return torch.stack(
            [one[:, row : row + 3, column : column + 3] for one, (row, column) in zip(x, corners)]
        )


class RegionHeads(nn.Module):
    def __init__(self, masks: bool) -> None:
        super().__init__()
        self.box_roi_pool = Pool()
        self.box_head = nn.Sequential(nn.Flatten(), nn.Linear(54, 10), nn.ReLU())
        self.box_predictor = nn.Linear(10, 5)
        self.mask_roi_pool = Pool() if masks else None
        self.mask_head = nn.Sequential(nn.Conv2d(6, 8, 3, padding=1), nn.ReLU())
        self.mask_predictor = nn.ConvTranspose2d(8, 2, 2, 2)

    def forward(self, features: dict[str, Tensor], places: list[Tensor]) -> Any:
        boxes = self.box_predictor(self.box_head(self.box_roi_pool(features, places)))
        return (
            boxes
            if self.mask_roi_pool is None
            else (boxes, self.mask_predictor(self.mask_head(self.mask_roi_pool(features, places))))
        )


class TwoStages(nn.Module):
    """A detector in small: where its regions lie depends on the data."""

    def __init__(self, masks: bool = True) -> None:
        super().__init__()
        self.backbone, self.rpn, self.roi_heads = Backbone(), Proposals(), RegionHeads(masks)

    def forward(self, images: list[Tensor]) -> Any:
        features = self.backbone(torch.stack(images))
        return self.roi_heads(features, self.rpn(features))


class OneStage(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 6, 1))
        self.head = Heads(nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 4, 1))
        self.anchor_generator = nn.Identity()

    def forward(self, images: list[Tensor]) -> Tensor:
        scores = self.head([self.backbone(torch.stack(images))])[0].flatten(1)
        return scores[scores > scores.mean()]


def pruned(model: nn.Module, rate: float = 0.5) -> tuple[nn.Module, nn.Module]:
    """The masked and the compact core of a model."""
    part = core(model)
    graph = prunus.trace(part, IMAGES)
    plan = prunus.plan(graph, prunus.scores.norm(graph), rate=rate)
    assert plan.exact
    return prunus.mask(part, plan), prunus.compact(part, plan)


@pytest.mark.parametrize("make", [TwoStages, lambda: TwoStages(masks=False), OneStage])
def test_a_whole_detector_computes_what_the_masked_one_does(make: Any) -> None:
    model = randomised(make())
    masked, small = (whole(part) for part in pruned(model))
    assert type(small) is type(model)
    assert sum(p.numel() for p in small.parameters()) < 0.6 * sum(p.numel() for p in model.parameters())
    with torch.no_grad():
        expected, found = masked(list(IMAGES)), small(list(IMAGES))
    for a, b in zip(
        expected if isinstance(expected, tuple) else (expected,),
        found if isinstance(found, tuple) else (found,),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_feature_maps_shrink_with_the_heads_that_read_them() -> None:
    small: Any = whole(pruned(randomised(TwoStages()))[1])
    assert (
        small.backbone.lateral[0].out_channels
        == small.rpn.head.conv.in_channels
        == small.roi_heads.mask_head[0].in_channels
        == 3
    )
    assert small.roi_heads.box_head[1].in_features == 27


def test_the_whole_model_shares_the_tensors_of_its_core() -> None:
    model = randomised(TwoStages())
    part = core(model)
    assert dict(part.named_parameters()).keys() == dict(model.named_parameters()).keys()
    assert all(a is b for a, b in zip(part.parameters(), whole(part).parameters(), strict=True))
    assert "forward" not in vars(model)
    small = pruned(model)[1]
    assert whole(small).prunus is small.prunus


def test_a_core_is_saved_and_loaded(tmp_path: Any) -> None:
    small = pruned(randomised(TwoStages()))[1]
    prunus.save(small, tmp_path / "small.safetensors")
    loaded = prunus.load(tmp_path / "small.safetensors", lambda: core(TwoStages().double()))
    with torch.no_grad():
        for a, b in zip(whole(small)(list(IMAGES)), whole(loaded)(list(IMAGES)), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_of_a_core_runs_its_own_tensors(copied: Any) -> None:
    part = core(randomised(OneStage()))
    before, other = part(IMAGES)[0], copied(part)
    assert torch.equal(other(IMAGES)[0], before)
    with torch.no_grad():
        other.head.last.bias.add_(1)
    assert torch.equal(part(IMAGES)[0], before)
    assert not torch.equal(other(IMAGES)[0], before)


def test_what_a_given_forward_does_not_run_stays() -> None:
    model = randomised(TwoStages())
    graph = prunus.trace(
        core(model, lambda self, images: self.backbone.second(self.backbone.first(images))), IMAGES
    )
    small: Any = whole(
        prunus.compact(core(model), prunus.plan(graph, prunus.scores.norm(graph), rate=0.5), check=False)
    )
    assert small.backbone.first[0].out_channels == 4
    assert small.backbone.second[0].out_channels == 12
    assert small.roi_heads.box_predictor.in_features == 10


def test_a_model_of_another_build_needs_a_forward() -> None:
    with pytest.raises(
        TraceError, match="Sequential is not built as a detector of torchvision is; give forward="
    ):
        core(nn.Sequential(nn.Conv2d(3, 4, 1)))


def test_a_traced_core_has_no_whole() -> None:
    class Literal(OneStage):
        def forward(self, images: list[Tensor]) -> Tensor:
            return super().forward(images)

    model = randomised(Literal())
    part = core(model, lambda self, x: self.head.conv(self.backbone(x).view(len(x), 6, -1)[..., None]))
    graph = prunus.trace(part, IMAGES)
    small = prunus.compact(part, prunus.plan(graph, prunus.scores.norm(graph), rate=0.5))
    assert small.prunus.mode == "traced"
    with pytest.raises(CompactError, match="prefer='eager'"):
        whole(small)
