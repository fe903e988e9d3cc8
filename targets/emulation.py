"""Processes that run images in the emulator, kept for the next image.

Unicorn stays out of this process: its licence is another one, and a bug of it ends the process.
Starting one takes a third of a second, as long as most images run.
"""

import atexit
import os
import pickle
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from tinyc.compiler.errors import CompileError

if TYPE_CHECKING:  # this imports Unicorn's package, which is an extra
    from tinyc.targets.emulator.worker import Emulation, Job

START = "from tinyc.targets.emulator.worker import main; main()"
MOST_JOBS = 50  # of one process: Unicorn does not give back all of its memory


@dataclass(slots=True, eq=False)
class Worker:
    """A process that takes jobs; errors: what it writes to its standard error."""

    process: "subprocess.Popen[bytes]"
    errors: IO[bytes]
    jobs: int = 0

    def close(self) -> None:
        """Let it end: it has no more jobs."""
        assert self.process.stdin and self.process.stdout, "both are pipes"
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()
        self.errors.close()


_idle: list[Worker] = []  # they hold nothing of a job that is done


def run_job(job: "Job", timeout_s: float) -> "tuple[Emulation | CompileError, ...]":
    """The emulations of a job's samples; one for all when only the first is counted.

    Raises CompileError("run-failed") when the emulator ends itself or takes too long.
    """
    worker = _idle.pop() if _idle else _start()
    assert worker.process.stdin and worker.process.stdout, "both are pipes"
    timer = threading.Timer(timeout_s, worker.process.kill)
    timer.start()
    try:
        pickle.dump(job, worker.process.stdin)
        worker.process.stdin.flush()
        result = pickle.load(worker.process.stdout)
    except (EOFError, OSError, pickle.UnpicklingError) as error:
        late = not timer.is_alive()
        raise _ended(worker, job, timeout_s if late else 0.0) from error
    except BaseException:  # an interrupt: its answer would be taken for that of the next job
        worker.process.kill()
        raise
    finally:
        timer.cancel()
    worker.jobs += 1
    if worker.jobs < MOST_JOBS:
        _idle.append(worker)
    else:
        worker.close()
    return result if isinstance(result, tuple) else (result,)


def _start() -> Worker:
    """A process that finds the same modules as this one."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    errors = tempfile.TemporaryFile()
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", START],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        env=environment,
    )
    return Worker(process, errors)


def _ended(worker: Worker, job: "Job", timeout_s: float) -> CompileError:
    """Why there is no answer; timeout_s: after how long it was stopped, 0 when it was not."""
    status = worker.process.wait()
    worker.errors.seek(0)
    last = worker.errors.read().decode(errors="replace").strip().splitlines()[-1:]
    worker.errors.close()
    if timeout_s:
        message = f"the emulator was stopped after {timeout_s:g} s"
        return CompileError("run-failed", message, "", "give more time, or fewer samples")
    return CompileError(
        "run-failed",
        f"the emulator ended with status {status}: {' '.join(last)}".rstrip(": "),
        f"image {job.image.name} on {job.cpu}",
        "please report this model: the emulator should not crash",
    )


@atexit.register
def _close() -> None:
    while _idle:
        _idle.pop().close()
