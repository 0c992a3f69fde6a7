from __future__ import annotations

import copy
import pickle

import torch

import prunus
from prunus.models import build, lenet5, resnet20
from prunus.models.built import Built, built_as, note


def test_networks_say_how_they_were_built_as_far_as_it_differs() -> None:
    assert built_as(lenet5()) == Built("lenet5")
    assert built_as(lenet5(10, image_size=8)) == Built("lenet5", (("image_size", 8),))
    assert built_as(resnet20(shortcut="projection")) == Built("resnet20", (("shortcut", "projection"),))
    assert built_as(build("vgg16_bn", num_classes=100)) == Built("vgg16_bn", (("num_classes", 100),))
    assert built_as(torch.nn.Linear(1, 1)) is None


def test_what_is_made_of_them_says_so_too() -> None:
    model = lenet5(image_size=8).eval()
    graph = prunus.trace(model, torch.zeros(1, 1, 8, 8))
    small = prunus.compact(model, prunus.plan(graph, prunus.scores.norm(graph), rate=0.5))
    for one in (small, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert built_as(one) == Built("lenet5", (("image_size", 8),))


def test_a_note_is_no_size_that_surgery_could_change() -> None:
    from prunus.surgery.places import sizes_of

    model = note(torch.nn.Sequential(), "net", {"num_classes": 10, "sizes": 3})
    assert built_as(model) == Built("net", (("num_classes", 10), ("sizes", 3)))
    assert not sizes_of(model) and model.state_dict() == {}
