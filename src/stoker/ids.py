"""Names of things: one type per kind of id, and how new ones are drawn.

Ids travel in URLs that foreign SDKs build by plain concatenation, so every id is made of URL-safe characters only.
Secrets are drawn here too; only their SHA-256 is ever stored.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import secrets
from functools import partial
from typing import Final, NewType

TeamId = NewType("TeamId", str)
MemberId = NewType("MemberId", str)
KeyId = NewType("KeyId", str)
CredentialId = NewType("CredentialId", str)
TemplateId = NewType("TemplateId", str)
VolumeId = NewType("VolumeId", str)
EndpointId = NewType("EndpointId", str)
ReleaseId = NewType("ReleaseId", str)
JobId = NewType("JobId", str)
WorkerId = NewType("WorkerId", str)

_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
draw_64: Final = partial(random.getrandbits, 64)  # nosec B311
"""A number for what needs no secrecy and has to be cheap. Python seeds anew what forks."""
PLAIN_WORD: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""What may be the name of a request, and what is logged of a path: it cannot be mistaken for anything else in a line."""


def _draw(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def new_team_id() -> TeamId:
    """`team-` and twelve characters."""
    return TeamId(f"team-{_draw(12)}")


def new_member_id() -> MemberId:
    """`mem-` and twelve characters."""
    return MemberId(f"mem-{_draw(12)}")


def new_credential_id() -> CredentialId:
    """`cred-` and twelve characters."""
    return CredentialId(f"cred-{_draw(12)}")


def new_template_id() -> TemplateId:
    """`tpl-` and twelve characters."""
    return TemplateId(f"tpl-{_draw(12)}")


def new_volume_id() -> VolumeId:
    """`vol-` and twelve characters."""
    return VolumeId(f"vol-{_draw(12)}")


def new_key_id() -> KeyId:
    """`key-` and twelve characters."""
    return KeyId(f"key-{_draw(12)}")


def new_endpoint_id() -> EndpointId:
    """Fourteen lower-case characters, as Runpod's endpoint ids have."""
    return EndpointId(_draw(14))


def new_endpoint_name() -> str:
    """Sixteen hexadecimal characters, the default name that Novita proposes."""
    return secrets.token_hex(8)


def new_release_id() -> ReleaseId:
    """`rel-` and twelve characters."""
    return ReleaseId(f"rel-{_draw(12)}")


def new_job_id(at_ms: int, *, sync: bool = False) -> JobId:
    """A UUID of version 7; `sync-` before it for jobs of `/runsync`, as Runpod writes them.

    It begins with the moment, so that ids of jobs which arrive together lie together in an index; 74 bits are random.
    """
    chance = int.from_bytes(os.urandom(10))
    moment = f"{at_ms >> 16:08x}-{at_ms & 0xFFFF:04x}"
    uuid = f"{moment}-7{chance >> 68:03x}-{0x8000 | chance >> 54 & 0x3FFF:04x}-{chance & 0xFFFF_FFFF_FFFF:012x}"
    return JobId(f"sync-{uuid}" if sync else uuid)


def new_worker_id() -> WorkerId:
    """Fourteen lower-case characters, as Runpod's pod ids have."""
    return WorkerId(_draw(14))


def request_id(asked_as: str | None) -> str:
    """What a request is called: as its client or a proxy does, if that is a plain word, else sixteen new hexadecimal characters.

    They name a line of the log, so nobody gains by guessing them, and drawing them for each request has to be cheap.
    """
    return asked_as if asked_as is not None and PLAIN_WORD.fullmatch(asked_as) else f"{draw_64():016x}"


def new_api_key() -> str:
    """A customer's secret: `sk_` and 43 URL-safe characters (256 bits)."""
    return f"sk_{secrets.token_urlsafe(32)}"


def new_session_token() -> str:
    """The secret in the cookie of a session: 43 URL-safe characters (256 bits)."""
    return secrets.token_urlsafe(32)


def new_worker_token() -> str:
    """A worker's secret: 32 URL-safe characters (192 bits)."""
    return secrets.token_urlsafe(24)


def secret_hash(secret: str) -> str:
    """SHA-256 in hexadecimal. Enough for random secrets; never use it for passwords that people choose."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
