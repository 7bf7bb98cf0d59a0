"""Several processes as one run, each of its own on this machine: their results, and what ends them."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from fdetect_jax.train.writer import read_history

ROOT = Path(__file__).parents[2]
STEPS = 12
WEIGHTS = "detector.safetensors"
QUICK = os.environ.get("FDETECT_TESTS_XLA_FLAGS", "")
Start = Callable[..., list[subprocess.Popen]]


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    """The file of a small run."""
    file = tmp_path_factory.mktemp("config") / "small_run.py"
    file.write_text(
        f"import sys\nsys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'tests')!r}]\n"
        "from small import small_baseline, without_generator\n\n"
        "def get_config():\n    config = without_generator(small_baseline(''))\n"
        f"    config.update(steps={STEPS}, batch_size=8, checkpoint_every=5)\n"
        "    config.evaluation.skip = ('fwa', 'composite', 'resample')\n"
        "    config.detector.overrides = {**config.detector.overrides, 'dropout': 0.3}\n"
        "    return config\n"
    )
    return file


@pytest.fixture(scope="module")
def start(config) -> Start:
    """Starts the processes of a run with so many devices each; they end with the module."""
    started = []

    def run(workdir: Path, processes: int, devices: int, *more: str, only: Sequence[int] = ()) -> list:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        environment = os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} {QUICK}"}
        own = [] if any(text.startswith("--config=") for text in more) else [f"--config={config}"]
        line = [sys.executable, "-m", "fdetect_jax.main", f"--workdir={workdir}", *own, *more]
        together = [f"--coordinator={address}", f"--num_processes={processes}"] if processes > 1 else []
        made = []
        for number in only or range(processes):
            own = [*together, f"--process_id={number}"] if together else []
            made.append(
                subprocess.Popen(
                    [*line, *own], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
                )
            )
        started.extend(made)
        return made

    yield run
    for process in started:
        if process.poll() is None:  # of a test that failed
            process.kill()
            process.communicate()


def ends(processes: list[subprocess.Popen], seconds: float = 240) -> tuple[list[int], list[str]]:
    """The exit status and the output of each."""
    outputs = [process.communicate(timeout=seconds)[0].decode() for process in processes]
    return [process.returncode for process in processes], outputs


def finish(processes: list[subprocess.Popen]) -> None:
    codes, outputs = ends(processes)
    assert codes == [0] * len(processes), "\n".join(text[-1500:] for text in outputs)


def until_step(processes: list[subprocess.Popen], workdir: Path, step: int) -> None:
    deadline = time.monotonic() + 240
    while all(process.poll() is None for process in processes) and time.monotonic() < deadline:
        if (workdir / "metrics.jsonl").is_file() and any(row["step"] >= step for row in read_history(workdir)):
            return
        time.sleep(0.005)
    pytest.fail(f"step {step} was not reached: {[process.communicate()[0][-1500:] for process in processes]}")


@pytest.fixture(scope="module")
def whole(start, tmp_path_factory) -> Path:
    """The workdir of one process with two devices, never interrupted."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    finish(start(workdir, 1, 2))
    return workdir


def figures(workdir: Path) -> list[dict]:
    rows = read_history(workdir)
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    return [{name: value for name, value in row.items() if name not in ("time", "seconds")} for row in rows]


def same(workdir: Path, other: Path) -> None:
    """Equal to the last bit: the sum of two devices' gradients does not depend on their order."""
    assert (workdir / WEIGHTS).read_bytes() == (other / WEIGHTS).read_bytes()
    assert figures(workdir) == figures(other)
    one, two = (json.loads((folder / "report.json").read_text()) for folder in (workdir, other))
    assert one["tests"] == two["tests"]
    assert one["calibration"] == two["calibration"]


def test_two_processes_equal_one_bit_for_bit(start, whole, tmp_path):
    finish(start(tmp_path / "run", 2, 1))
    same(tmp_path / "run", whole)


def test_two_processes_of_two_devices_equal_one_of_four_to_rounding(start, tmp_path):
    """Four gradients are added in another order, so weights differ in their last digits; draws do not."""
    one, two = tmp_path / "one", tmp_path / "two"
    both = start(one, 1, 4), start(two, 2, 2)
    for processes in both:
        finish(processes)
    first, second = figures(one), figures(two)
    assert first[0] == second[0]  # before any update: the same rows, forgeries, dropout
    for name in first[-1]:
        np.testing.assert_allclose(second[-1][name], first[-1][name], rtol=1e-3, err_msg=name)
    a, b = (load_file(folder / WEIGHTS) for folder in (one, two))
    for name in a:
        np.testing.assert_allclose(b[name], a[name], rtol=0.02, atol=0.02, err_msg=name)


