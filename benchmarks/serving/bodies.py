"""Files that a server should survive: as cameras write them, and far larger than they look."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

from PIL import Image

MB = 1 << 20
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def enlarged(path: Path, side: int) -> bytes:
    """The photograph as a camera would have written it."""
    picture = Image.open(path).convert("RGB")
    scale = side / max(picture.size)
    size = round(picture.width * scale), round(picture.height * scale)
    return encoded(picture.resize(size, Image.Resampling.BICUBIC), "JPEG", quality=92)


def encoded(picture: Image.Image, form: str, **options: int) -> bytes:
    kept = io.BytesIO()
    picture.save(kept, form, **options)
    return kept.getvalue()


def header_alone(width: int, height: int) -> bytes:
    """A PNG that claims so many pixels of three channels and has next to none."""
    return _png(width, height, bits=8, colour=2, packed=zlib.compress(bytes(1000)))


def blank(width: int, height: int, *, bits: int = 8) -> bytes:
    """A whole gray PNG, all black: a thousand times smaller than its pixels."""
    packer = zlib.compressobj(9)
    row = bytes(1 + (width * bits + 7) // 8)
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    return _png(width, height, bits=bits, colour=0, packed=packed)


def long_text(size: int) -> bytes:
    """A PNG of 64 px with a compressed text that inflates to so many bytes."""
    text = _chunk(b"zTXt", b"Comment\x00\x00" + zlib.compress(bytes(size), 9))
    plain = blank(64, 64)
    at = plain.index(b"IDAT") - 4
    return plain[:at] + text + plain[at:]


def _png(width: int, height: int, *, bits: int, colour: int, packed: bytes) -> bytes:
    first = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return SIGNATURE + first + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
