"""What a user did wrong, as distinct from what this program does wrong; and the exit status of each."""

import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass

from fdetect_jax import interrupts

WRONG_USE, FAILED, INTERRUPTED, BROKEN_PIPE = 2, 70, 130, 141  # exit status; 1 is a verdict of ``fdetect predict``

FULL = (errno.ENOSPC, errno.EDQUOT)  # of an OSError: no space is left, or none of the user's share

_LONGEST = 2000  # characters of a message

_GONE = ("Gloo", "oordination service", "heartbeat", "NCCL")  # in what XLA says when a process of a run is gone


class UserError(ValueError):
    """A mistake in what was asked for: a field, a file or a folder that cannot be used.

    The message names it, says what was found and what was wanted. The command line prints it as one line and exits
    with status 2; every other exception keeps its traceback.
    """


class UnreadableRecord(UserError):
    """A stored face crop that cannot be read or decoded; the message names its shard and its number in it.

    Training quarantines such records. An error in the program's own code is never raised as one.
    """


@dataclass
class Status:
    """code: the exit status of a command."""

    code: int = 0


@contextlib.contextmanager
def exit_status() -> Iterator[Status]:
    """Runs a command; an exception becomes a message on stderr and an exit status in the ``Status`` that it yields.

    One line and 2: a UserError, an OSError, a full disk, or a platform that JAX cannot use. One line and 70: no memory
    is left, or another process of the run has ended. One line and 130: Ctrl-C. Nothing and 141: the reader of a pipe
    has gone. A traceback and 70: every other exception, which is a fault of this program. SystemExit passes.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # names of files can be of any bytes
    status = Status()
    try:
        with interrupts.kept():
            yield status
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        status.code = INTERRUPTED
        print("stopped", file=sys.stderr)
    except BrokenPipeError:
        status.code = BROKEN_PIPE
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains at its end
    except (UserError, OSError) as error:
        status.code = WRONG_USE
        print(f"error: {_one_line(error)}", file=sys.stderr)
    except Exception as error:
        if (line := _no_space(error) or backend_trouble(error)) is not None:
            status.code = WRONG_USE
        elif (line := _no_memory(error) or _left_alone(error)) is not None:
            status.code = FAILED
        else:
            status.code = FAILED
            traceback.print_exc()
        if line:
            print(f"error: {line}", file=sys.stderr)


def _one_line(error: Exception) -> str:
    """The message, its middle cut out where it is long: it may quote what a damaged file holds."""
    text = " ".join(str(error).splitlines())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} … {text[-_LONGEST // 2 :]}"


def backend_trouble(error: Exception) -> str | None:
    """What is wrong with JAX's platform or environment, as one line; None where the error is of another kind."""
    frames = traceback.extract_tb(error.__traceback__)
    files = {os.sep.join(frame.filename.split(os.sep)[-2:]) for frame in frames}
    if isinstance(error, ValueError) and os.path.join("_src", "config.py") in files:
        return f"JAX: {' '.join(str(error).split())}"  # an environment variable of another type
    if os.path.join("_src", "xla_bridge.py") not in files:
        return None
    wanted = os.environ.get("JAX_PLATFORMS")
    named = f"JAX_PLATFORMS: found {wanted!r}, which" if wanted else "JAX finds a platform that"
    return f"{named} cannot be used here: {' '.join(str(error).split()) or 'its plugin is not installed'}"


def _no_space(error: Exception) -> str | None:
    """One line where a disk is full, of which libraries in C++ write in errors of their own."""
    text = " ".join(str(error).split())
    full = any(os.strerror(code) in text for code in FULL)
    return f"no space is left on the disk: {text[:300]}" if full else None


def _left_alone(error: Exception) -> str | None:
    """One line where XLA says that another process of the run is gone."""
    text = " ".join(str(error).split())
    gone = type(error).__name__ == "JaxRuntimeError" and any(sign in text for sign in _GONE)
    return f"another process of this run has ended; started again, the run goes on ({text[:200]})" if gone else None


def _no_memory(error: Exception) -> str | None:
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return f"no memory is left{f': {text}' if text else ''}"
    if "RESOURCE_EXHAUSTED" in text:
        return f"no memory is left on the device: {text[:300]}"
    return None
