"""Webhooks: signed, once, quickly, and never into a private network, whatever the URL and the names behind it say."""

import http.server
import shutil
import socket
import ssl
import subprocess
import threading
import time

import pytest

pytest.importorskip("httpcore", reason="the extra serve is not installed")

import httpcore

from fdetect_jax.errors import UserError
from fdetect_jax.service import webhooks
from fdetect_jax.service.webhooks import DELIVERY, SIGNATURE, Undeliverable, check_url, deliver, is_public, sign, verify

BODY, SECRET = b'{"id": "j1"}', "whsec_1"
PRIVATE = (
    *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "0.1.2.3"),
    *("224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.0.8", "192.0.2.1", "192.88.99.1", "198.18.0.1"),
    *("::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::808:808"),
    *("64:ff9b:1::1", "2002:7f00:1::1", "2002:808:808::1", "2001:0:7f00:1::1", "2001:db8::1", "3fff::1", "100::1"),
    *("fc00::1", "fd12::1", "fe80::1", "fe80::1%1", "2606:4700::1%1", "fec0::1", "ff02::1", "ff0e::1", "5f00::1"),
    *("", "name", "1.2.3"),
)
PUBLIC = ("8.8.8.8", "93.184.216.34", "::ffff:8.8.8.8", "2606:4700:4700::1111", "2a00:1450:4001:81b::200e")


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.path, dict(self.headers), body))
        what, _, value = self.path.strip("/").partition("/")
        if what == "status":
            self.send_response(int(value))
            self.send_header("Location", "/status/200")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif what == "late":
            self.server.end.wait(20)
        elif what == "drip":
            for one in b"HTTP/1.1 200 OK\r\n" + b"X-Filler: 1\r\n" * 100:
                if self.server.end.wait(0.2):
                    break
                self._send(bytes([one]))
        elif what == "endless":
            self._send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
            while self._send(bytes(1 << 16)):
                self.server.sent += 1 << 16
        elif what == "noise":
            self._send(b"220 mail.example ESMTP\r\n\r\n")
        self.close_connection = True

    def _send(self, data):
        try:
            self.wfile.write(data)
            self.wfile.flush()
        except OSError:
            return False
        return True

    def log_message(self, *_):
        pass


