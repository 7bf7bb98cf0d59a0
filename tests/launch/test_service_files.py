"""The files of ``launch/service``: valid by their schemas, locked down, and with command lines that exist."""

import argparse
import contextlib
import re
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from fdetect_jax import cli

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "launch" / "service"
DOCKERFILE = (FOLDER / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())
OBJECTS = list(yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text()))
UNITS = sorted(FOLDER.glob("*.service"))
JOBS = "serve|work|keys|feedback|predict|doctor"


def program(name: str, comes_with: str) -> str:
    found = shutil.which(name, path=f"{Path(sys.executable).parent}:/usr/bin:/bin")
    if found is None:
        pytest.skip(f"no {name}: it comes with {comes_with}")
    return found


def named(kind: str) -> dict[str, dict]:
    return {one["metadata"]["name"]: one for one in OBJECTS if one["kind"] == kind}


def pods() -> list[dict]:
    return [one["spec"]["template"] for one in named("Deployment").values()]


def test_kubernetes_objects_are_valid():
    validate = pytest.importorskip("kubernetes_validate", reason="no kubernetes-validate: it comes with the extra test")
    for one in OBJECTS:
        validate.validate(one, "1.33", True)


def test_kubernetes_objects_name_each_other_rightly():
    config, claims, services = named("ConfigMap"), named("PersistentVolumeClaim"), named("Service")
    for one in OBJECTS:
        assert one["kind"] == "Namespace" or one["metadata"]["namespace"] == "fdetect"
    for pod in pods():
        (container,) = pod["spec"]["containers"]
        assert [one["configMapRef"]["name"] for one in container["envFrom"]] == list(config)
        volumes = {one["name"]: one for one in pod["spec"]["volumes"]}
        assert {one["name"] for one in container["volumeMounts"]} == set(volumes)
        assert volumes["files"]["persistentVolumeClaim"]["claimName"] in claims
        paths = {one["mountPath"] for one in container["volumeMounts"]}
        data = config["fdetect"]["data"]
        assert {data["FDETECT_DATA"], data["FDETECT_STORAGE"].removeprefix("file://"), "/scratch"} == paths
    labels = [pod["metadata"]["labels"] for pod in pods()]
    for one in (*named("Deployment").values(), *named("PodDisruptionBudget").values()):
        assert one["spec"]["selector"]["matchLabels"] in labels
    for one in services.values():
        assert one["spec"]["selector"] in labels
    for one in named("HorizontalPodAutoscaler").values():
        assert one["spec"]["scaleTargetRef"]["name"] in named("Deployment")
    for one in named("NetworkPolicy").values():
        wanted = one["spec"]["podSelector"].get("matchLabels", {})
        assert any(wanted.items() <= label.items() for label in labels)
    for one in named("Ingress").values():
        (rule,) = one["spec"]["rules"]
        assert {path["backend"]["service"]["name"] for path in rule["http"]["paths"]} <= set(services)
        assert [rule["host"]] == one["spec"]["tls"][0]["hosts"]


def test_kubernetes_pods_are_locked_down():
    for pod in pods():
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        (container,) = pod["spec"]["containers"]
        locked = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
        assert container["securityContext"] == locked
        assert {"memory", "ephemeral-storage"} <= set(container["resources"]["limits"])
    server = named("Deployment")["fdetect-server"]["spec"]["template"]["spec"]["containers"][0]
    assert server["livenessProbe"]["httpGet"]["path"] == server["startupProbe"]["httpGet"]["path"] == "/healthz"
    assert server["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_kubernetes_workers_reach_no_public_address():
    reached = []
    for policy in named("NetworkPolicy").values():
        wanted = policy["spec"]["podSelector"].get("matchLabels", {})
        if wanted.items() <= {"app": "fdetect", "part": "worker"}.items():
            assert "Egress" in policy["spec"]["policyTypes"]
            reached += [to for rule in policy["spec"].get("egress", []) for to in rule["to"]]
    blocks = [to["ipBlock"]["cidr"] for to in reached if "ipBlock" in to]
    assert blocks == ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]


def test_the_compose_file_is_valid():
    if find_spec("check_jsonschema") is None:
        pytest.skip("no check-jsonschema: it comes with the extra test")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, FOLDER / "compose.yaml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_containers_of_the_compose_file_are_locked_down():
    services, networks = COMPOSE["services"], COMPOSE["networks"]
    for name, one in services.items():
        assert one["read_only"] is True
        assert one["cap_drop"] == ["ALL"]
        assert one["security_opt"] == ["no-new-privileges:true"]
        assert {"mem_limit", "pids_limit"} <= set(one)
        assert ("ports" in one) == (name == "proxy")
        assert re.search(r":\d+\.\d+(\.\d+)?(-\w+)?\}?$", one["image"])  # a version, no moving tag
        used = {volume.split(":")[0] for volume in one.get("volumes", []) if not volume.startswith(".")}
        assert used <= set(COMPOSE["volumes"])
        assert set(one["networks"]) <= set(networks)
    for name in ("worker", "redis", "postgres"):
        assert all(networks[one]["internal"] for one in services[name]["networks"])
    assert {one: services[one]["profiles"] for one in services if "profiles" in services[one]} == {
        "redis": ["redis"],
        "postgres": ["postgres"],
    }


