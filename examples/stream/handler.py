"""A streaming worker: every yielded value reaches the client at once, and the output holds them all in the end.

    stoker endpoint create stream --image dir:examples/stream --command "python -u handler.py" \
        --min-workers 0 --max-workers 3 --idle-timeout 5 --slots 1

Input, all optional: text (or prompt), whose words are told one by one, and words_per_second (0.1 to 1000, default 10).
"""

import time

import runpod

TALE = "Once there was a stoker who kept the fires fed all night and let them sleep when nobody was cold."


def handler(job):
    order = job["input"]
    text, pace = order.get("text") or order.get("prompt") or TALE, order.get("words_per_second", 10)
    if not isinstance(text, str):
        yield {"error": "text must be text"}
    elif type(pace) not in (int, float) or not 0.1 <= pace <= 1000:
        yield {"error": "words_per_second must be a number from 0.1 to 1000"}
    else:
        for word in text.split():
            yield word
            time.sleep(1 / pace)


if __name__ == "__main__":
    runpod.serverless.start({"handler": handler, "return_aggregate_stream": True})
