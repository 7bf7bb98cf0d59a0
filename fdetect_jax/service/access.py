"""Who asks: the owner of an API key, or whoever sits at this machine. In: a request. Out: an Owner, or a Problem."""

import ipaddress
from urllib.parse import urlsplit

from starlette.requests import Request

from fdetect_jax.service.keys import LOCAL, Owner
from fdetect_jax.service.problems import Problem
from fdetect_jax.service.service import Service

_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")  # headers that a proxy adds
_NAMES = ("localhost", "127.0.0.1", "[::1]")


def owner_of(request: Request) -> Owner:
    """The owner that a request speaks for.

    A request with a key speaks for its owner. One without a key is taken from the loopback alone, and not where a proxy
    passed it on, where it names another host (a name that a stranger let point here), or where a page of another site
    sent it.

    Raises:
      Problem: 401 without a key or with an unknown one; 403 for another site's request.
    """
    service: Service = request.app.state.service
    given = request.headers.get("authorization")
    if given is not None:
        kind, _, key = given.partition(" ")
        owner = service.keys.owner(key.strip()) if kind.lower() == "bearer" else None
        if owner is None:
            raise Problem("key_unknown", "The key in the header Authorization is unknown, or is no bearer token.")
        return owner
    if not _from_loopback(request):
        raise Problem("key_wanted", "Send an API key: Authorization: Bearer fdk_….")
    host = request.headers.get("host", "").lower()
    if host.rpartition(":")[0] not in _NAMES and host not in _NAMES:
        raise Problem("forbidden", "Without a key the service answers to localhost alone.")
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin") or not _same_origin(request, host):
        raise Problem("forbidden", "A page of another site cannot use the service without a key.")
    settings = service.settings
    return Owner(LOCAL, settings.per_minute, settings.per_day, settings.retention)


def _from_loopback(request: Request) -> bool:
    if request.client is None or any(name in request.headers for name in _FORWARDED):
        return False
    try:
        found = ipaddress.ip_address(request.client.host)
    except ValueError:
        return False
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback


def _same_origin(request: Request, host: str) -> bool:
    origin = request.headers.get("origin")
    if origin is None:
        return True
    try:
        return urlsplit(origin).netloc.lower() == host
    except ValueError:
        return False
