"""What ``launch/`` would run: dry runs, and the same commands as fake tools receive them; schemas; clean shell."""

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "launch"
SCRIPTS = ["local.sh", "slurm.sbatch", "tpu_vm.sh", "gke/run.sh", "sky.sh"]
OWN = ["--config=configs/adv.py", "--config.evaluation.skip=('sbi', \"it's\")", "--workdir=/runs/a b"]

# Writes its arguments, and its input where it reads one, as a line of JSON. FDETECT_FAKE: what it answers.
FAKE = """#!{python}
import json, os, sys
from pathlib import Path

name, log = Path(sys.argv[0]).name, Path(os.environ["FDETECT_LOG"])
told = sys.stdin.read() if sys.argv[-2:] == ["-f", "-"] else ""
before = len(log.read_text().splitlines()) if log.exists() else 0
with open(log, "a") as file:
    file.write(json.dumps([name, *sys.argv[1:], *([told] if told else [])]) + "\\n")
answer = json.loads(os.environ.get("FDETECT_FAKE", "[]"))
for pattern, texts, codes in answer:
    if pattern in sys.argv:
        times = sum(pattern in json.loads(line) for line in log.read_text().splitlines()) - 1
        sys.stdout.write(texts[min(times, len(texts) - 1)])
        sys.exit(codes[min(times, len(codes) - 1)])
"""


