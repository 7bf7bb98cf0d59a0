"""Webhooks: tells a receiver what became of a job. In: its URL and a signed body. Out: it has them, or
``Undeliverable``.

URLs come from strangers, so this must not become a way into the network that the service runs in: only public
addresses are connected to. A name is resolved once, its addresses are checked, and one of those that passed is
connected to; the certificate is still that of the name.
"""

import contextlib
import functools
import hashlib
import hmac
import ipaddress
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterable
from typing import Any

import httpcore
import httpx

from fdetect_jax.errors import UserError

BACK_OFF = (30, 120, 600, 3600, 14400)  # seconds between the first try and the second, and so on: 6 tries in 5.2 hours
SIGNATURE, DELIVERY = "X-Fdetect-Signature", "X-Fdetect-Delivery"
TOLERANCE = 300.0  # seconds

_LONGEST = 2048  # characters of a URL
_PASSING = (408, 425, 429)  # of the answers that blame the sender, those that ask it to come back
# Special networks that Python calls global, or called so until a newer version: of protocols, of relays from IPv4 to
# IPv6, Teredo and its neighbours, 6to4, documentation.
_SPECIAL = tuple(
    ipaddress.ip_network(one)
    for one in ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)
_PUBLIC_V6 = ipaddress.ip_network("2000::/3")  # all that is given out; NAT64, for one, lies outside
_OWN_NAMES = ("localhost", "local", "internal", "intranet", "lan", "home.arpa", "test", "invalid", "onion")


class Undeliverable(Exception):
    """Nobody took the body. reason: why, without the URL. passing: whether a later try may succeed."""

    def __init__(self, reason: str, passing: bool):
        super().__init__(reason)
        self.reason, self.passing = reason, passing


def deliver(
    url: str, body: bytes, secret: str, delivery: str, *, allow_private: bool = False, seconds: float = 10.0
) -> None:
    """Posts ``body``, a JSON document, and returns once the receiver answers with a status of 2xx.

    Redirects are not followed, and the text of the answer is not read.

    Args:
        secret: which the receiver knows too; see ``sign``. delivery: the name of this message, the same at every try.
        allow_private: also to addresses that are not public, and by plain HTTP: for tests, and for a service that has
            only trusted users. seconds: that all of it may take.

    Raises:
        Undeliverable: no such name, no public address, no connection, no valid certificate, no answer in time, or
            another status than 2xx.
        UserError: as ``check_url``.
    """
    check_url(url, allow_private)
    target, end = httpx.URL(url), time.monotonic() + seconds
    address = httpcore.URL(scheme=target.raw_scheme, host=target.raw_host, port=target.port, target=target.raw_path)
    headers = {
        "Host": target.netloc.decode(),  # httpcore's own lacks the brackets of IPv6
        "Content-Type": "application/json",
        "User-Agent": "fdetect",
        DELIVERY: delivery,
        SIGNATURE: sign(body, secret, int(time.time())),
    }
    limits = dict.fromkeys(("connect", "read", "write", "pool"), seconds)
    how = {"ssl_context": _certificates(), "network_backend": _PublicOnly(allow_private, end)}
    try:
        with (
            httpcore.ConnectionPool(**how) as pool,
            pool.stream("POST", address, headers=headers, content=body, extensions={"timeout": limits}) as response,
        ):
            status = response.status
    except httpcore.TimeoutException:
        raise Undeliverable(f"took over {seconds:g} seconds", passing=True) from None
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise Undeliverable(_cause(error), passing=True) from error
    if 300 <= status < 400:
        raise Undeliverable(f"answered {status}: redirects are not followed", passing=False)
    if not 200 <= status < 300:
        raise Undeliverable(f"answered {status}", passing=status >= 500 or status in _PASSING)


def check_url(url: str, allow_private: bool = False) -> None:
    """Raises UserError for a URL that ``deliver`` could never deliver to. Looks up no name.

    allow_private: as for ``deliver``.
    """
    try:
        target = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise _refused(f"no URL ({error})") from None
    host = target.raw_host.decode()
    if len(url) > _LONGEST:
        raise _refused(f"{len(url)} characters", f"at most {_LONGEST}")
    if target.scheme != "https" and not (allow_private and target.scheme == "http"):
        raise _refused(f"{target.scheme or 'no scheme'}", "https")
    if not re.fullmatch(r"[\w.-]+|[\da-fA-F:.]+", host, re.ASCII):
        raise _refused(f"the host {host!r}")
    if target.userinfo:
        raise _refused("a user name or a password in it", "none")
    if target.port is not None and not 0 < target.port < 1 << 16:
        raise _refused(f"port {target.port}", "one from 1 to 65535")
    if allow_private:
        return
    number = _number(host)
    if number is not None and not is_public(number):
        raise _refused(f"the address {number}", "a public address")
    name = host.rstrip(".").lower()
    if number is None and ("." not in name or any(f".{name}".endswith(f".{own}") for own in _OWN_NAMES)):
        raise _refused("the name of a host in a private network", "a public name")


