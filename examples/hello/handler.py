"""The smallest useful worker: greets, pretending to work for a while and saying how far it is.

    stoker endpoint create hello --image dir:examples/hello --command "python -u handler.py" \
        --min-workers 0 --max-workers 3 --idle-timeout 5 --slots 1

Input: name or prompt (text), and seconds of pretended work (0 to 600, default 1).
"""

import time

import runpod

STEPS = 3


def handler(job):
    order = job["input"]
    name, seconds = order.get("name") or order.get("prompt"), order.get("seconds", 1)
    if not isinstance(name, str):
        return {"error": "input needs a name or a prompt: text to greet"}
    if type(seconds) not in (int, float) or not 0 <= seconds <= 600:
        return {"error": "seconds must be a number from 0 to 600"}
    for step in range(STEPS):
        runpod.serverless.progress_update(job, {"step": step + 1, "of": STEPS})
        time.sleep(seconds / STEPS)
    return {"greeting": f"Hello, {name}!", "seconds": seconds}


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler})
