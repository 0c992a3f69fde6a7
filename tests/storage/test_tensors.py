"""What a file holds comes back, and what it cannot hold is named, wherever it is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import prunus
from prunus.errors import FileFormatError
from prunus.storage import read_tree, write_tree
from prunus.storage.tensors import check_tensors
from prunus.training import TrainConfig, train

GRID = torch.arange(12.0).view(3, 4)
WAVES = torch.complex(GRID, GRID + 1)
HELD: dict[str, Callable[[], Tensor]] = {
    **{
        f"{dtype}": lambda dtype=dtype: GRID.to(dtype)  # type: ignore[misc]
        for dtype in (
            torch.float64,
            torch.float16,
            torch.bfloat16,
            torch.float8_e4m3fn,
            torch.float8_e5m2,
            torch.complex64,
            torch.int8,
            torch.uint16,
            torch.bool,
        )
    },
    "scalar": lambda: torch.tensor(3),
    "empty": lambda: torch.zeros(0, 3),
    "transposed": lambda: GRID.T,
    "strided": lambda: GRID[:, ::2],
    "expanded": lambda: GRID[:1].expand(3, 4),
    "channels last": lambda: torch.rand(1, 2, 3, 3).to(memory_format=torch.channels_last),
    "yet to be conjugated": lambda: WAVES.conj(),
    "yet to be negated": lambda: WAVES.conj().imag,
}
REFUSED: dict[str, tuple[Callable[[], Tensor], str]] = {
    "complex128": (lambda: WAVES.to(torch.complex128), "is of torch.complex128, which safetensors files"),
    "no elements": (lambda: torch.zeros(0, dtype=torch.complex128), "is of torch.complex128"),
    "quantised": (lambda: torch.quantize_per_tensor(GRID, 0.1, 0, torch.quint8), "is of torch.quint8"),
    "bits": (lambda: torch.zeros(3, dtype=torch.uint8).view(torch.bits8), "is of torch.bits8"),
    "sparse": (
        lambda: GRID.to_sparse(),
        r"is no dense one \(torch.sparse_coo\), and files hold dense tensors",
    ),
    "rows": (lambda: GRID.to_sparse_csr(), r"is no dense one \(torch.sparse_csr\)"),
    "nested": (lambda: torch.nested.nested_tensor([GRID, GRID[:1]]), "is nested, and files hold dense"),
    "meta": (lambda: GRID.to("meta"), r"has no data \(it lies on the meta device\)"),
    "lazy": (lambda: nn.LazyLinear(2).weight, "has no shape yet: run the model once"),
}


class Odd(nn.Module):
    """A network with some tensor in a module of its own."""

    def __init__(self, tensor: Tensor) -> None:
        super().__init__()
        self.last = nn.Linear(4, 2)
        self.inner = nn.Module()
        if isinstance(tensor, nn.Parameter):
            self.inner.register_parameter("odd", tensor)
        else:
            self.inner.register_buffer("odd", tensor)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x)


@pytest.mark.filterwarnings("ignore:.*(prototype|beta|deprecated).*")
@pytest.mark.parametrize("kind", HELD)
def test_what_is_held_comes_back(tmp_path: Path, kind: str) -> None:
    tensor = HELD[kind]()
    prunus.save(Odd(tensor), tmp_path / "m")
    write_tree(tmp_path / "t", {"odd": tensor})
    loaded = prunus.load(tmp_path / "m", lambda: Odd(torch.zeros_like(tensor.resolve_conj())))
    for again in (loaded.inner.odd, read_tree(tmp_path / "t")["odd"]):
        assert again.dtype == tensor.dtype and again.shape == tensor.shape
        assert torch.equal(again.to(torch.complex128), tensor.to(torch.complex128))


@pytest.mark.filterwarnings("ignore:.*(prototype|beta|deprecated).*")
@pytest.mark.parametrize("kind", REFUSED)
def test_what_no_file_holds_is_named(tmp_path: Path, kind: str) -> None:
    make, text = REFUSED[kind]
    model = Odd(make())
    with pytest.raises(FileFormatError, match=f"^The tensor inner.odd {text}"):
        prunus.save(model, tmp_path / "m")
    with pytest.raises(FileFormatError, match=f"^The tensor model.2.odd {text}"):
        write_tree(tmp_path / "m", {"model": [None, 1, {"odd": model.inner.odd}]})
    steps: list[int] = []
    with pytest.raises(FileFormatError, match=f"^The tensor inner.odd {text}"):
        train(
            model,
            [(GRID, torch.tensor([0, 1, 0]))],
            TrainConfig(epochs=1),
            checkpoint=tmp_path / "m",
            on_step=lambda done, total: steps.append(done),
        )
    assert not steps and not list(tmp_path.iterdir())


def test_tensors_that_share_numbers_are_held_each(tmp_path: Path) -> None:
    class Views(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(4, 4)
            for name, view in (("part", slice(2)), ("rest", slice(1, None)), ("all", slice(None))):
                self.register_buffer(name, self.last.weight.data[view])

        def forward(self, x: Tensor) -> Tensor:
            return self.last(x)

    model = Views()
    check_tensors(model.state_dict())
    prunus.save(model, tmp_path / "m")
    write_tree(tmp_path / "t", model.state_dict())
    for again in (prunus.load(tmp_path / "m", Views).state_dict(), read_tree(tmp_path / "t")):
        for name, value in model.state_dict().items():
            assert torch.equal(again[name], value)
