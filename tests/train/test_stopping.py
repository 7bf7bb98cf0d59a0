"""Runs that are killed or asked to stop, as processes of their own, and go on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny

from fdetect_jax.errors import UserError
from fdetect_jax.interrupts import stoppable
from fdetect_jax.train.loop import _same_run
from fdetect_jax.train.writer import read_history

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """Starts the small adversarial run as a user does; the config is a file."""
    folder, started = tmp_path_factory.mktemp("command"), []
    pair = str(tiny.save_pair(folder / "inverter", "generator", "encoder"))  # H takes long to compile
    file = folder / "small_run.py"
    file.write_text(
        f"import sys\nsys.path[:0] = [{str(ROOT / 'tests')!r}]\nfrom small import small_adv\n\n"
        f"def get_config():\n    config = small_adv({pair!r})\n"
        "    config.steps = 12\n"
        "    for own in (config.forgery, config.evaluation.forgeries):  # alike: one attack is compiled for both\n"
        "        own.latent.attack.random_start = True\n"
        "    config.evaluation.skip = ('other_generator',)\n"
        "    config.detector.overrides = {**config.detector.overrides, 'dropout': 0.3}\n"
        "    return config\n"
    )
    flags = os.environ.get("FDETECT_TESTS_XLA_FLAGS", "")
    environment = {**os.environ, "XLA_FLAGS": flags, "XDG_CACHE_HOME": str(folder / "cache")}

    def start(workdir: Path, *more: str) -> subprocess.Popen:
        line = [sys.executable, "-m", "fdetect_jax.main", f"--config={file}", f"--workdir={workdir}", *more]
        started.append(
            subprocess.Popen(line, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        )
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:  # of a test that failed
            process.kill()
            process.communicate()


def until_step(process: subprocess.Popen, workdir: Path, step: int) -> None:
    """Waits until the log holds ``step``."""
    deadline = time.monotonic() + 240
    while process.poll() is None and time.monotonic() < deadline:
        log = workdir / "metrics.jsonl"
        if log.is_file() and any(row["step"] >= step for row in read_history(workdir)):
            return
        time.sleep(0.005)
    pytest.fail(f"step {step} was not reached: {process.communicate()[0][-2000:]}")


def test_a_killed_run_ends_in_the_same_bits(command, tmp_path):
    """And with worker processes from there on."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    process = command(whole)
    output = process.communicate(timeout=280)[0]
    assert process.returncode == 0, output[-2000:]
    process = command(killed)
    until_step(process, killed, 5)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (killed / "report.json").exists(), "the run had ended before it was killed"
    process = command(killed, "--config.data.workers=2")
    output = process.communicate(timeout=280)[0].decode()
    assert process.returncode == 0, output[-2000:]
    assert "resuming from step" in output
    assert (killed / "detector.safetensors").read_bytes() == (whole / "detector.safetensors").read_bytes()

    def log(folder: Path) -> list:
        return [{k: v for k, v in row.items() if k not in ("time", "seconds")} for row in read_history(folder)]

    assert log(killed) == log(whole)
    tests = [json.loads((folder / "report.json").read_text())["tests"] for folder in (whole, killed)]
    assert tests[0] == tests[1]


def test_ctrl_c_saves_and_says_how_to_go_on(command, tmp_path):
    workdir = tmp_path / "stopped"
    process = command(workdir)
    until_step(process, workdir, 3)
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=60)[0].decode()
    assert process.returncode == 130, output[-2000:]
    assert "the same command resumes from here" in output
    assert "Traceback" not in output
    steps = [int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdigit()]
    assert max(steps) >= 3


def test_a_finished_run_can_be_given_more_steps(tmp_path):
    before = {"steps": 4, "seed": 0}
    _same_run(before, before | {"steps": 6}, tmp_path, False)
    with pytest.raises(UserError, match=r"steps: found 3, but .* holds a run with 4"):
        _same_run(before, before | {"steps": 3}, tmp_path, False)


def test_both_signals_stop_after_a_step():
    for asked in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(asked)
        with stoppable() as stop:
            assert not stop.is_set()
            os.kill(os.getpid(), asked)
            assert stop.wait(5)
            assert stop.signal == asked
        assert signal.getsignal(asked) == before


def test_a_second_ctrl_c_ends_at_once():
    script = (
        "import os, signal, time\nfrom fdetect_jax.interrupts import stoppable\n"
        "with stoppable():\n    os.kill(os.getpid(), signal.SIGINT)\n    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(60)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=50)
    assert (done.returncode, done.stderr) == (130, b"\nstopping after this step; Ctrl-C again ends at once\n")
