"""The routes about the service itself: limits, models, health, metrics."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.responses import JSONResponse, Response

from fdetect_jax.errors import UserError
from fdetect_jax.service import schemas
from fdetect_jax.service.access import owner_of
from fdetect_jax.service.keys import Owner
from fdetect_jax.service.service import Service

router = APIRouter(tags=["service"])
_WANTS_KEY = schemas.problems(401, 403)


@router.get("/v1/limits", response_model=schemas.Limits, responses=_WANTS_KEY)
def limits(request: Request, owner: Annotated[Owner, Depends(owner_of)]) -> Response:
    """What is taken from this owner."""
    service: Service = request.app.state.service
    own = {"retention_hours": owner.retention, "per_minute": owner.per_minute or None}
    return JSONResponse(service.settings.limits() | own | {"per_day": owner.per_day or None})


@router.get("/v1/models", response_model=schemas.Models, responses=_WANTS_KEY)
def models(request: Request, owner: Annotated[Owner, Depends(owner_of)]) -> Response:
    """The detectors, as the workers loaded them; none until the first worker is ready."""
    service: Service = request.app.state.service
    names = list(service.settings.models)
    found = [one for one in service.models() if one["name"] in names]
    found.sort(key=lambda one: names.index(one["name"]))
    return JSONResponse({"models": [one | {"default": one["name"] == names[0]} for one in found]})


@router.get("/healthz", response_model=schemas.Status)
async def healthz() -> Response:
    """The server answers."""
    return JSONResponse({"status": "ok", "reasons": []})


@router.get("/readyz", response_model=schemas.Status, responses={503: {"model": schemas.Status}})
def readyz(request: Request) -> Response:
    """Records, queue and storage can be used, and a worker is there."""
    service: Service = request.app.state.service
    reasons = []
    try:
        if not service.alive():
            reasons.append("no worker is there")
        service.queue.waiting()
    except Exception:  # whatever a database that is gone raises
        reasons.append("records or queue cannot be reached")
    try:
        service.storage.check()
    except (OSError, UserError):
        reasons.append("the storage cannot be written")
    return JSONResponse({"status": "not ready" if reasons else "ok", "reasons": reasons}, 503 if reasons else 200)


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"description": "Prometheus text", "content": {"text/plain": {}}}} | _WANTS_KEY,
)
def metrics(request: Request, owner: Annotated[Owner, Depends(owner_of)]) -> Response:
    """Requests, their durations, and jobs by state."""
    return Response(generate_latest(request.app.state.metrics.registry), media_type=CONTENT_TYPE_LATEST)
