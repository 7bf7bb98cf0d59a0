"""``fdetect keys``, ``feedback`` and the options of ``serve``."""

import importlib.util
import socket

import pytest

from fdetect_jax import cli
from fdetect_jax.service import command


def test_keys_are_shown_once_listed_and_revoked(tmp_path, capsys):
    data = ("--data", str(tmp_path / "data"))
    assert cli.main(["keys", *data, "add", "press", "--per-day", "7", "--retention", "2"]) == 0
    made = capsys.readouterr().out
    assert "fdk_" in made
    assert "fdw_" in made
    assert cli.main(["keys", *data, "list"]) == 0
    listed = capsys.readouterr().out
    assert listed.startswith("press ")
    assert "30 a minute, 7 a day, 2 hours" in listed
    assert "fdk_" not in listed
    assert cli.main(["keys", *data, "add", "press"]) == 2
    assert cli.main(["keys", *data, "revoke", "press"]) == 0
    assert cli.main(["keys", *data, "revoke", "press"]) == 2
    assert cli.main(["keys", *data, "list"]) == 0
    assert "press" in capsys.readouterr().err  # of the errors, not of the list


def test_feedback_of_a_service_without_any(tmp_path, capsys):
    output = tmp_path / "said"
    assert cli.main(["feedback", "--data", str(tmp_path / "data"), "--output", str(output)]) == 0
    assert capsys.readouterr().out.startswith("0 faces")
    assert (output / "manifest.csv").read_text() == "path,label,type,generator,source,group\n"


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (["--workers", "-1"], "workers"),
        (["--queue", "mysql://x"], "queue"),
        (["--model", "=x"], "model"),
        (["--seconds", "0"], "seconds"),
        (["--waiting", "0"], "waiting"),
    ],
)
def test_wrong_options_are_named_before_anything_starts(tmp_path, capsys, options, field):
    assert cli.main(["serve", "--data", str(tmp_path / "data"), *options]) == 2
    assert capsys.readouterr().err.startswith(f"error: {field}")
    assert not (tmp_path / "data").exists()


def test_a_port_that_is_in_use_is_named(tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        assert cli.main(["serve", "--data", str(tmp_path / "data"), "--port", port]) == 2
    assert f"error: host, port: found 127.0.0.1, {port}" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_options_can_be_environment_variables(tmp_path, monkeypatch):
    for name, value in {"DATA": tmp_path, "PORT": 8123, "WORKERS": 3, "MODEL": "a=x b=y", "FILE_GB": 0.5}.items():
        monkeypatch.setenv(f"FDETECT_{name}", str(value))
    found = cli._parser().parse_args(["serve"])
    settings = command.settings_of(found)
    assert (found.port, found.workers, settings.data, settings.file_bytes) == (8123, 3, tmp_path, 1 << 29)
    assert dict(settings.models) == {"a": "x", "b": "y"}
    assert cli._parser().parse_args(["serve", "--port", "1"]).port == 1


def test_without_the_extra_the_command_says_what_to_install(tmp_path, capsys, monkeypatch):
    plain = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "fastapi" else plain(name))
    assert cli.main(["serve", "--data", str(tmp_path)]) == 2
    assert 'pip install "fdetect-jax[serve]"' in capsys.readouterr().err
