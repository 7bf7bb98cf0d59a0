"""``fdetect serve``, ``work``, ``keys`` and ``feedback``: arguments in, a running service out."""

import argparse
import importlib.util
from datetime import UTC, datetime
from pathlib import Path

from fdetect_jax.errors import UserError
from fdetect_jax.service.settings import Settings, from_environment, models_of

_DATA = "fdetect_service"
_NEEDED = ("fastapi", "uvicorn", "huey", "sqlalchemy", "httpx", "python_multipart", "prometheus_client")
_DEFAULTS = Settings(Path(_DATA))
_GB = 1 << 30


def add_service(jobs: argparse._SubParsersAction) -> None:
    """Adds the jobs to the parser of ``fdetect``."""
    serve = jobs.add_parser(
        "serve",
        help="start the web service: page, API and workers",
        epilog="Every option can be set as an environment variable too: FDETECT_PORT=8080.",
    )
    _add_shared(serve)
    serve.add_argument("--host", default=from_environment("host", "127.0.0.1"), help="address (default: 127.0.0.1)")
    serve.add_argument("--port", type=int, default=from_environment("port", "8000"), help="port (default: 8000)")
    serve.add_argument(
        "--workers",
        type=int,
        default=from_environment("workers", "1"),
        help="worker processes that judge (default: 1); 0 where `fdetect work` runs elsewhere",
    )
    _add_limits(serve)
    serve.set_defaults(run=_serve)
    work = jobs.add_parser("work", help="be one more worker of a web service, on this or another machine")
    _add_shared(work)
    _add_limits(work)
    work.add_argument("--processes", type=int, help="processes that read files (default: one per core)")
    work.set_defaults(run=_work)
    keys = jobs.add_parser("keys", help="API keys of the web service")
    _add_shared(keys)
    what = keys.add_subparsers(required=True, metavar="add|list|revoke")
    add = what.add_parser("add", help="make a key and show it once")
    add.add_argument("name", help="whose it is")
    add.add_argument("--per-minute", type=int, default=30, help="jobs a minute, 0: any number (default: 30)")
    add.add_argument("--per-day", type=int, default=1000, help="jobs a day, 0: any number (default: 1000)")
    add.add_argument("--retention", type=float, default=24.0, help="hours that results are kept (default: 24)")
    add.set_defaults(run=_add_key)
    what.add_parser("list", help="names, limits and ages of all keys").set_defaults(run=_list_keys)
    revoke = what.add_parser("revoke", help="end a key")
    revoke.add_argument("name", help="whose it is")
    revoke.set_defaults(run=_revoke_key)
    said = jobs.add_parser("feedback", help="write what users of the web service said of wrong verdicts, for training")
    _add_shared(said)
    said.add_argument("--output", type=Path, required=True, help="a folder for `fdetect prepare folder`")
    said.set_defaults(run=_feedback)


def _add_shared(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        type=Path,
        default=from_environment("data", _DATA),
        help=f"folder of what stays on this machine (default: {_DATA})",
    )
    parser.add_argument(
        "--queue",
        default=from_environment("queue"),
        help="records and queue: sqlite:///FILE, postgresql://… or redis://… (default: SQLite in the data folder)",
    )
    parser.add_argument(
        "--storage",
        default=from_environment("storage"),
        help="files of jobs, a folder or any fsspec address such as s3://… (default: in the data folder)",
    )


def _add_limits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        action="append",
        default=from_environment("model", "").split() or None,
        help="weights or a finished run's folder, NAME=PATH; may be repeated, the first is the default (default: the "
        "bundled detector)",
    )
    numbers = (
        ("file_gb", float, _DEFAULTS.file_bytes / _GB, "largest file, GB"),
        ("files", int, _DEFAULTS.files, "files of one job"),
        ("job_gb", float, _DEFAULTS.job_bytes / _GB, "largest job, GB"),
        ("upload_seconds", float, _DEFAULTS.upload_seconds, "time for an upload"),
        ("seconds", float, _DEFAULTS.seconds, "time for one file to be read, and to be drawn"),
        ("waiting", int, _DEFAULTS.waiting, "jobs that may wait; beyond it the service is busy"),
        ("retention", float, _DEFAULTS.retention, "hours that results are kept, without a key"),
        ("per_minute", int, _DEFAULTS.per_minute, "jobs a minute without a key, 0: any number"),
        ("per_day", int, _DEFAULTS.per_day, "jobs a day without a key, 0: any number"),
    )
    for name, kind, default, what in numbers:
        option = f"--{name.replace('_', '-')}"
        given = from_environment(name, f"{default:g}")
        parser.add_argument(option, type=kind, default=given, help=f"{what} (default: {default:g})")


def settings_of(arguments: argparse.Namespace) -> Settings:
    """The settings that arguments name. Raises UserError where the extra ``serve`` is not installed, or for a value."""
    if missing := [name for name in _NEEDED if importlib.util.find_spec(name) is None]:
        raise UserError(f'serve: found no {", ".join(missing)}, wanted them: pip install "fdetect-jax[serve]"')
    if "model" not in arguments:
        return Settings(arguments.data, arguments.queue, arguments.storage)
    same = ("files", "upload_seconds", "seconds", "waiting", "retention", "per_minute", "per_day")
    return Settings(
        arguments.data,
        arguments.queue,
        arguments.storage,
        models=models_of(arguments.model),
        file_bytes=int(arguments.file_gb * _GB),
        job_bytes=int(arguments.job_gb * _GB),
        **{name: getattr(arguments, name) for name in same},
    )


def _serve(arguments: argparse.Namespace) -> None:
    settings = settings_of(arguments)
    if arguments.workers < 0:
        raise UserError(f"workers: found {arguments.workers}, wanted 0 or more")
    from fdetect_jax.service.processes import serve

    serve(settings, arguments.host, arguments.port, arguments.workers)


def _work(arguments: argparse.Namespace) -> None:
    settings = settings_of(arguments)
    from fdetect_jax.service.processes import work

    work(settings, arguments.processes)


def _keys(arguments: argparse.Namespace):
    from fdetect_jax.service.keys import Keys
    from fdetect_jax.service.records import open_records

    return Keys(open_records(settings_of(arguments).queue_url))


def _add_key(arguments: argparse.Namespace) -> None:
    made = _keys(arguments).add(arguments.name, arguments.per_minute, arguments.per_day, arguments.retention)
    print(f"key             {made.key}\nwebhook secret  {made.secret}\nBoth are shown this once.")


def _list_keys(arguments: argparse.Namespace) -> None:
    for one in _keys(arguments).all():
        made = datetime.fromtimestamp(one["created"], UTC).strftime("%Y-%m-%d")
        limits = f"{one['per_minute'] or 'any'} a minute, {one['per_day'] or 'any'} a day, {one['retention']:g} hours"
        print(f"{one['name']:30s} {made}  {limits}")


def _revoke_key(arguments: argparse.Namespace) -> None:
    _keys(arguments).revoke(arguments.name)


def _feedback(arguments: argparse.Namespace) -> None:
    settings = settings_of(arguments)
    from fdetect_jax.files import check_folder
    from fdetect_jax.service.feedback import export_feedback
    from fdetect_jax.service.service import Service

    check_folder(arguments.output, "--output")
    service = Service.open(settings)
    try:
        print(f"{export_feedback(service, arguments.output)} faces in {arguments.output}")
    finally:
        service.close()
