"""How long a person looks at nothing: the console in a browser whose cache is empty, beside a page without any script.

    python -m benchmarks.console [TIMES]

Needs Chromium (Debian: chromium) and the built console (`make console`). For each page: the first paint with content, the moment at which
its heading and what it is about stand there, and the bytes of script that it took, as they came over the wire.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.rig import KEY, NAME, StokerServer

PAGES: Final = {
    "sign in": ("/", "form"),
    "Home": ("/", "main section"),
    "Endpoints": ("/endpoints", "main table tbody tr"),
    "an endpoint": (f"/endpoints/{NAME}", "main section"),
    "its jobs": (f"/endpoints/{NAME}/jobs", "main h1"),
    "Playground": (f"/playground/{NAME}", "main textarea"),
}
"""Where each is, and what stands there when it says something."""
FLOOR: Final = ("/healthz", "body")
"""The same server, the same browser, no script."""
TIMES: Final = 9
_PAINTED: Final = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"
_SCRIPTS: Final = """() => performance.getEntriesByType('resource')
    .filter(one => new URL(one.name).pathname.endsWith('.js')).reduce((sum, one) => sum + one.transferSize, 0)"""


class Seen(NamedTuple):
    """One opening of a page."""

    painted_ms: float
    there_ms: float
    script_bytes: int


def look(browser: Browser, url: str, path: str, what: str, *, signed_in: bool) -> Seen:
    """Open a page as somebody who was never here before."""
    context = browser.new_context(base_url=url, viewport={"width": 1360, "height": 860})
    try:
        if signed_in:
            made = context.request.post("/api/session", data={"key": KEY}, headers={"X-Stoker-Console": "1"})
            assert made.ok, made.text()
        page = context.new_page()
        page.goto(path, wait_until="commit")
        page.locator(what).first.wait_for()
        there_ms = float(page.evaluate("() => performance.now()"))
        return Seen(_painted(page), there_ms, int(page.evaluate(_SCRIPTS)))
    finally:
        context.close()


def _painted(page: Page) -> float:
    return float(page.wait_for_function(_PAINTED).json_value())


def main(times: int) -> None:
    """Open each page so often, in turn with the floor, and print the middle ones."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("needs Chromium: apt-get install chromium")
    seen: dict[str, list[Seen]] = {name: [] for name in ("no script", *PAGES)}
    with (
        tempfile.TemporaryDirectory() as folder,
        StokerServer(Path(folder), workers=0) as server,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for _ in range(times):
            seen["no script"].append(look(browser, server.url, *FLOOR, signed_in=False))
            for name, (path, what) in PAGES.items():
                seen[name].append(look(browser, server.url, path, what, signed_in=name != "sign in"))
        browser.close()
    print("| page | first paint, ms | it says something, ms | of the page without script | script, KB |")
    print("| --- | --- | --- | --- | --- |")
    for name, looks in seen.items():
        ratios = [one.there_ms / floor.there_ms for one, floor in zip(looks, seen["no script"], strict=True)]
        print(
            f"| {name} | {median(one.painted_ms for one in looks):.0f} | {median(one.there_ms for one in looks):.0f}"
            f" | {median(ratios):.1f} | {median(one.script_bytes for one in looks) / 1000:.0f} |"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else TIMES)
