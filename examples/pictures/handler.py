"""Paints a picture in pure Python: about a second of honest work for one core, and something to look at.

    stoker endpoint create pictures --image dir:examples/pictures --command "python -u handler.py" \
        --min-workers 0 --max-workers 3 --idle-timeout 5 --slots 1

Every input field is optional: kind (julia, silk), palette (see png.py), seed, width, height, and for julia
c as [re, im]. The answer carries the picture as a PNG in base64, and all that is needed to paint it again.
"""

import base64
import random
import time

import runpod
from painters import PAINTERS, Canvas
from png import PALETTES, png, ramp

RANGES = {"seed": (0, 2**32 - 1), "width": (16, 1024), "height": (16, 1024)}


def handler(job):
    order = {"kind": "julia", "palette": "dusk", "seed": random.getrandbits(32), "width": 360, "height": 240}
    order |= job["input"]
    if problem := wrong(order):
        return {"error": problem}
    started = time.perf_counter()
    picture = base64.b64encode(paint(job, **order)).decode()
    return order | {"image_base64": picture, "seconds": round(time.perf_counter() - started, 3)}


def wrong(order):
    """What keeps the order from being painted, in a sentence, or None."""
    if unknown := sorted(order.keys() - RANGES.keys() - {"kind", "palette", "c"}):
        return f"unknown input: {', '.join(unknown)}"
    for name, choices in (("kind", PAINTERS), ("palette", PALETTES)):
        if order[name] not in list(choices):
            return f"{name} must be one of {', '.join(choices)}"
    for name, (low, high) in RANGES.items():
        if type(order[name]) is not int or not low <= order[name] <= high:
            return f"{name} must be a whole number from {low} to {high}"
    if "c" in order and not (order["kind"] == "julia" and is_point(order["c"])):
        return "c must be [re, im], each from -2 to 2, and belongs to kind julia"
    return None


def is_point(c):
    return type(c) is list and len(c) == 2 and all(type(part) in (int, float) and -2 <= part <= 2 for part in c)


def paint(job, kind, palette, seed, width, height, **point):
    canvas = Canvas(width=width, height=height, ramp=ramp(palette), rng=random.Random(seed))
    rows, quarter = [], -(-height // 4)
    for row in PAINTERS[kind](canvas, **{c: complex(*parts) for c, parts in point.items()}):
        rows.append(row)
        if len(rows) % quarter == 0 and len(rows) < height:
            runpod.serverless.progress_update(job, {"rows": len(rows), "of": height})
    return png(width, height, rows)


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
