"""Two ways to paint: each takes a canvas and yields its rows of RGB bytes, one by one."""

import cmath
import math
from collections.abc import Iterator
from dataclasses import dataclass
from math import sin
from operator import add
from random import Random


@dataclass(frozen=True, kw_only=True)
class Canvas:
    width: int
    height: int
    ramp: list[bytes]
    rng: Random

    def colour(self, band: float, lit: float) -> bytes:
        """The ramp's colour at `band` (whole numbers are its start), made darker or lighter."""
        return bytes([min(255, int(part * lit)) for part in self.ramp[int(band * len(self.ramp)) % len(self.ramp)]])


def julia(canvas: Canvas, c: complex | None = None) -> Iterator[bytes]:
    """One eye of the Julia set of `c`, seen with the set's long axis level."""
    c = _beside_the_heart(canvas.rng) if c is None else c
    tip = (1 + cmath.sqrt(1 - 4 * c)) / 2
    step, centre = cmath.rect(1.4 / canvas.width, cmath.phase(tip)), 0.85 * (1 - tip)
    turn = canvas.rng.random()
    for y in range(canvas.height):
        points = [centre + complex(x - canvas.width / 2, canvas.height / 2 - y) * step for x in range(canvas.width)]
        yield b"".join([_escape(canvas, turn, point, c, abs(step)) for point in points])


def _beside_the_heart(rng: Random) -> complex:
    """A number just outside the heart of the Mandelbrot set, and in none of its buds: there the spirals are."""
    while True:
        heart = cmath.rect(1, rng.uniform(0.3, 2.9))
        z = c = (heart / 2 - heart * heart / 4) * rng.uniform(1.03, 1.09)
        for _ in range(80):
            z = z * z + c
            if abs(z) > 2:
                return c


def _escape(canvas: Canvas, turn: float, z: complex, c: complex, slope: complex, limit: int = 250) -> bytes:
    """How soon z*z + c escapes gives the colour; `slope`, its growth per pixel, gives the light, and dark edges."""
    for count in range(limit):  # noqa: B007 - used below the loop
        slope *= 2 * z
        z = z * z + c
        if abs(z) > 40:
            break
    else:
        return canvas.ramp[0]
    size, grade = abs(z), abs(slope) or 1e-9
    facing = (z * slope.conjugate() * cmath.rect(1, -2.3)).real / size / grade
    edge = min(1.0, 4 * size * math.log(size) / grade)
    return canvas.colour(turn + 0.6 * math.log(count + 4 - math.log2(math.log(size))), edge * (0.7 + 0.5 * facing))


def silk(canvas: Canvas) -> Iterator[bytes]:
    """The plane bent by one wave after the other, lit where it slopes; painted at double size for smooth folds."""
    rows = _silk_doubled(canvas)
    return (_halve(upper, lower) for upper, lower in zip(rows, rows, strict=True))


def _silk_doubled(canvas: Canvas) -> Iterator[bytes]:
    draw, step, turn = canvas.rng.uniform, 2 / canvas.height, canvas.rng.random()
    waves = [(draw(0.75, 1.5) / f, draw(0.7, 1.25) * f, draw(0, 6), draw(0, 6)) for f in (1, 1.4, 2, 2.9, 4.2, 6)]
    above = None
    for y in range(2 * canvas.height):
        level = [_bend(waves, x * step, y * step) for x in range(2 * canvas.width)]
        neighbours = zip(level, level[:1] + level[:-1], above or level, strict=True)
        lights = [1 + max(-0.55, min(0.45, (2 * a - b - c) / step / 30)) for a, b, c in neighbours]
        yield b"".join([canvas.colour(turn + 0.22 * a, light) for a, light in zip(level, lights, strict=True)])
        above = level


def _bend(waves: list[tuple[float, ...]], x: float, y: float) -> float:
    for size, frequency, shift, other in waves:
        x += size * sin(frequency * y + shift)
        y += size * sin(frequency * x + other)
    return sin(x * 0.6) + sin(y * 0.6 + x * 0.3)


def _halve(upper: bytes, lower: bytes) -> bytes:
    """Two rows as one of half the width: every pixel the mean of four."""
    sums = list(map(add, upper, lower))
    means = [pair >> 2 for pair in map(add, sums, sums[3:])]
    return b"".join(bytes(means[at : at + 3]) for at in range(0, len(sums), 6))


PAINTERS = {"julia": julia, "silk": silk}
