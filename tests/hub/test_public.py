"""What strangers may read of a result."""

from __future__ import annotations

from pathlib import Path

import pytest

from prunus.hub.public import last_part, without_paths


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("The weights of /home/me/nets/a.pth are random.", "The weights of a.pth are random."),
        ("Read from /home/me/nets/a.pth.", "Read from a.pth."),
        ("Read (~/nets/a.pth), and ~me/b.pth", "Read (a.pth), and b.pth"),
        ("../dense/model.safetensors", "model.safetensors"),
        (r"C:\Users\me\a.pth and \\server\me\b.pth", "a.pth and b.pth"),
        ("file:///home/me/a.pth", "a.pth"),
        ("timm/resnet18 at https://example.org/a/b, 3 pixels/s", None),
        ("x = a / b", None),
        ("in /home/jane/ and /Users/jane or C:\\Users\\jane", "in ~ and ~ or ~"),
        ("and/or, ../..", "and/or, ."),
    ],
)
def test_a_path_in_a_text_is_its_last_part(written: str, read: str | None) -> None:
    assert without_paths({"notes": [written]}) == {"notes": [written if read is None else read]}


def test_a_relative_path_that_was_typed_goes_wherever_it_stands() -> None:
    result = {
        "command": "prunus prune 'my nets/dense' --data sets/camvid --weights=w/a.pth --macs 0.5 -o runs/out",
        "model": {"name": "my nets/dense", "weights": "w/a.pth", "data": {"name": "sets/camvid"}},
        "notes": ["The data in sets/camvid are few.", "my nets/dense/model.safetensors is small."],
    }
    assert without_paths(result) == {
        "command": "prunus prune 'dense' --data camvid --weights=a.pth --macs 0.5 -o out",
        "model": {"name": "dense", "weights": "a.pth", "data": {"name": "camvid"}},
        "notes": ["The data in camvid are few.", "model.safetensors is small."],
    }


def test_names_of_networks_stay() -> None:
    result = {"command": "prunus prune timm/resnet18 -o out", "model": {"name": "timm/resnet18"}}
    assert without_paths(result) == result


def test_a_home_with_a_blank_goes_as_a_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = tmp_path / "Jane Doe"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    found = without_paths({"notes": [f"Written to {home}/my/out, where {home} is."]}, tmp_path / "out")
    assert "Jane" not in str(found) and str(tmp_path) not in str(found)


def test_keys_and_what_lies_deep_are_read_as_well() -> None:
    assert without_paths({"a": {"/home/me/b": [({"c": "/home/me/d"},)]}, "n": 1.5, "none": None}) == {
        "a": {"b": [[{"c": "d"}]]},
        "n": 1.5,
        "none": None,
    }


def test_what_is_no_number_is_left_out() -> None:
    assert without_paths({"loss": float("nan"), "most": [float("inf"), 1.0]}) == {
        "loss": None,
        "most": [None, 1.0],
    }


def test_what_looks_like_a_token_goes() -> None:
    assert without_paths({"command": "HF_TOKEN=hf_abcdefghijkl prunus"}) == {"command": "HF_TOKEN=… prunus"}


def test_a_path_without_a_name_is_a_dot() -> None:
    assert [last_part(one) for one in ("/", "..", "a/..", "a/b/", r"x\y")] == [".", ".", ".", "b", "y"]


def test_no_line_of_code_goes_out() -> None:
    pin = {
        "reason": "model output",
        "operator": "add",
        "where": "net.py:3: return self.secret(x) + y",
        "channels": 2,
    }
    notes = [
        "What holds most: model output (add, net.py:3: return self.secret(x) + y, 33% of the MACs).",
        "the forward draws random numbers (dropout, other.py:7: x = F.dropout(x, self.secret))",
        "The eager module fails at third.py:9: if self.secret: (ValueError).",
    ]
    found = without_paths({"pinned": [pin], "notes": notes})
    assert found["pinned"] == [pin | {"where": ""}]
    assert found["notes"] == [
        "What holds most: model output (add, 33% of the MACs).",
        "the forward draws random numbers (dropout)",
        "The eager module fails at …",
    ]