def test_the_settings_of_the_compose_file_are_all_used():
    text = (FOLDER / "compose.yaml").read_text()
    used = set(re.findall(r"\$\{(\w+):-", text))
    assert len(re.findall(r"\$\{", text)) == len(re.findall(r"\$\{\w+:-", text))  # each has a default
    named_there = set(re.findall(r"^#?([A-Z_]+)=", (FOLDER / "compose.env").read_text(), re.M)) - {"COMPOSE_PROFILES"}
    assert named_there <= used
    assert used - named_there <= {"FDETECT_STORAGE"}


def test_the_image_is_small_and_without_root():
    stages = re.findall(r"^FROM (\S+)(?: AS (\w+))?$", DOCKERFILE, re.M)
    assert len(stages) == DOCKERFILE.count("\nFROM ")
    assert all(re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+", image) for image, _ in stages)
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.M):
        assert all((ROOT / name).exists() for name in line.split()[:-1])
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"^USER 10001:10001$", last, re.M)
    assert "HEALTHCHECK" in last
    assert "pip install" not in last
    port = re.search(r"^EXPOSE (\d+)$", last, re.M)[1]
    assert f"FDETECT_PORT={port}" in last
    assert f"reverse_proxy server:{port} " in (FOLDER / "Caddyfile").read_text()
    (server,) = (pod for pod in pods() if pod["metadata"]["labels"]["part"] == "server")
    assert server["spec"]["containers"][0]["ports"][0]["containerPort"] == int(port)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_units_are_valid_and_locked_down(unit, tmp_path):
    analyze = program("systemd-analyze", "systemd")
    text = unit.read_text()
    copy = tmp_path / unit.name
    copy.write_text(text.replace("/opt/fdetect/bin/fdetect", "/bin/true"))
    done = subprocess.run([analyze, "verify", copy], capture_output=True, text=True)
    about = [line for line in done.stderr.splitlines() if unit.name.partition("@")[0].partition(".")[0] in line]
    assert about == []
    wanted = [analyze, "security", "--offline=true", "--threshold=20", copy]
    done = subprocess.run(wanted, capture_output=True, text=True)
    if "unrecognized option" in done.stderr:
        pytest.skip("systemd-analyze judges no files: that came with systemd 250")
    assert done.returncode == 0, done.stdout
    assert ("IPAddressDeny=any" in text) == ("@" in unit.name)


def test_the_shell_of_the_page_is_clean():
    check = program("shellcheck", "the extra test")
    blocks = re.findall(r"```sh\n(.*?)```", (FOLDER / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        done = subprocess.run(
            [check, "--shell=sh", "--exclude=SC2164", "-"], input=block, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def parser() -> argparse.ArgumentParser:
    found = cli._parser()
    jobs = next(one for one in found._actions if isinstance(one, argparse._SubParsersAction))
    if not {"serve", "work", "keys"} <= set(jobs.choices):
        pytest.skip("no `fdetect serve`, `work` and `keys` yet")
    return found


def commands() -> list[list[str]]:
    """The arguments of every ``fdetect`` in these files."""
    (started,) = re.findall(r"^CMD \[(.+)\]$", DOCKERFILE, re.M)
    found = [shlex.split(started.replace(",", " "))]
    found += [one["command"] for name, one in COMPOSE["services"].items() if name in ("server", "worker")]
    found += [pod["spec"]["containers"][0]["args"] for pod in pods()]
    for file in sorted(FOLDER.iterdir()):
        for line in re.findall(rf"(?:^|[\s/`(])fdetect ((?:{JOBS})\b[^`\n#;|)&]*)", file.read_text(), re.M):
            found.append(shlex.split(line.split(", ")[0]))
    return found


def test_every_command_line_exists(parser):
    given = commands()
    assert {one[0] for one in given} == set(JOBS.split("|"))
    for one in given:
        with contextlib.suppress(SystemExit) if "--help" in one else contextlib.nullcontext():
            parser.parse_args(one)


def test_every_variable_stands_for_an_option(parser):
    names = {f"FDETECT_{name.upper()}" for name in vars(parser.parse_args(["serve"]))}
    names.add("FDETECT_KEY")  # of `fdetect predict --server`
    for file in sorted(FOLDER.iterdir()):
        assert set(re.findall(r"\bFDETECT_[A-Z_]+", file.read_text())) <= names | {"FDETECT_SERVER_PORT"}, file.name
