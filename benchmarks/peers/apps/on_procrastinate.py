"""Echo on FastAPI + procrastinate + PostgreSQL.

`python on_procrastinate.py` makes the tables, `uvicorn on_procrastinate:web` serves, `procrastinate --app=on_procrastinate.queue
worker` works. DATABASE_URL says where. procrastinate keeps no results, so the task writes them into a table of its own. Jobs of
workers that died are retried by a periodic task every ten minutes, as its documentation shows.
"""

import asyncio
import json
import os
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException
from procrastinate import App, PsycopgConnector
from pydantic import BaseModel

queue = App(connector=PsycopgConnector(conninfo=os.environ["DATABASE_URL"]))

TABLE = "CREATE TABLE results (job bigint PRIMARY KEY, output jsonb NOT NULL)"
KEEP = "INSERT INTO results (job, output) VALUES (%(job)s, %(output)s) ON CONFLICT (job) DO NOTHING"
FIND = """SELECT j.status::text AS status, r.output
          FROM procrastinate_jobs j LEFT JOIN results r ON r.job = j.id WHERE j.id = %(job)s"""


@queue.task(pass_context=True)
async def echo(context, given):
    await queue.connector.execute_query_async(KEEP, job=context.job.id, output=json.dumps(given))


@queue.periodic(cron="*/10 * * * *")
@queue.task(queueing_lock="retry_stalled")
async def retry_stalled(timestamp):
    for job in await queue.job_manager.get_stalled_jobs():
        await queue.job_manager.retry_job(job)


@asynccontextmanager
async def opened(app: FastAPI):
    async with queue.open_async():
        yield


web = FastAPI(lifespan=opened)


class Submit(BaseModel):
    input: dict


@web.post("/run")
async def run(submit: Submit):
    return {"id": str(await echo.defer_async(given=submit.input)), "status": "IN_QUEUE"}


@web.get("/status/{job}")
async def status(job: int):
    rows = await queue.connector.execute_query_all_async(FIND, job=job)
    if not rows:
        raise HTTPException(404, "no such job")
    if rows[0]["status"] == "succeeded":
        return {"id": str(job), "status": "COMPLETED", "output": rows[0]["output"]}
    return {"id": str(job), "status": "FAILED" if rows[0]["status"] == "failed" else "IN_QUEUE"}


async def make_tables():
    async with queue.open_async():
        await queue.schema_manager.apply_schema_async()
        await queue.connector.execute_query_async(TABLE)


if __name__ == "__main__":
    asyncio.run(make_tables())