def test_a_signal_to_one_stops_all_after_the_same_step(start, whole, tmp_path):
    """And another number of processes goes on from there, to the same bits. ``local.sh`` tells the first process."""
    processes = start(tmp_path / "run", 2, 1)
    until_step(processes, tmp_path / "run", 3)
    processes[1].send_signal(signal.SIGTERM)
    codes, outputs = ends(processes, 60)
    assert codes == [143, 143], "\n".join(text[-1500:] for text in outputs)
    stopped = int(re.search(r"stopped at step (\d+); the same command resumes", outputs[0])[1])
    assert 3 <= stopped < STEPS
    assert (tmp_path / "run" / "checkpoints" / str(stopped)).is_dir()
    assert not (tmp_path / "run" / "report.json").exists()
    again = start(tmp_path / "run", 1, 2)
    (code,), (output,) = ends(again)
    assert code == 0, output[-1500:]
    assert f"resuming from step {stopped}" in output
    same(tmp_path / "run", whole)


@pytest.mark.parametrize("killed", [0, 1])
def test_when_one_is_killed_the_others_end_and_the_run_goes_on(start, whole, tmp_path, killed):
    processes = start(tmp_path / "run", 2, 1)
    until_step(processes, tmp_path / "run", 7)  # a checkpoint is written after step 5
    processes[killed].kill()
    began = time.monotonic()
    codes, outputs = ends(processes, 60)
    assert time.monotonic() - began < 60
    assert codes[1 - killed] != 0
    if killed == 1:
        assert codes[0] == 70
        assert "error: another process of this run has ended; started again, the run goes on" in outputs[0]
        assert "Traceback" not in outputs[0]
    finish(start(tmp_path / "run", 2, 1))
    same(tmp_path / "run", whole)


def test_the_local_launcher_trains_and_stops_as_one(config, whole, tmp_path):
    arguments = [f"--config={config}", f"--workdir={tmp_path / 'run'}"]
    environment = os.environ | {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count=1 {QUICK}",
        "PYTHON": sys.executable,
    }
    script = [str(ROOT / "launch" / "local.sh"), "2", *arguments]
    told = {"env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    first = subprocess.Popen(script, **told)
    until_step([first], tmp_path / "run", 3)
    first.send_signal(signal.SIGTERM)
    codes, outputs = ends([first], 60)
    assert codes == [143], outputs
    finish([subprocess.Popen(script, **told)])
    same(tmp_path / "run", whole)


def test_processes_divide_the_runs_of_a_table(config, start, tmp_path):
    file = tmp_path / "small_table.py"
    file.write_text(
        f"import sys\nsys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'tests')!r}]\n"
        "from small import small_table, without_generator\n\n"
        "def get_config():\n    config = without_generator(small_table('', 'baseline'))\n"
        "    config.variants['swaps'] = {'title': 'Swaps', 'forgery': {'mix': {'swap': 1.0}}, 'steps': 3}\n"
        "    config.rows, config.comparisons = ('swaps', 'baseline'), (('baseline', 'swaps'),)\n"
        "    config.batch_size = 8\n    config.evaluation.skip = ('fwa', 'composite', 'resample')\n    return config\n"
    )
    one, two = tmp_path / "one", tmp_path / "two"
    finish(start(one, 1, 1, f"--config={file}"))
    processes = start(two, 2, 1, f"--config={file}")
    codes, outputs = ends(processes)
    assert codes == [0, 0], outputs
    assert all(text.count("Detector: 1 device(s)") == 2 for text in outputs)  # each trained two of the four runs
    first, second = (json.loads((folder / "table.json").read_text()) for folder in (one, two))
    for found in (first, second):
        for variant in found["variants"].values():
            variant.pop("seconds")
    assert first == second


def test_a_process_that_never_comes_is_one_line(start, tmp_path):
    (process,) = start(tmp_path / "run", 2, 1, "--join_seconds=3", only=(0,))
    code, output = process.wait(60), process.communicate()[0].decode()
    assert code == 2
    assert output.startswith("error: --join_seconds: found not all of the 2 processes at 127.0.0.1:")
    assert output.count("\n") == 1


def test_processes_with_different_configs_do_not_train(start, tmp_path):
    address = start(tmp_path / "run", 2, 1, "--config.seed=3", only=(0,))
    line = [text if "config.seed" not in text else "--config.seed=4" for text in address[0].args]
    other = subprocess.Popen(
        [*line[:-1], "--process_id=1"],
        cwd=ROOT,
        env=os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    codes, outputs = ends([*address, other], 120)
    assert codes == [2, 2], outputs
    assert "error: seed: found 4 in process 1, wanted 3 as in process 0" in outputs[0]
