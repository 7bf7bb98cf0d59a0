"""The API against its own OpenAPI document: what schemathesis makes up is answered as documented, never with 5xx."""

import os
import time

import pytest

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")

from hypothesis import HealthCheck, given, settings  # noqa: E402
from starlette.testclient import TestClient  # noqa: E402

from fdetect_jax.service.api import create_app  # noqa: E402
from fdetect_jax.service.service import WORKERS, Service  # noqa: E402
from fdetect_jax.service.settings import Settings  # noqa: E402
from tests.service.test_web_api import done  # noqa: E402

_EXAMPLES = int(os.environ.get("FDETECT_EXAMPLES", "15"))  # of each operation


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    service = Service.open(Settings(tmp_path_factory.mktemp("data"), waiting=10**6))
    service.records.change("worker/a", lambda _: {"in": {WORKERS: time.time() + 1e6}})  # or /readyz says 503
    key = service.keys.add("tester", per_minute=0, per_day=0).key
    yield service, {"Authorization": f"Bearer {key}"}
    service.close()


@pytest.fixture(scope="module")
def contract(opened):
    return schemathesis.openapi.from_asgi("/v1/openapi.json", create_app(opened[0]))


def test_made_up_requests_are_answered_as_documented(contract, opened, tmp_path):
    service, headers = opened
    found = [result.ok() for result in contract.get_all_operations()]
    assert len(found) >= 17
    with TestClient(create_app(service), headers=headers) as client:
        job = client.post("/v1/jobs", files={"files": b"abc"}).json()["id"]
    done(service, job, tmp_path)
    for operation in sorted(found, key=lambda one: one.method == "delete"):
        _try(operation, headers)
        _try(operation, headers, job)
    assert service.records.get(f"job/{job}") is None  # the requests met the job that is there


def _try(operation, headers, job=None):
    checks = schemathesis.checks
    wanted = (
        checks.not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_schema_conformance,
    )

    @settings(max_examples=_EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def tried(case):
        if job and "job" in case.path_parameters:
            case.path_parameters["job"] = job
        case.validate_response(case.call(headers=headers), checks=wanted)

    tried()
