"""A hundred command lines that cannot work: each ends in one sentence and an exit code, never in a traceback
or a shrug.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from prunus import models, storage
from prunus.cli.app import app

NETS = """
import sys
import torch
from torch import nn

raised = 5
net = nn.Conv2d(1, 2, 3)
text = "build"


def breaks():
    raise ValueError("no such thing")


def nothing():
    return None


def needs(width):
    return nn.Conv2d(width, 2, 3)


def leaves():
    sys.exit(3)


def recurses():
    return recurses()


class Wrong(nn.Module):
    def forward(self, x):
        return x @ x.new_zeros(7, 7)


class Late(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3)
        self.fc = nn.Linear(7, 10)

    def forward(self, x):
        return self.fc(self.conv(x).mean((2, 3)))


class Greedy(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3)

    def forward(self, x):
        raise MemoryError


class Loses(nn.Module):
    def forward(self, x):
        raise KeyError("x")


class Shaped(nn.Conv2d):
    input_shape = (1, -3, "a")

    def __init__(self):
        super().__init__(3, 8, 3)


def fine():
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
"""

PRUNE = "prune lenet5 -o new --no-onnx --no-report"
SHAPED = "--input-shape 1,1,8,8"
LINES = f"""
profile resnet57
profile lenet
profile ''
profile lenet5@
profile lenet5 --weights ''
{PRUNE[:-25]} --rate 0.5 -o ''
{PRUNE} --rate 0.5 --data ''
{PRUNE} --rate 0.5 --data=
profile ' '
profile 'my net'
profile näh
profile model.onnx
profile gone.onnx
profile weights.pt
profile gone.pth
profile net.h5
profile net.tflite
profile net.pb
profile net.zip
profile net.tar.gz
profile nets.py
profile notes.txt
profile plain.safetensors
profile cut.safetensors
profile empty.safetensors
profile gone.safetensors
profile empty
profile timm/resnet
profile timm/
profile torchvision/resnet
profile torchvision/resnet18@notes.txt
profile hf-hub:timm/resnet18
profile timm/hf-hub:x
profile nets:
profile :build
profile nets:gone
profile nets:breaks {SHAPED}
profile nets:nothing {SHAPED}
profile nets:needs {SHAPED}
profile nets:leaves {SHAPED}
profile nets:recurses {SHAPED}
profile nets:raised {SHAPED}
profile nets:net {SHAPED}
profile nets:text {SHAPED}
profile nets:Wrong {SHAPED}
profile nets:Greedy {SHAPED}
profile nets:Loses {SHAPED}
profile nets:Shaped
profile nets:fine
profile gone:build
profile broken:build
profile leaving:build
profile lenet5@gone.pt
profile lenet5@empty
profile lenet5@notes.txt
profile lenet5@other.pt
profile lenet5@weights.pt --weights weights.pt
profile lenet5 --weights gone.pt
profile lenet5 --weights empty
profile lenet5 --weights notes.txt
profile lenet5 --input-shape 1
profile lenet5 --input-shape 1,1,28
profile lenet5 --input-shape 1,1,3,3
profile lenet5 --input-shape 1,-1,8,8
profile lenet5 --input-shape 1,1,a,8
profile lenet5 --input-shape 1,1,1000000000,1000000000
profile lenet5 --input-shape 1,1,1,1,1,1,1,1,1,1,1
profile resnet20 --input-shape 1,3,32
profile out --weights weights.pt
profile factory
profile factory --build gone:build
profile factory --build nets:nothing
profile factory --build resnet20
profile factory --build empty
profile damaged
profile itself
profile gated
{PRUNE}
{PRUNE} --rate 0.5 --macs 0.5
{PRUNE} --rate 30
{PRUNE} --rate 30%
{PRUNE} --rate -0.1
{PRUNE} --rate nan
{PRUNE} --rate 1,5
{PRUNE} --macs 0
{PRUNE} --macs 150%
{PRUNE} --macs 50
{PRUNE} --macs inf
{PRUNE} --params -3
{PRUNE} --bytes 1e99
{PRUNE} --latency fast
{PRUNE} --latency -3ms
{PRUNE} --tolerance -1
{PRUNE} --tolerance 1
{PRUNE} --tolerance 1 --confidence 2
{PRUNE} --tolerance 1 --confidence 95
{PRUNE} --rate 0.5 --floor 0
{PRUNE} --rate 0.5 --round-to 0
{PRUNE} --rate 0.5 --round-to -8
{PRUNE} --rate 0.5 --round-to near
{PRUNE} --rate 0.5 --threads 0
{PRUNE} --rate 0.5 --seed -1
{PRUNE} --rate 0.5 --seed 1180591620717411303424
{PRUNE} --rate 0.5 --lr -1
{PRUNE} --rate 0.5 --lr 0
{PRUNE} --rate 0.5 --weight-decay nan
{PRUNE} --rate 0.5 --epochs 1
{PRUNE} --rate 0.5 --epochs -1
{PRUNE} --rate 0.5 --epochs 1.5
{PRUNE} --rate 0.5 --score l3
{PRUNE} --rate 0.5 --score taylor
{PRUNE} --rate 0.5 --protect gone*
{PRUNE} --rate 0.5 --blocks 1
{PRUNE} --rate 0.5 --mean a
{PRUNE} --rate 0.5 --std 0
{PRUNE} --rate 0.5 --data gone
{PRUNE} --rate 0.5 --data empty
{PRUNE} --rate 0.5 --data notes.txt
{PRUNE} --rate 0.5 --data digits --mean 1,2
{PRUNE} --rate 0.5 --pretrained
prune lenet5 -o notes.txt --rate 0.5 --no-onnx --no-report
prune lenet5 -o notes.txt/new --rate 0.5 --no-onnx --no-report
prune out -o out --rate 0.5 --no-onnx --no-report
prune model.onnx -o new --rate 0.5
prune nets:Wrong -o new --rate 0.5 {SHAPED} --no-onnx --no-report
compress lenet5 -o new --rate 0.5 --int8
compress lenet5 -o new --rate 0.5 --int8-tolerance -1
train
train digits
train digits gone
train digits model.onnx
train digits weights.pt
train gone lenet5
train empty lenet5
train notes.txt lenet5
train digits lenet5 --epochs 0 -o new
train digits lenet5 --epochs -1 -o new
train digits lenet5 --lr 0 -o new
train digits lenet5 --batch-size 0 -o new
train digits lenet5 --momentum 1 -o new
train digits lenet5 --optimizer gone -o new
train digits lenet5 --method gone -o new
train digits lenet5 --seed -1 -o new
train digits lenet5 --validation 10 -o new
train digits lenet5 --weights empty -o new
train digits nets:nothing -o new
train digits nets:Wrong -o new --epochs 1
train digits nets:Late -o new --epochs 1
train digits lenet5 -o notes.txt --epochs 1
train --recipe gone.toml
train --recipe notes.txt
train --recipe empty
train --recipe deep.toml
train --recipe deep.yaml
train --recipe bomb.yaml
train --recipe latin.toml
train --recipe twice.yaml
train --recipe rate.toml
train --recipe unknown.toml
train -o resumed --resume
compare lenet5
compare lenet5 gone
compare lenet5 resnet20 --no-onnx
compare out model.onnx
compare empty out damaged
compare out out out
compare run run damaged_run
latency gone
latency gone.onnx
latency model.onnx
latency lenet5 --batch 0
latency lenet5 --repeats 0
latency lenet5 --runtime gone
latency lenet5 resnet20 --runtime torch
latency weights.pt
latency lenet5 -o empty --runtime torch
latency nets:Late {SHAPED} --runtime torch
latency nets:Greedy {SHAPED} --runtime torch
compare nets:Late nets:Late {SHAPED} --no-onnx
compare factory factory --no-onnx
compare out out -o empty
prune nets:Late -o new --rate 0.5 {SHAPED} --no-onnx --no-report
prune nets:Late -o new --rate 0.5 --data digits --no-onnx --no-report
export model.onnx -o new.onnx
export gone -o new.onnx
export lenet5 -o empty
export nets:Wrong -o new.onnx {SHAPED}
segment gone.png --model unet
segment notes.txt --model unet
segment empty --model unet
segment grey.png --model model.onnx
segment grey.png --model unet --tile 0
segment grey.png --model unet --overlap 500
segment grey.png --model unet --std 0
segment grey.png --model lenet5
segment grey.png --model lenet5 --mean 0.5 --std 0.5 --input-shape 1,1,28,28
segment grey.png --model nets:Late --mean 0.5 --std 0.5 {SHAPED}
segment grey.png --model unet -o empty
cascade lenet5 lenet5 --budget 0.5
cascade lenet5 lenet5 --data digits
cascade lenet5 lenet5 --data digits --budget 50
cascade lenet5 model.onnx --data digits --budget 0.5
cascade nets:Late nets:Late --data digits --budget 0.5
cascade lenet5 --data digits --budget 0.5
cascade lenet5 gone --data digits --budget 0.5
cascade lenet5 lenet5 --data digits --budget 0.5 --held-out 2
demo --tolerance -1
demo --seed -1
gone
profile
profile lenet5 --gone
methods extra
""".strip().splitlines()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with everything that one should not give."""
    pillow = pytest.importorskip("PIL.Image")
    root = tmp_path_factory.mktemp("place")
    for name, text in {
        "nets.py": NETS,
        "broken.py": "def build(:\n",
        "leaving.py": "import sys\nsys.exit(7)\n",
        "notes.txt": "notes\n",
        "empty.safetensors": "",
        "deep.toml": "lr = " + "[" * 5000 + "]" * 5000,
        "deep.yaml": "lr: " + "[" * 5000 + "]" * 5000,
        "twice.yaml": "lr: 1\nlr: 2\n",
        "bomb.yaml": "a: &a [x, x]\n"
        + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefghij", "bcdefghijk")),
        "rate.toml": 'data = "digits"\nmodel = "lenet5"\nmethod = "soft"\nrate = 30.0\n',
        "unknown.toml": 'data = "digits"\nmodel = "lenet5"\nepoch = 1\n',
    }.items():
        (root / name).write_text(text)
    for name in ("model.onnx", "net.h5", "net.tflite", "net.pb", "net.zip", "net.tar.gz"):
        (root / name).write_bytes(b"\x08\x0a\x12\x07pytorch")
    (root / "latin.toml").write_bytes('data = "dürr"\n'.encode("latin-1"))
    (root / "empty").mkdir()
    pillow.new("L", (16, 16)).save(root / "grey.png")
    model = models.lenet5(image_size=8)
    torch.save(model.state_dict(), root / "weights.pt")
    torch.save(models.resnet20().state_dict(), root / "other.pt")
    save_file({"a": torch.zeros(3)}, root / "plain.safetensors")
    storage.save(model, root / "out" / "model.safetensors")
    (root / "cut.safetensors").write_bytes((root / "out" / "model.safetensors").read_bytes()[:-7])
    own: dict[str, object] = {
        "class": "LeNet5",
        "input_shape": [1, 1, 8, 8],
        "options": {"image_size": 8},
        "weights": "",
    }
    _recorded(root / "out", own | {"name": "lenet5"})
    for folder, name in {
        "factory": "nets:fine",
        "itself": "../itself/model.safetensors",
        "damaged": "lenet5",
    }.items():
        shutil.copytree(root / "out", root / folder)
        _recorded(root / folder, own | {"name": name})
    (root / "damaged" / "result.json").write_text("[" * 100_000)
    for folder, accuracy in {
        "run": {"count": 10, "steps": [{"value": 50.0}]},
        "damaged_run": {"count": "ten", "steps": 3},
    }.items():
        (root / folder).mkdir()
        _recorded(root / folder, own | {"name": "lenet5"}, accuracy=accuracy)
    shutil.copytree(root / "out", root / "gated")
    (root / "gated" / "gates.safetensors").write_bytes(b"gates")
    (root / "resumed").mkdir()
    (root / "resumed" / "checkpoint.safetensors").write_bytes(b"")
    (root / "resumed" / "recipe.toml").write_text('data = "digits"\nmodel = "nets:fine"\n')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        yield root


