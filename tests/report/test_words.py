"""Numbers in words."""

from __future__ import annotations

import pytest

from prunus.report import words

THIN = "\u202f"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (9_994, "9,994"),
        (12_345, "12.3 k"),
        (999_600, "1.00 M"),
        (125_485_706, "125 M"),
        (2e9, "2.00 G"),
    ],
)
def test_count(number: float, text: str) -> None:
    assert words.count(number) == text.replace(" ", THIN)


@pytest.mark.parametrize(
    ("number", "text"),
    [(12, "12 B"), (1_000, "1.00 kB"), (57_900, "57.9 kB"), (3_412_072, "3.41 MB"), (999_700, "1.00 MB")],
)
def test_size(number: float, text: str) -> None:
    assert words.size(number) == text.replace(" ", THIN)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.0053, "0.00530"), (0.0532, "0.0532"), (0.5, "0.500"), (12.34, "12.3"), (1234.5, "1,234")],
)
def test_milliseconds(number: float, text: str) -> None:
    assert words.milliseconds(number) == f"{text}{THIN}ms"


def test_factors_differences_and_errors() -> None:
    assert words.times(100, 50) == "2.0×"
    assert words.times(3, 2) == "1.50×"
    assert words.times(1000, 5) == "200×"
    assert words.times(1, 0) == "–"
    assert words.points(0.04) == "±0.0"
    assert words.points(-1.25) == "−1.2"
    assert words.points(2.8) == "+2.8"
    assert words.error(2.1e-7) == f"2.1{THIN}×{THIN}10⁻⁷"
    assert words.error(0) == "0"


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.0, "0"), (-0.00123, "−0.00123"), (45_612.0, "45,612"), (1.234e-9, "1.2e-09"), (-2e7, "−2.0e+07")],
)
def test_numbers_of_any_size(number: float, text: str) -> None:
    assert words.number(number) == text


@pytest.mark.parametrize(
    ("recorded", "shown"),
    [
        ("resnet20", "resnet20"),
        ("timm/resnet18.a1", "timm/resnet18.a1"),
        ("nets:Net", "nets:Net"),
        ("../dense/model.safetensors", "dense"),
        ("/runs/a b/model.prunus", "a b"),
        ("../best.safetensors", "best"),
        ("../model.safetensors", "model"),
        ("model.safetensors", "model"),
    ],
)
def test_a_network_of_a_file_has_the_name_that_people_gave_it(recorded: str, shown: str) -> None:
    """Headlines began with "../dense/model.safetensors", and a chart called a network ".."."""
    assert words.network_name(recorded) == shown
