"""Folds of pictures and the controls of segmentation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from benchmarks import segmentation, segmentation_table
from benchmarks.rows import Row, kept
from benchmarks.segmentation_controls import MAJORITY, SCRATCH, SCRATCH_ALL, Constant, commonest

from prunus.data.pictures import Example, Loaded


def example(name: str, share: float = 0.75, side: int = 16) -> Example:
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    image = torch.randint(0, 256, (1, side, side), dtype=torch.uint8, generator=generator)
    mask = torch.zeros(1, side, side, dtype=torch.uint8)
    mask[:, : round(share * side)] = 1
    return Example(name, Loaded(image), Loaded(mask))


def test_every_picture_is_tested_on_once_and_never_with_its_block() -> None:
    every = [example(f"town_{row}_{column}") for row in range(4) for column in range(4)]
    tested: list[str] = []
    for fold in range(4):
        train, held, test = segmentation.folded(every, 4, fold, block=2)
        names = [{one.name for one in part} for part in (train, held, test)]
        assert len(names[0]) + len(names[1]) + len(names[2]) == 16 and not names[0] & (names[1] | names[2])
        blocks = [{tuple(int(one) // 2 for one in name.split("_")[1:]) for name in part} for part in names]
        assert not blocks[0] & blocks[2] and not blocks[1] & blocks[2] and not blocks[0] & blocks[1]
        tested += [one.name for one in test]
    assert sorted(tested) == sorted(one.name for one in every)
    with pytest.raises(SystemExit, match="3 to 4 folds"):
        segmentation.folded(every, 5, 0, block=2)


def test_the_majority_is_one_class_everywhere() -> None:
    assert commonest([example("a"), example("b", 0.4)]) == 1 and commonest([example("a", 0.1)]) == 0
    found = Constant(1)(torch.zeros(2, 3, 4, 5))
    assert found.shape == (2, 1, 4, 5) and bool((found > 0).all())
    assert bool((Constant(0)(torch.zeros(1, 1, 2, 2)) < 0).all())


def test_baselines_have_the_small_shape_and_its_epochs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import prunus
    from prunus import scores, storage

    (known, *_) = kept(segmentation.RESULT)["rows"]
    key: Row = {name: known[name] for name in segmentation.KEY}
    key |= {"width": 4, "shrink": 1, "epochs": 1, "trial_epochs": 1, "size": 16, "count": 4, "planes": 1}
    parts = [[example(f"{part}{number}", side=32) for number in range(2)] for part in "abc"]
    pictures = segmentation.Pictures(parts[0], parts[1], parts[2], ((0.5,), (0.25,)))
    monkeypatch.setattr(segmentation, "SIDE", 32)
    run = segmentation.Run(key, tmp_path, pictures)
    run.folder.mkdir()
    base = segmentation.built(key).eval()
    graph = prunus.trace(base, segmentation.measured_at(key))
    storage.save(base, run.folder / "base.safetensors")
    small = prunus.compact(base, prunus.plan(graph, scores.norm(graph), rate=0.5))
    storage.save(small, run.folder / segmentation.small_of(key))
    row = key | {"trials": [{"accepted": True}, {"accepted": False}]}
    found = run.baselines(row)
    assert set(found) == {MAJORITY, SCRATCH, SCRATCH_ALL}
    # three quarters are foreground
    assert found[MAJORITY]["test"]["IoU"] == pytest.approx(75.0)
    assert found[MAJORITY]["test"]["pixel accuracy"] == pytest.approx(75.0)
    assert set(run.baselines(row | {"trials": []})) == {MAJORITY, SCRATCH_ALL}


def test_folds_are_told_together() -> None:
    (row, *_) = kept(segmentation.RESULT)["rows"]
    stage = {name: {"IoU": 78.0, "pixel accuracy": 78.0, "Dice": 87.0} for name in ("validation", "test")}
    both = [row | {"folds": 3, "fold": fold, "baselines": {MAJORITY: stage}} for fold in range(2)]
    text = segmentation_table.table({"rows": both})
    apart = 78.0 - row["after"]["test"]["IoU"]
    assert f"| {MAJORITY} | 2 |  | 78.00 ± 0.00 | {apart:+.2f} ± 0.00 |" in text
    assert f"\n| {row['seed']}, 1 | " in text and "## unet, width" not in text
    assert "weights start as l1, 3 folds" in segmentation_table.table(
        {"rows": [one | {"start": "l1"} for one in both]}
    )