@pytest.fixture
def fakes(tmp_path, monkeypatch) -> Path:
    """Puts fake tools on the path; returns the file that lists what they were called with."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("gcloud", "sbatch", "srun", "scontrol", "kubectl", "sky", "nvidia-smi", "python"):
        (folder / name).write_text(FAKE.format(python=sys.executable))
        (folder / name).chmod(0o755)
    log = tmp_path / "calls"
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FDETECT_LOG", str(log))
    monkeypatch.setenv("FDETECT_PAUSE", "0")
    monkeypatch.setenv("FDETECT_PORT", "20001")
    for name in ("SLURM_JOB_ID", "FDETECT_FAKE", "PYTHON"):
        monkeypatch.delenv(name, raising=False)
    return log


def launch(script: str, *arguments: str, code: int = 0) -> str:
    done = subprocess.run([LAUNCH / script, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    return done.stdout if code != 2 else done.stderr


def calls(log: Path) -> list[list[str]]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def dry(script: str, *arguments: str) -> list[list[str]]:
    """The commands that a dry run prints."""
    return [shlex.split(line) for line in launch(script, *arguments).splitlines()]


def answers(monkeypatch, *rules) -> None:
    """(argument, texts, statuses) of a fake: what it prints and ends with, call by call; the last one stays."""
    monkeypatch.setenv("FDETECT_FAKE", json.dumps(rules))


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_can_be_run_and_say_what_is_missing(script, fakes):
    assert (LAUNCH / script).stat().st_mode & stat.S_IXUSR
    assert re.match(r"error: .*found .*wanted ", launch(script, code=2))
    assert calls(fakes) == []


def test_the_shell_is_clean():
    program = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip("no shellcheck: it comes with the extra test")
    done = subprocess.run([program, *SCRIPTS, "../.ci/run"], cwd=LAUNCH, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_local_divides_the_gpus(fakes, monkeypatch):
    answers(monkeypatch, ["--list-gpus", ["GPU 0\nGPU 1\nGPU 2\nGPU 3\n"], [0]])
    shown = dry("local.sh", "2", "--dry-run", *OWN)
    joined = ["--coordinator=127.0.0.1:20001", "--num_processes=2"]
    started = ["python", "-m", "fdetect_jax.main", *OWN, *joined]
    assert shown == [
        ["env", "CUDA_VISIBLE_DEVICES=0,1", *started, "--process_id=0"],
        ["env", "CUDA_VISIBLE_DEVICES=2,3", *started, "--process_id=1"],
    ]
    assert "PROCESSES: found 3 for 4 GPUs" in launch("local.sh", "3", *OWN, code=2)
    launch("local.sh", "2", *OWN)
    made = [call[:-1] for call in calls(fakes) if call[0] == "python"]
    assert made == [started, started]


def test_local_ends_with_the_first_failure(fakes, monkeypatch):
    answers(monkeypatch, ["--process_id=1", [""], [70]])
    launch("local.sh", "2", *OWN, code=70)


def test_slurm_submits_itself(fakes):
    shown = dry("slurm.sbatch", "--nodes=4", "--gpus=2", "--time=1:00", "--dry-run", "--", *OWN)
    launch("slurm.sbatch", "--nodes=4", "--gpus=2", "--time=1:00", "--", *OWN)
    assert calls(fakes) == shown
    assert shown[0][:5] == ["sbatch", "--nodes=4", "--ntasks-per-node=2", "--gpus-per-node=2", "--time=1:00"]
    assert shown[0][-3:] == OWN


@pytest.mark.parametrize(("ended", "again"), [(0, False), (70, False), (143, True)])
def test_slurm_queues_a_saved_run_again(fakes, monkeypatch, ended, again):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("SLURM_SUBMIT_DIR", str(ROOT))
    answers(monkeypatch, ["--distributed", [""], [ended]])
    launch("slurm.sbatch", *OWN, code=ended)
    run, *more = calls(fakes)
    assert run == ["srun", "--kill-on-bad-exit=0", "python", "-m", "fdetect_jax.main", "--distributed", *OWN]
    assert more == ([["scontrol", "requeue", "17"]] if again else [])


TPU = ["pod", "--zone=us-west4-a", "--type=v5litepod-16", "--spot"]


def verbs(log: Path) -> list[str]:
    """What was asked of gcloud, without questions."""
    return [call[4] for call in calls(log) if call[4] != "describe"]


def test_tpu_vm_makes_trains_and_deletes(fakes, monkeypatch):
    answers(monkeypatch, ["describe", ["", "READY"], [1, 0]])
    shown = dry("tpu_vm.sh", *TPU, "--dry-run", "--", *OWN)
    launch("tpu_vm.sh", *TPU, "--", *OWN)
    assert verbs(fakes) == ["create", "scp", "ssh", "ssh", "delete"]
    assert [command[4] for command in shown if command[0] == "gcloud"] == verbs(fakes)
    made = [call for call in calls(fakes) if call[4] != "describe"]
    for command, call in zip([one for one in shown if one[0] == "gcloud"], made, strict=True):
        assert command == call or call[4] == "scp"  # whose file has another name
    remote = next(part for part in made[3] if part.startswith("--command="))
    assert shlex.split(remote.removeprefix("--command="))[-3:] == OWN
    assert "--spot" in made[0]


def test_tpu_vm_starts_again_after_a_preemption(fakes, monkeypatch):
    training = f"--command=cd fdetect && ~/venv/bin/python -m fdetect_jax.main --distributed {OWN[0]!r}"
    states = ["", "PREEMPTED", "PREEMPTED", "", "READY"]
    codes = [1, 0, 0, 1, 0]
    answers(monkeypatch, ["describe", states, codes], [training, [""], [255, 0]])
    launch("tpu_vm.sh", *TPU, "--keep", "--", OWN[0])
    assert verbs(fakes) == ["create", "scp", "ssh", "ssh", "delete", "create", "scp", "ssh", "ssh"]


def test_tpu_vm_gives_up_on_a_run_that_fails(fakes, monkeypatch):
    training = f"--command=cd fdetect && ~/venv/bin/python -m fdetect_jax.main --distributed {OWN[0]!r}"
    answers(monkeypatch, ["describe", ["READY"], [0]], [training, [""], [143, 2, 2]])
    launch("tpu_vm.sh", *TPU, "--tries=2", "--keep", "--", OWN[0], code=2)
    assert verbs(fakes) == ["ssh"] * 3  # the first one was saved after SIGTERM


GKE = {"gpu": "nvidia.com/gpu", "tpu": "google.com/tpu"}


@pytest.mark.parametrize("kind", GKE)
def test_gke_fills_in_a_valid_jobset(fakes, kind):
    validate = pytest.importorskip("kubernetes_validate", reason="no kubernetes-validate: it comes with the extra test")
    arguments = [kind, "run-1", "registry/image:1", "4"]
    shown = launch("gke/run.sh", *arguments, "--dry-run", "--", *OWN)
    launch("gke/run.sh", *arguments, "--", *OWN)
    command, text = shown.split("\n", 1)
    assert shlex.split(command.removeprefix("# ")) == ["kubectl", "apply", "-f", "-"]
    assert calls(fakes) == [["kubectl", "apply", "-f", "-", text]]
    made = yaml.safe_load(text)
    assert (made["apiVersion"], made["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    assert set(made) == {"apiVersion", "kind", "metadata", "spec"}
    assert set(made["spec"]) <= {"failurePolicy", "network", "replicatedJobs"}
    (job,) = made["spec"]["replicatedJobs"]
    assert set(job) == {"name", "replicas", "template"}
    validate.validate(
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "run-1"}, **job["template"]}, "1.33", True
    )
    pod = job["template"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["args"][-3:] == OWN
    assert container["resources"]["limits"][GKE[kind]] in ("8", "4")
    assert job["template"]["spec"]["completions"] == 4
    if kind == "gpu":
        assert (
            f"--coordinator={made['metadata']['name']}-{job['name']}-0-0.{made['spec']['network']['subdomain']}:8476"
            in container["args"]
        )


def test_sky_launches_a_managed_job(fakes):
    arguments = ["run-1", "--nodes=2", "--gpus=H100:8"]
    shown = dry("sky.sh", *arguments, "--dry-run", "--", *OWN)
    launch("sky.sh", *arguments, "--", *OWN)
    assert calls(fakes) == shown
    given = next(part for part in shown[0] if part.startswith("ARGUMENTS="))
    assert shlex.split(given.removeprefix("ARGUMENTS=")) == OWN


def test_the_task_of_sky_starts_one_process_per_node(fakes, tmp_path):
    task = yaml.safe_load((LAUNCH / "skypilot.yaml").read_text())
    fields = {"name", "num_nodes", "resources", "workdir", "envs", "file_mounts", "setup", "run"}
    assert set(task) <= fields
    given = shlex.join(OWN)
    environment = os.environ | {"SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2", "SKYPILOT_NUM_NODES": "2"}
    environment |= {"SKYPILOT_NODE_RANK": "1", "ARGUMENTS": given}
    subprocess.run(["bash", "-c", task["run"]], env=environment, check=True)
    joined = ["--coordinator=10.0.0.1:8476", "--num_processes=2", "--process_id=1", "--join_seconds=1800"]
    assert calls(fakes) == [["python", "-m", "fdetect_jax.main", *joined, *OWN]]


def test_images_hold_what_an_installation_needs():
    files = sorted((LAUNCH / "gke").glob("Dockerfile.*"))
    assert [file.suffix for file in files] == [".cpu", ".cuda", ".tpu"]
    for file in files:
        text = file.read_text()
        assert re.search(r"^FROM python:\d+\.\d+\.\d+-slim-\w+$", text, re.M)  # a version, no moving tag
        for line in re.findall(r"^COPY (.+)$", text, re.M):
            for name in line.split()[:-1]:
                assert (ROOT / name).exists(), name
        if extra := re.search(r'\.\[(\w+)\]"', text):
            assert f"\n{extra[1]} = [" in (ROOT / "pyproject.toml").read_text()
