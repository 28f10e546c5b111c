"""Echo on FastAPI + Celery + Redis: `uvicorn on_celery:web` and `celery -A on_celery:queue worker`.

REDIS_URL is the broker and the result backend; ACKS_LATE=1 acknowledges a task after it has run instead of before.
"""

import os

from celery import Celery
from fastapi import FastAPI
from pydantic import BaseModel

queue = Celery("echo", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])
if os.environ.get("ACKS_LATE"):
    queue.conf.update(task_acks_late=True, task_reject_on_worker_lost=True)
web = FastAPI()


class Submit(BaseModel):
    input: dict


@queue.task
def echo(given):
    return given


@web.post("/run")
def run(submit: Submit):
    return {"id": echo.delay(submit.input).id, "status": "IN_QUEUE"}


@web.get("/status/{job}")
def status(job: str):
    result = queue.AsyncResult(job)
    if result.successful():
        return {"id": job, "status": "COMPLETED", "output": result.result}
    return {"id": job, "status": "FAILED" if result.failed() else "IN_QUEUE"}
