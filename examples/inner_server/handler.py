"""Beside the server: takes jobs, hands their images to it, and gives the results back, or uploads them if there is a bucket.

Input: `{"images": [{"name": "a.png", "image": "<base64>"}]}`. Output: `{"images": [{"filename", "type": "base64" or "s3_url", "data"}]}`.
"""

import base64
import os
import time
import urllib.error
import urllib.request
from typing import Any

import runpod
from runpod.serverless.utils import rp_upload

SERVER = "http://127.0.0.1:8188"
UP_WITHIN_S = 60


def ask(path: str, body: bytes | None = None) -> bytes:
    """One request to the server beside us."""
    with urllib.request.urlopen(f"{SERVER}{path}", body, timeout=30) as answer:
        content: bytes = answer.read()
        return content


def wait_until_up() -> None:
    """The server beside us starts more slowly than we do."""
    for _ in range(UP_WITHIN_S * 20):
        try:
            ask("/")
            return
        except urllib.error.URLError:
            time.sleep(0.05)
    raise SystemExit("the server beside us does not come up")


def deliver(job: str, name: str, image: bytes) -> dict[str, str]:
    """To the bucket of the `BUCKET_*` variables, or within the answer."""
    if os.environ.get("BUCKET_ENDPOINT_URL"):
        path = f"/tmp/{job}-{name}"
        with open(path, "wb") as file:
            file.write(image)
        return {"filename": name, "type": "s3_url", "data": rp_upload.upload_image(job, path)}
    return {"filename": name, "type": "base64", "data": base64.b64encode(image).decode()}


def handler(job: dict[str, Any]) -> dict[str, Any]:
    """Each image through the server. When that is dead this worker is of no more use: it asks to be replaced."""
    try:
        if job["input"].get("crash"):
            ask("/crash", b"")
        images = [(one["name"], base64.b64decode(one["image"])) for one in job["input"].get("images", [])]
        done = [deliver(job["id"], name, ask("/invert", image)) for name, image in images]
    except (OSError, ConnectionError) as error:
        return {"error": f"the server beside the handler is gone: {error}", "refresh_worker": True}
    return {"images": done}


if __name__ == "__main__":
    wait_until_up()
    runpod.serverless.start({"handler": handler})
