"""Echo on Ray Serve with a task consumer: `python on_ray.py PORT`. REDIS_URL is the broker and the result backend."""

import os
import sys

from fastapi import FastAPI
from pydantic import BaseModel
from ray import serve
from ray.serve.schema import CeleryAdapterConfig, TaskProcessorConfig
from ray.serve.task_consumer import instantiate_adapter_from_config, task_consumer, task_handler

TASKS = TaskProcessorConfig(
    queue_name="echo",
    adapter_config=CeleryAdapterConfig(broker_url=os.environ["REDIS_URL"], backend_url=os.environ["REDIS_URL"]),
)
web = FastAPI()


class Submit(BaseModel):
    input: dict


@serve.deployment(max_ongoing_requests=10)
@task_consumer(task_processor_config=TASKS)
class Consumer:
    @task_handler(name="echo")
    def echo(self, given):
        return given


@serve.deployment(max_ongoing_requests=100)
@serve.ingress(web)
class Jobs:
    def __init__(self, consumer):
        self.consumer = consumer  # bound here so that it is deployed with the ingress
        self.tasks = instantiate_adapter_from_config(TASKS)

    @web.post("/run")
    def run(self, submit: Submit):
        return {"id": self.tasks.enqueue_task_sync("echo", kwargs={"given": submit.input}).id, "status": "IN_QUEUE"}

    @web.get("/status/{job}")
    def status(self, job: str):
        task = self.tasks.get_task_status_sync(job)
        # the adapter reads the result before the status: of a job that ends in between, it has only the status
        if task.status == "SUCCESS" and task.result is not None:
            return {"id": job, "status": "COMPLETED", "output": task.result}
        return {"id": job, "status": "FAILED" if task.status == "FAILURE" else "IN_QUEUE"}


app = Jobs.bind(Consumer.bind())

if __name__ == "__main__":
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(app, blocking=True)
