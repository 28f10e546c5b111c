"""Whether a Docker engine is there, and can do what workers need."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import Any, Final, Literal

from stoker.clock import SystemClock
from stoker.config import Settings
from stoker.containers import engine_of
from stoker.doctor.finding import Finding
from stoker.doctor.machine import disk_finding
from stoker.errors import Unavailable
from stoker.loops.duty import SKEW_MOST_MS
from stoker.runtimes import Capacity
from stoker.runtimes.docker import Engine, disk, firewall
from stoker.runtimes.output import moment_ms

ENGINE_LEAST: Final = (20, 10)
"""The first with `host-gateway`, by which containers reach the machine."""


async def _ask(engine: Engine) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        return await engine.version(), await engine.info()
    finally:
        await engine.close()


def engine_findings(settings: Settings, capacity: Capacity) -> list[Finding]:
    """What is to be said of the engine that the settings name. Blocks."""
    engine: Engine | None = None
    try:
        engine = engine_of(settings)
        version, info = asyncio.run(_ask(engine))
    except Unavailable as error:
        verdict: Literal["note", "wrong"] = "wrong" if settings.runtime == "docker" else "note"
        return [Finding(subject="Docker engine", verdict=verdict, text=error.message, fix=_engine_fix(engine, error))]
    found = [version_finding(str(version["Version"])), clock_finding(str(info["SystemTime"]), SystemClock().now_ms())]
    found += [
        driver_finding(info),
        *limit_findings(info),
        _firewall_finding(settings),
        *toolkit_findings(info, capacity),
    ]
    root = Path(str(info["DockerRootDir"]))
    if root.exists():
        found.append(disk_finding("engine's disk", root))
    if any("rootless" in one for one in info.get("SecurityOptions") or ()) and not settings.worker_url:
        found.append(_rootless_finding())
    return found


def _engine_fix(engine: Engine | None, error: Unavailable) -> str:
    if engine is None:
        return error.next_step or ""
    path = Path(engine.host.removeprefix("unix://"))
    if path.exists():
        return (
            "let this user talk to it (usermod -aG docker USER, then log in again), or start it: systemctl start docker"
        )
    return "install it (apt-get install docker.io) and start it (systemctl start docker); or run workers as processes"


def version_finding(version: str) -> Finding:
    """Whether the engine is new enough."""
    numbers = tuple(int(part) for part in version.split("+")[0].split(".")[:2] if part.isdigit())
    if numbers < ENGINE_LEAST:
        return Finding(
            subject="Docker engine",
            verdict="wrong",
            text=f"version {version} is too old",
            fix="upgrade it to 20.10 or newer",
        )
    return Finding(subject="Docker engine", verdict="ok", text=f"version {version}")


def clock_finding(engine_time: str, now_ms: int) -> Finding:
    """Whether the engine's clock is ours: the times of log lines come from it."""
    skew_ms = moment_ms(engine_time) - now_ms
    if abs(skew_ms) > SKEW_MOST_MS:
        return Finding(
            subject="clock", verdict="wrong", text=f"the engine's is {skew_ms} ms off", fix="set both by NTP"
        )
    return Finding(subject="clock", verdict="ok", text="the engine's and this machine's agree")


def driver_finding(info: dict[str, Any]) -> Finding:
    """Whether the engine itself can limit what a container writes."""
    driver, status = str(info["Driver"]), dict(info.get("DriverStatus") or ())
    if disk.keeps_limits(info):
        return Finding(subject="disk limits", verdict="ok", text=f"{driver} can enforce them (xfs needs pquota)")
    return Finding(
        subject="disk limits",
        verdict="note",
        text=f"{driver} on {status.get('Backing Filesystem', 'this file system')} cannot enforce them: they are watched instead",
    )


def limit_findings(info: dict[str, Any]) -> list[Finding]:
    """Whether the engine can limit memory, CPU and processes at all: a rootless one often cannot."""
    if info.get("CgroupDriver") != "none":
        return []
    return [
        Finding(
            subject="limits",
            verdict="note",
            text="this engine does not limit memory, CPU and processes of containers",
            fix="use systemd and cgroup 2, and delegate the controllers to the engine's user",
        )
    ]


def toolkit_findings(info: dict[str, Any], capacity: Capacity) -> list[Finding]:
    """Whether containers can get the GPUs that there are."""
    if not capacity.devices:
        return []
    if "nvidia" in (info.get("Runtimes") or {}):
        return [Finding(subject="GPU toolkit", verdict="ok", text="the engine can give GPUs to containers")]
    return [
        Finding(
            subject="GPU toolkit",
            verdict="wrong",
            text="the engine cannot give GPUs to containers",
            fix="install nvidia-container-toolkit, run: nvidia-ctk runtime configure --runtime=docker, restart the engine",
        )
    ]


def _rootless_finding() -> Finding:
    return Finding(
        subject="rootless engine",
        verdict="wrong",
        text="its containers do not reach this machine's loopback or bridges",
        fix="listen on an address of the network (--host) and set STOKER_WORKER_URL=http://ADDRESS:PORT",
    )


def _firewall_finding(settings: Settings) -> Finding:
    """Whether workers are kept from the cloud's metadata. Only root can look."""
    subject = "metadata addresses"
    if settings.block_metadata == "never":
        return Finding(subject=subject, verdict="note", text="workers may reach them: block_metadata is never")
    missing = firewall.missing()
    if not missing:
        return Finding(subject=subject, verdict="ok", text="workers cannot reach them")
    if os.geteuid() == 0 and shutil.which("iptables"):
        return Finding(subject=subject, verdict="ok", text="the server closes them before it starts its first worker")
    return Finding(
        subject=subject,
        verdict="wrong" if settings.block_metadata == "always" else "note",
        text="cannot see that workers are kept from 169.254.169.254, where clouds keep a machine's credentials",
        fix="as root, once after each start of the machine: " + "; ".join(firewall.commands()),
    )
