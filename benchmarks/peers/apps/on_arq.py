"""Echo on FastAPI + arq + Redis: `uvicorn on_arq:web` and `arq on_arq.Worker`.

REDIS_URL is where the jobs are. POLL_DELAY_S, if given, is how often the worker looks for jobs; arq's default is 0.5. MAX_JOBS, if
given, is how many it runs at once; arq's default is 10.
"""

import os
from contextlib import asynccontextmanager

from arq import create_pool
from arq.connections import RedisSettings
from arq.jobs import Job, JobStatus
from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel

REDIS = RedisSettings.from_dsn(os.environ["REDIS_URL"])


async def echo(context, given):
    return given


class Worker:
    functions = (echo,)
    redis_settings = REDIS
    if "POLL_DELAY_S" in os.environ:
        poll_delay = float(os.environ["POLL_DELAY_S"])
    if "MAX_JOBS" in os.environ:
        max_jobs = int(os.environ["MAX_JOBS"])


@asynccontextmanager
async def pool(app: FastAPI):
    app.state.redis = await create_pool(REDIS)
    yield
    await app.state.redis.aclose()


web = FastAPI(lifespan=pool)


class Submit(BaseModel):
    input: dict


@web.post("/run")
async def run(submit: Submit, request: Request):
    job = await request.app.state.redis.enqueue_job("echo", submit.input)
    return {"id": job.job_id, "status": "IN_QUEUE"}


@web.get("/status/{job}")
async def status(job: str, request: Request):
    found = Job(job, request.app.state.redis)
    result = await found.result_info()
    if result is not None:
        return {"id": job, "status": "COMPLETED" if result.success else "FAILED", "output": result.result}
    if await found.status() is JobStatus.not_found:
        raise HTTPException(404, "no such job")
    return {"id": job, "status": "IN_QUEUE"}
