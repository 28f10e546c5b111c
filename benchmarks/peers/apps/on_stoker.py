"""Echo as a worker of Stoker without an SDK: ten threads that take, echo and report, and one that pings.

It stands for a worker that costs little, so that the row shows the queue and the API. The standard library is enough.
"""

import json
import os
import threading
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

SLOTS = 10
holding = set()


class Line:
    """A keep-alive connection to the address in one of the worker's variables."""

    def __init__(self, variable):
        url = urlsplit(os.environ[variable])
        self.path = f"{url.path}?{url.query}"
        self.connection = HTTPConnection(url.netloc, timeout=60)

    def call(self, method, path, body=None):
        try:
            self.connection.request(method, path, body)
            answer = self.connection.getresponse()
            return answer.status, answer.read()
        except (OSError, HTTPException):
            self.connection.close()
            threading.Event().wait(0.1)
            return 0, b""


def work():
    take, done = Line("RUNPOD_WEBHOOK_GET_JOB"), Line("RUNPOD_WEBHOOK_POST_OUTPUT")
    while True:
        status, body = take.call("GET", f"{take.path}&job_in_progress={int(bool(holding))}")
        if status != 200:
            continue
        job = json.loads(body)
        holding.add(job["id"])
        result = json.dumps({"output": job["input"]})
        while done.call("POST", done.path.replace("$ID", job["id"]), result)[0] == 0:
            pass
        holding.discard(job["id"])


def ping():
    line = Line("RUNPOD_WEBHOOK_PING")
    pause = threading.Event()
    while not pause.wait(int(os.environ["RUNPOD_PING_INTERVAL"]) / 1000):
        line.call("GET", f"{line.path}&job_id={','.join(list(holding))}")


for _ in range(SLOTS):
    threading.Thread(target=work).start()
ping()
