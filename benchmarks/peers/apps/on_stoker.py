"""Echo as a worker of Stoker without an SDK: a connection for each job that it may hold, which takes, echoes and reports; one more pings.

It stands for a worker that costs little, so that the row shows the queue and the API.
"""

import asyncio
import json
import os
from urllib.parse import urlsplit

import uvloop

SLOTS = int(os.environ["SLOTS"])
AGAIN_S = 0.1
TAKE, REPORT, PING = (urlsplit(os.environ[f"RUNPOD_WEBHOOK_{what}"]) for what in ("GET_JOB", "POST_OUTPUT", "PING"))
holding = set()


class Connection(asyncio.Protocol):
    """One request at a time, and again from its beginning when the connection is lost."""

    def connection_made(self, transport):
        self.transport, self.came = transport, b""
        self.begin()

    def ask(self, method, url, more="", body=b""):
        head = f"{method} {url.path}?{url.query}{more} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: {len(body)}\r\n\r\n"
        self.transport.write(head.encode() + body)

    def data_received(self, data):
        self.came += data
        head, end, body = self.came.partition(b"\r\n\r\n")
        _, named, size = head.lower().partition(b"content-length: ")
        if end and len(body) >= (int(size.split(b"\r\n")[0]) if named else 0):
            self.came = b""
            self.answered(int(head[9:12]), body)

    def connection_lost(self, error):
        asyncio.get_running_loop().call_later(AGAIN_S, lambda: asyncio.ensure_future(connect(self)))


class Slot(Connection):
    """Holds one job at most."""

    job = None

    def begin(self):
        if self.job:
            url = REPORT._replace(path=REPORT.path.replace("$ID", self.job["id"]))
            self.ask("POST", url, body=json.dumps({"output": self.job["input"]}).encode())
        else:
            self.ask("GET", TAKE, f"&job_in_progress={int(bool(holding))}")

    def answered(self, status, body):
        if self.job:
            holding.discard(self.job["id"])
            self.job = None
        elif status == 200:
            self.job = json.loads(body)
            holding.add(self.job["id"])
        self.begin()


class Pinger(Connection):
    """Says which jobs are held."""

    def begin(self):
        self.ask("GET", PING, f"&job_id={','.join(holding)}")

    def answered(self, status, body):
        asyncio.get_running_loop().call_later(int(os.environ["RUNPOD_PING_INTERVAL"]) / 1000, self.begin)


async def connect(connection):
    try:
        await asyncio.get_running_loop().create_connection(lambda: connection, TAKE.hostname, TAKE.port)
    except OSError as error:
        connection.connection_lost(error)


async def work():
    for connection in (Pinger(), *(Slot() for _ in range(SLOTS))):
        await connect(connection)
    await asyncio.Event().wait()


uvloop.run(work())
