"""Figures for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from starlette.responses import Response

_SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Telemetry:
    """What one server counts.

    Attributes:
        requests: by route, method and status.
        seconds: from the first byte of a request's head to the last of its answer, by route.
        pictures: by model, and whether they could be read.
        model_seconds: of one run, by model.
        taken, answered: requests; those between are under way, or their senders went away.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.requests = Counter(
            "edgeworthy_requests",
            "Requests that were answered.",
            ["route", "method", "status"],
            registry=self._registry,
        )
        self.seconds = Histogram(
            "edgeworthy_request_seconds",
            "Time to the whole answer.",
            ["route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.pictures = Counter(
            "edgeworthy_pictures", "Pictures by what became of them.", ["outcome"], registry=self._registry
        )
        self.model_seconds = Histogram(
            "edgeworthy_model_seconds",
            "Time of one run of a model.",
            ["model"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.taken = self.answered = 0

    @property
    def left_alone(self) -> int:
        """Requests that got no answer: their senders went away, or the server's grace ended."""
        return self.taken - self.answered

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """A figure that is asked for when it is wanted."""
        Gauge(f"edgeworthy_{name}", text, registry=self._registry).set_function(value)

    def response(self) -> Response:
        """All of them, as Prometheus reads them."""
        return Response(generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