class OnVersion6(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6


@pytest.fixture(params=["127.0.0.1"])
def server(request):
    kind = OnVersion6 if ":" in request.param else http.server.ThreadingHTTPServer
    try:
        made = kind((request.param, 0), Receiver)
    except OSError as error:
        pytest.skip(f"no server at {request.param}: {error.strerror}")
    made.received, made.sent, made.end = [], 0, threading.Event()
    thread = threading.Thread(target=made.serve_forever, args=(0.05,))
    thread.start()
    yield made
    made.end.set()
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.fixture
def resolved(monkeypatch):
    """Names lead where the test says; returns the list of names that were asked for."""
    asked, real = [], socket.getaddrinfo

    def fake(addresses):
        def ask(host, port, *_, **__):
            asked.append(host)
            found = addresses.pop(0) if len(addresses) > 1 else addresses[0]
            if found is None:
                raise socket.gaierror(socket.EAI_NONAME, "unknown")
            return [one for address in found for one in real(address, port, type=socket.SOCK_STREAM)]

        monkeypatch.setattr(socket, "getaddrinfo", ask)
        return asked

    return fake


@pytest.fixture
def connected(monkeypatch):
    """The addresses that are connected to; nothing answers there."""
    found = []

    def connect(_, host, *__):
        found.append(host)
        raise httpcore.ConnectError

    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", connect)
    return found


def _url(server, path):
    return f"http://127.0.0.1:{server.server_port}/{path}"


def _failure(url, **options):
    with pytest.raises(Undeliverable) as caught:
        deliver(url, BODY, SECRET, "d1", **options)
    return caught.value.reason, caught.value.passing


def test_a_signed_body_arrives_once(server):
    deliver(_url(server, "status/204"), BODY, SECRET, "d1", allow_private=True)
    ((path, headers, body),) = server.received
    assert (path, body, headers[DELIVERY]) == ("/status/204", BODY, "d1")
    assert headers["Content-Type"] == "application/json"
    assert verify(body, headers[SIGNATURE], SECRET)
    assert not verify(body + b" ", headers[SIGNATURE], SECRET)
    assert not verify(body, headers[SIGNATURE], "another")


@pytest.mark.parametrize("server", ["::1"], indirect=True)
def test_receivers_of_ipv6(server):
    host = f"[::1]:{server.server_port}"
    deliver(f"http://{host}/status/200", BODY, SECRET, "d1", allow_private=True)
    assert server.received[0][1]["Host"] == host


def test_the_signature_is_the_published_one():
    # printf '1700000000.{"id": "j1"}' | openssl dgst -sha256 -hmac whsec_1
    assert (
        sign(BODY, SECRET, 1_700_000_000)
        == "t=1700000000,v1=56384ecd8d0a1c55879b0b448cfa247aa04e4cb0453b69ad0576cb2df8dc4799"
    )


def test_old_and_damaged_signatures(monkeypatch):
    header = sign(BODY, SECRET, 1000)
    right = header.partition("v1=")[2]
    for now, holds in ((1000, True), (1300, True), (700, True), (1301, False), (699, False)):
        monkeypatch.setattr(time, "time", lambda now=now: float(now))
        assert verify(BODY, header, SECRET) is holds
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    assert verify(BODY, f"t=1000, v1=00, v1={right}", SECRET)
    wrong = ("", "t=1000", f"v1={right}", f"t=x,v1={right}", f"t=1000,t=1001,v1={right}", f"t=1001,v1={right}")
    wrong += (f"t=1000,v0={right}", "t=1000,v1=", "t=1000,v1=é", f"t={'9' * 5000},v1={right}", f"t=٣,v1={right}")
    assert not any(verify(BODY, one, SECRET) for one in wrong)


@pytest.mark.parametrize(
    ("status", "passing"),
    [
        (301, False),
        (307, False),
        (400, False),
        (404, False),
        (410, False),
        (408, True),
        (429, True),
        (500, True),
        (503, True),
    ],
)
def test_other_answers(server, status, passing):
    reason, found = _failure(_url(server, f"status/{status}"), allow_private=True)
    assert reason.startswith(f"answered {status}")
    assert found is passing
    assert len(server.received) == 1  # no redirect was followed, and nothing was tried again


@pytest.mark.parametrize("path", ["late", "drip"])
def test_all_of_it_has_a_time_limit(server, path):
    begin = time.monotonic()
    assert _failure(_url(server, path), allow_private=True, seconds=1.0) == ("took over 1 seconds", True)
    assert time.monotonic() - begin < 3


def test_the_answer_is_not_read(server):
    deliver(_url(server, "endless"), BODY, SECRET, "d1", allow_private=True)
    time.sleep(0.2)
    assert server.sent < 64 << 20  # what the system's buffers hold


def test_broken_answers(server):
    assert _failure(_url(server, "noise"), allow_private=True) == ("its answer is not HTTP", True)
    assert _failure(_url(server, "silence"), allow_private=True)[1]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/"
        assert _failure(url, allow_private=True) == ("no connection (Connection refused)", True)


def test_the_environments_proxy_is_not_used(server, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    deliver(_url(server, "status/200"), BODY, SECRET, "d1", allow_private=True)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address):
    assert is_public(address)


@pytest.mark.parametrize("address", [one for one in PRIVATE if "%" not in one and one.count(".") != 2 and one][:-1])
def test_names_that_lead_into_a_private_network(resolved, connected, address):
    resolved([[address]])
    reason, passing = _failure("https://hook.example/")
    assert "no public address" in reason
    assert not passing
    assert connected == []


@pytest.mark.parametrize(
    "host", ["2130706433", "0x7f000001", "0x7f.1", "127.1", "[::1]", "[::ffff:127.0.0.1]", "①②⑦。①"]
)
def test_spellings_of_private_addresses(connected, host):
    with pytest.raises(UserError, match="webhook: found"):
        deliver(f"https://{host}/", BODY, SECRET, "d1")
    assert connected == []


def test_only_the_addresses_that_were_checked_are_connected_to(resolved, connected):
    asked = resolved([["10.0.0.1", "93.184.216.34", "127.0.0.1", "8.8.8.8"], ["127.0.0.1"]])
    assert _failure("https://hook.example/") == ("no connection", True)
    assert connected == ["93.184.216.34", "8.8.8.8"]
    assert asked == ["hook.example"]  # once: an answer that changes is never seen


def test_unknown_names_may_be_known_later(resolved, connected):
    resolved([None])
    assert _failure("https://hook.example/") == ("the name of its host is not known", True)


def test_a_resolver_that_does_not_answer(monkeypatch):
    end = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: end.wait(20))
    assert _failure("https://hook.example/", seconds=0.5) == ("took over 0.5 seconds", True)
    end.set()