def _recorded(folder: Path, model: dict[str, object], **more: object) -> None:
    cost = {"after": {"macs": 1, "bytes": 1}}
    record: dict[str, object] = {
        key: {} for key in ("command", "created", "environment", "target", "layers", "verification")
    }
    (folder / "result.json").write_text(
        json.dumps({"schema": 1, **record, "cost": cost, "model": model} | more)
    )


@pytest.mark.parametrize("line", LINES)
def test_a_bad_command_line_is_one_sentence(line: str, place: Path) -> None:
    import shlex

    result = CliRunner().invoke(app, shlex.split(line))
    said = result.stderr.strip()
    assert result.exit_code in (1, 2), (result.exit_code, result.output)
    assert "Traceback" not in result.output and "does not know;" not in said, said
    assert result.exception is None or isinstance(result.exception, SystemExit)
    if result.exit_code == 1:
        (sentence,) = [one for one in said.splitlines() if one.startswith("prunus: ")]
        text = sentence.removeprefix("prunus: ")
        assert said.splitlines()[-1] == sentence
        assert text[-1] == "." and ".." not in text[-3:] and len(text) < 700, text
        assert (
            text[0].isupper()
            or not text[0].isalpha()
            or text.split()[0].strip(",:") in line
            or "/" in text.split()[0]
        ), text
    else:
        assert "Usage: " in said, said
    made = [name for name in ("new", "new.onnx") if (place / name).exists()]
    shutil.rmtree(place / "new", ignore_errors=True)
    assert not made or line.startswith("train")
