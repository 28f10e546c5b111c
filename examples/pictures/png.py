"""Palettes, and PNG files from rows of RGB bytes: what a picture needs, from the standard library alone."""

import struct
import zlib

# Each palette is a ring of colours, dark first: the last runs into the first again.
PALETTES = {
    "dusk": "0b1033 2b1b5a 7a2a7d d6456b ff8f5a ffe0a3 fff6e0 b98bc9 3c3a8a",
    "ember": "0a0508 3b0a14 8c1c13 d9480f ff9f1c ffe08a fff7d6 c56b3e",
    "ice": "020b3a 206bcb edffff ffaa00 3a1a00",
    "ink": "14110f 3f3a36 8c8379 d9cfc1 faf5ea d9b99b 7a4a3a",
    "jade": "04140f 0b3d2e 1f7a54 7cc68d f1f7d4 f6c667 a3542c 2a1b18",
    "sea": "031a2b 064663 0e7c86 4fc3b0 d8f3dc fff8e7 8fd3d1 2a7f9e",
}


def ramp(palette: str, size: int = 1024) -> list[bytes]:
    """The palette's ring in `size` colours, each easing into the next."""
    stops = [bytes.fromhex(stop) for stop in PALETTES[palette].split()]
    return [_between(stops, len(stops) * i / size) for i in range(size)]


def _between(stops: list[bytes], at: float) -> bytes:
    left, right, share = stops[int(at)], stops[int(at + 1) % len(stops)], at % 1
    share *= share * (3 - 2 * share)
    return bytes(round(a + (b - a) * share) for a, b in zip(left, right, strict=True))


def png(width: int, height: int, rows: list[bytes]) -> bytes:
    """The file: signature, header (8 bits, RGB), the compressed rows, end."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
