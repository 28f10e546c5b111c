"""Echo as a BentoML task: `bentoml serve on_bentoml:Echo`. BentoML itself adds submit, status and get."""

import bentoml


@bentoml.service
class Echo:
    @bentoml.task
    async def echo(self, input: dict) -> dict:
        return input