@pytest.fixture
def secure(server, tmp_path, monkeypatch):
    if shutil.which("openssl") is None:
        pytest.skip("no openssl, which makes a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=hook.example"),
            *("-addext", "subjectAltName=DNS:hook.example", "-keyout", key, "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    names = []
    context.sni_callback = lambda _, name, __: names.append(name)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.handle_error = lambda *_: None  # of handshakes that the sender breaks off
    webhooks._certificates.cache_clear()
    yield server, certificate, names
    webhooks._certificates.cache_clear()


def test_the_certificate_is_that_of_the_name(secure, resolved, monkeypatch):
    server, certificate, names = secure
    resolved([["127.0.0.1"]])
    url = f"https://hook.example:{server.server_port}/status/200"
    assert _failure(url, allow_private=True) == ("no secure connection (CERTIFICATE_VERIFY_FAILED)", True)
    webhooks._certificates.cache_clear()
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    deliver(url, BODY, SECRET, "d1", allow_private=True)
    assert names == ["hook.example"] * 2
    other = url.replace("hook.example", "other.example")
    assert _failure(other, allow_private=True) == ("no secure connection (CERTIFICATE_VERIFY_FAILED)", True)
    assert len(server.received) == 1
    assert server.received[0][1]["Host"] == f"hook.example:{server.server_port}"


@pytest.mark.parametrize(
    "url",
    [
        *("https://hook.example/a?b=c", "https://hook.example:8443", "https://8.8.8.8/", "https://例え.jp/"),
        "https://[2606:4700:4700::1111]/",
    ],
)
def test_urls(url):
    check_url(url)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("", "no scheme"),
        ("hook.example", "no scheme"),
        ("http://hook.example", "http, wanted https"),
        ("file:///etc/passwd", "file"),
        ("https://", "the host"),
        ("https:///x", "the host"),
        ("https://a b.example", "the host"),
        ("https://hook.example:0", "port 0"),
        ("https://hook.example:70000", "port 70000"),
        ("https://user:word@hook.example", "a user name"),
        ("https://hook.example/\n", "no URL"),
        ("https://0177.0.0.1/", "no URL"),
        ("https://017700000001/", "the address 127.0.0.1"),
        ("https://169.254.169.254/latest", "the address 169.254.169.254"),
        ("https://[fe80::1%25eth0]/", "the host"),
        ("https://localhost:8000/", "the name of a host in a private network"),
        ("https://a.LOCALHOST./", "the name of a host in a private network"),
        ("https://printer/", "the name of a host in a private network"),
        ("https://vault.internal/", "the name of a host in a private network"),
        (f"https://hook.example/{'x' * 3000}", "3021 characters"),
    ],
)
def test_urls_that_can_never_be_delivered_to(url, found):
    with pytest.raises(UserError, match=r"webhook: found .*, wanted") as caught:
        check_url(url)
    assert found in str(caught.value)


def test_private_receivers_may_be_allowed():
    for url in ("http://127.0.0.1:8000/", "http://localhost/", "https://receiver/", "http://[::1]:80/"):
        check_url(url, allow_private=True)
    with pytest.raises(UserError, match="found ftp"):
        check_url("ftp://127.0.0.1/", allow_private=True)


def test_six_tries_over_some_hours():
    assert len(webhooks.BACK_OFF) == 5
    assert list(webhooks.BACK_OFF) == sorted(webhooks.BACK_OFF)
    assert 2 * 3600 < sum(webhooks.BACK_OFF) < 12 * 3600
