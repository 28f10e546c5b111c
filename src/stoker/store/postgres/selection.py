"""What looking for jobs needs to know about PostgreSQL."""

from __future__ import annotations

from typing import Final

from stoker.store.postgres.jobs import LISTS as OF_STATE
from stoker.store.postgres.jobs import SEQ_OF
from stoker.store.selecting import Lists

LISTS: Final = Lists(of_state=OF_STATE, seq_of=SEQ_OF, holds="position({part} in {whole}) > 0")
