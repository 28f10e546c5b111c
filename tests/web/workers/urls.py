"""A worker that only tells its own environment, to the file named by TELL, and waits: the test makes its calls."""

import json
import os
import signal
from pathlib import Path

print("up", flush=True)
told = Path(os.environ["TELL"])
draft = told.with_suffix(f".{os.getpid()}")
draft.write_text(json.dumps(dict(os.environ)))
draft.rename(told)
signal.pause()
