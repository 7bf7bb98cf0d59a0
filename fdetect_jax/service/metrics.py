"""Prometheus metrics of the server: requests by route and status, and jobs by state."""

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.types import Message, Receive, Scope, Send

from fdetect_jax.service.service import Service


class Metrics:
    """registry: of one app."""

    def __init__(self, service: Service):
        self.registry = CollectorRegistry()
        self._durations = Histogram(
            "fdetect_request_seconds",
            "Time from a request to the start of its answer",
            ("route", "status"),
            registry=self.registry,
        )
        self.registry.register(_Jobs(service))

    def measured(self, app):
        """An ASGI app that counts."""

        async def run(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            began = time.monotonic()

            async def sent(message: Message) -> None:
                if message["type"] == "http.response.start":
                    route = getattr(scope.get("route"), "path", "other")  # the pattern, never the address
                    self._durations.labels(route, message["status"]).observe(time.monotonic() - began)
                await send(message)

            await app(scope, receive, sent)

        return run


class _Jobs(Collector):
    def __init__(self, service: Service):
        self._service = service

    def collect(self) -> Iterator[GaugeMetricFamily]:
        jobs = GaugeMetricFamily("fdetect_jobs", "Jobs by state", labels=["state"])
        for state, count in self._service.jobs.counts().items():
            jobs.add_metric([state], count)
        yield jobs
        yield GaugeMetricFamily("fdetect_workers", "Workers that are there", value=len(self._service.alive()))
