"""Pictures from files: of seven formats, within a limit of pixels, the first frame alone."""

from __future__ import annotations

import io
import struct
import threading
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from prunus.data.folder import load_folder
from prunus.data.pictures import examples, open_picture
from prunus.errors import DataError

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")


def memory(action: Callable[[], object]) -> int:
    """The most bytes that Python and numpy held at once."""
    tracemalloc.start()
    try:
        with pytest.raises(DataError):
            action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *others: bytes, pixels: bytes = b"") -> bytes:
    """A grey PNG of any size that it says it has."""
    about = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + about
        + b"".join(others)
        + chunk(b"IDAT", zlib.compress(pixels))
        + chunk(b"IEND", b"")
    )


def gif(width: int, height: int) -> bytes:
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", width, height, 0, 0, 0)
        + b","
        + struct.pack("<HHHHB", 0, 0, width, height, 0)
        + b"\x02\x00;"
    )


def webp(width: int, height: int) -> bytes:
    extended = bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + extended
    return b"RIFF" + struct.pack("<I", len(body)) + body


def jpeg(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, "JPEG")
    content = bytearray(buffer.getvalue())
    place = content.index(b"\xff\xc0") + 5
    content[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(content)


def bmp(width: int, height: int) -> bytes:
    return (
        b"BM"
        + struct.pack("<IHHI", 54, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 0, 0, 0, 0, 0, 0)
    )


BOMBS: dict[str, Callable[[int, int], bytes]] = {
    ".png": png,
    ".gif": gif,
    ".webp": webp,
    ".jpg": jpeg,
    ".bmp": bmp,
    ".pgm": lambda width, height: b"P5 %d %d 255\n" % (width, height),
}


@pytest.mark.parametrize("size", [(8193, 8192), (10_000, 9_000), (16_000, 16_000)], ids=str)
@pytest.mark.parametrize("suffix", BOMBS)
def test_pictures_of_too_many_pixels_are_refused_by_name(
    tmp_path: Path, suffix: str, size: tuple[int, int]
) -> None:
    for kind in ("images/a", "masks/a", "class/b"):
        path = tmp_path / f"{kind}{suffix}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(BOMBS[suffix](*size))
    text = rf"{size[0]:,} x {size[1]:,} pixels, and 67,108,864 at most"
    assert memory(lambda: open_picture(path)) < 1 << 22
    for read in (
        lambda: open_picture(str(path)),
        lambda: examples(str(tmp_path)),
        lambda: load_folder(str(tmp_path)),
    ):
        with pytest.raises(DataError, match=rf"{suffix} has {text}.*'geo'"):
            read()


def test_pillows_own_setting_is_obeyed_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    Image.new("L", (20, 20)).save(path)
    before = Image.MAX_IMAGE_PIXELS
    assert open_picture(path).shape == (1, 20, 20) and before == Image.MAX_IMAGE_PIXELS
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 399)
    with pytest.raises(DataError, match="399 at most"):
        open_picture(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # a user who wants none has ours still
    assert open_picture(path).shape == (1, 20, 20)
    path.write_bytes(png(10_000, 10_000))
    with pytest.raises(DataError, match="67,108,864 at most"):
        open_picture(path)


def test_pictures_are_read_in_threads(tmp_path: Path) -> None:
    """No setting is changed for a while, so nobody sees another's."""
    Image.new("L", (20, 20)).save(tmp_path / "a.png")
    (tmp_path / "bomb.png").write_bytes(png(50_000, 50_000))
    wrong: list[str] = []

    def read() -> None:
        for _ in range(30):
            open_picture(tmp_path / "a.png")
            try:
                open_picture(tmp_path / "bomb.png")
                wrong.append("read")
            except DataError:
                pass

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(
    "other",
    [
        chunk(b"iCCP", b"name\0\0" + zlib.compress(bytes(80 << 20), 9)),
        chunk(b"zTXt", b"word\0\0" + zlib.compress(bytes(80 << 20), 9)),
        struct.pack(">I", 1 << 31) + b"tEXt",
    ],
    ids=["profile", "text", "length"],
)
def test_what_lies_beside_the_pixels_does_not_grow(tmp_path: Path, other: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(4, 4, other, pixels=bytes(20)))
    assert memory(lambda: open_picture(path)) < 16 << 20
    with pytest.raises(DataError, match=r"a\.png is no readable picture"):
        open_picture(path)


def test_only_formats_of_pictures_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    )
    with pytest.raises(DataError, match="none of BMP, GIF"):
        open_picture(tmp_path / "a.png")


def test_the_first_frame_of_a_film_is_the_picture(tmp_path: Path) -> None:
    frames = [Image.new("P", (6, 5), number) for number in range(40)]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    assert open_picture(tmp_path / "film.gif", grey=True).read(0, 0, 5, 6).tolist() == [[[0] * 6] * 5]
