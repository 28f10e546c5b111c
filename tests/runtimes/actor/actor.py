"""A worker for the runtime suite, of the standard library only: `python actor.py ACT ARGUMENT...`.

The first acts are those of the contract; `stages.play` knows the same ones for the fake runtime. The others are for real
processes only.
"""

import os
import signal
import sys
import time


def until(number: signal.Signals, *, say: str) -> None:
    """Say something once the signal can no longer be missed, and wait for it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    print(say, flush=True)
    signal.sigwait({number})


def spawn(*, session: bool, orphan: bool) -> int:
    """A process that ignores SIGTERM and has an empty environment; its id."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        if session:
            os.setsid()
        if orphan and os.fork() != 0:
            os._exit(0)
        os.write(writer, str(os.getpid()).encode())
        os.close(writer)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.execve("/bin/sleep", ["sleep", "1000"], {})
    os.close(writer)
    if orphan:
        os.waitpid(pid, 0)
    return int(os.read(reader, 20))


def flood(count: int) -> None:
    """So many numbered lines, as fast as they go."""
    for start in range(0, count, 1000):
        os.write(1, b"".join(b"line %d of a flood\n" % number for number in range(start, min(start + 1000, count))))


act, *arguments = sys.argv[1:]
match act:
    case "exit":
        sys.exit(int(arguments[0]))
    case "print":
        print("\n".join(arguments))
    case "environment":
        print("\n".join(f"{name}={os.environ.get(name, '(not set)')}" for name in arguments))
    case "crash":
        raise RuntimeError(arguments[0])
    case "obey":
        until(signal.SIGTERM, say="up")
        print("told")
        sys.exit(int(arguments[0]))
    case "linger":
        until(signal.SIGTERM, say="up")
        time.sleep(3)
        sys.exit(int(arguments[0]))
    case "tarry":  # told to end, it ends when it is told so by another word
        until(signal.SIGTERM, say="up")
        until(signal.SIGUSR1, say="told")
        print("over")
        sys.exit(int(arguments[0]))
    case "hoard":
        with open("hoard", "wb") as hoard:
            hoard.write(bytes(int(arguments[0]) << 20))
        until(signal.SIGTERM, say="up")
    case "ignore":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        until(signal.SIGUSR1, say="up")
    case "die":  # SIGTERM does what it does to a program that never heard of it
        until(signal.SIGUSR1, say="up")
    case "leave":
        print(" ".join(sorted(os.listdir())))
        open("left-behind", "w").close()
    case "all-environment":
        print("\n".join(sorted(os.environ)))
    case "family":
        members = [os.getpid(), spawn(session=False, orphan=False), spawn(session=True, orphan=False)]
        members.append(spawn(session=True, orphan=True))
        until(signal.SIGUSR1, say=" ".join(map(str, members)))
    case "abandon":
        print(spawn(session=True, orphan=True))
    case "flood":
        flood(int(arguments[0]))
        print("the last words", flush=True)
        sys.exit(3)
    case "quiet":  # closes its output and goes on
        print("up", flush=True)
        os.close(1)
        os.close(2)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        signal.sigwait({signal.SIGTERM})
        os._exit(4)
    case _:
        raise AssertionError(f"unknown act: {act}")