def sign(body: bytes, secret: str, moment: int) -> str:
    """The header ``SIGNATURE``: ``t=MOMENT,v1=HEX``, the HMAC-SHA256 of ``MOMENT.BODY``.

    moment: seconds since 1970.
    """
    return f"t={moment},v1={_hmac(body, secret, str(moment))}"


def verify(body: bytes, header: str, secret: str, tolerance: float = TOLERANCE) -> bool:
    """Whether a body that was received is signed with the secret, and was so at most ``tolerance`` seconds ago.

    body: as it came, byte for byte. header: that named ``SIGNATURE``; of several ``v1`` in it one must be right.
    """
    parts = [one.strip().partition("=")[::2] for one in header.split(",")]
    moments = [value for name, value in parts if name == "t"]
    if len(moments) != 1 or not (moments[0].isascii() and moments[0].isdigit()) or len(moments[0]) > 12:
        return False
    wanted = _hmac(body, secret, moments[0]).encode()
    right = [hmac.compare_digest(value.encode(), wanted) for name, value in parts if name == "v1"]
    return any(right) and abs(time.time() - int(moments[0])) <= tolerance


def is_public(address: str) -> bool:
    """Whether an address, IPv4 or IPv6 in digits, is one of the public internet; False where it is no address.

    False for whatever leads elsewhere: private, shared, loopback, link-local, multicast and reserved addresses, and
    those of IPv6 that hold one of IPv4 (NAT64, 6to4, Teredo); one that is mapped to IPv6 counts as what it is.
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    found = getattr(found, "ipv4_mapped", None) or found
    if found.version == 6 and (found not in _PUBLIC_V6 or found.scope_id):
        return False
    special = any(found in network for network in _SPECIAL if network.version == found.version)
    return found.is_global and not (special or found.is_multicast or found.is_reserved)


class _PublicOnly(httpcore.NetworkBackend):
    """Connects to public addresses alone, and ends everything at a moment of ``time.monotonic``."""

    def __init__(self, allow_private: bool, end: float):
        self._all, self._end, self._plain = allow_private, end, httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable | None = None,
    ) -> httpcore.NetworkStream:
        addresses = _addresses(host, port, _left(self._end))
        allowed = [one for one in addresses if self._all or is_public(one)]
        if not allowed:
            raise Undeliverable("the name of its host leads to no public address", passing=False)
        for one in allowed:
            try:
                stream = self._plain.connect_tcp(one, port, _left(self._end), local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if one == allowed[-1]:
                    raise
            else:
                return _Stream(stream, self._end)
        raise AssertionError  # the last one returns or raises

    def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.NetworkStream:
        raise Undeliverable("it is a socket of this machine", passing=False)


class _Stream(httpcore.NetworkStream):
    """A connection whose every step has no more time than is left: a receiver that sends a byte now and then does not
    hold the sender up."""

    def __init__(self, stream: httpcore.NetworkStream, end: float):
        self._stream, self._end = stream, end

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(self._end))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(self._end))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, _left(self._end)), self._end)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


@functools.cache
def _certificates() -> ssl.SSLContext:
    return httpx.create_ssl_context()


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise httpcore.ReadTimeout
    return left


def _addresses(host: str, port: int, seconds: float) -> list[str]:
    """The addresses of a host in digits, each once. The system's resolver knows no time limit, so a thread asks it."""
    found: list[Any] = []

    def ask() -> None:
        try:
            found.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            found.append(error)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(seconds)
    if not found:
        raise httpcore.ConnectTimeout
    if isinstance(found[0], Exception):
        raise Undeliverable("the name of its host is not known", passing=True)
    return list(dict.fromkeys(str(address[0]) for *_, address in found[0]))


def _number(host: str) -> str | None:
    """A host that is an address, in whatever way it is written (127.1, 0x7f000001, 017700000001), in digits."""
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(host))
    with contextlib.suppress(OSError):
        return socket.inet_ntoa(socket.inet_aton(host))
    return None


def _hmac(body: bytes, secret: str, moment: str) -> str:
    return hmac.new(secret.encode(), moment.encode() + b"." + body, hashlib.sha256).hexdigest()


def _cause(error: Exception) -> str:
    """Without the name of the host, which messages of the system and of OpenSSL may hold."""
    cause = error.__cause__ or error.__context__  # the pool of connections drops the first
    if isinstance(error, httpcore.ProtocolError):
        return "its answer is not HTTP"
    if isinstance(cause, ssl.SSLError):
        return f"no secure connection ({cause.reason or 'closed'})"
    words = "no connection" if isinstance(error, httpcore.ConnectError) else "the connection broke"
    return f"{words} ({os.strerror(cause.errno)})" if getattr(cause, "errno", None) else words


def _refused(found: str, wanted: str = "the https URL of a receiver") -> UserError:
    return UserError(f"webhook: found {found}, wanted {wanted}")
