"""What reading data may cost at most: a header's numbers are compared with these before memory is asked for.
A program may set others.
"""

from __future__ import annotations

PIXELS = (
    1 << 26
    # of a picture that is decoded as a whole: 8,192 x 8,192, 0.2 GB in colour and up to 1 GB while it is
    # decoded
)
RASTER_PIXELS = 1 << 32  # of a TIFF that is read by window
RASTER_SIDE = 1 << 17  # pixels: whole rows of tiles are held while it is segmented
BLOCK_PIXELS = 1 << 28  # of a block in which a TIFF is stored, as one is decoded whatever the window
MEMORY = 1 << 34  # bytes of a data set in memory
IDX_BYTES = 1 << 32  # of one idx file, unpacked
DOWNLOAD_BYTES = 1 << 30  # of one file
PACE = 1 << 10  # bytes per second: a server that is slower for long is given up
MEMBERS = 1 << 10  # files in an archive


def in_words(size: int) -> str:
    """Bytes as a text: 1,234 bytes, 1.5 MB, 17.2 GB."""
    if size < 10**6:
        return f"{size:,} bytes"
    return f"{size / 10**6:,.1f} MB" if size < 10**9 else f"{size / 10**9:,.1f} GB"
