"""What `GET /metrics` says: the Prometheus text of one process, through which every request goes."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 60.0)


class Metrics:
    """Counts since the start of the service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": self.registry, "namespace": "swag_ray"}
        self.requests = Counter("requests", "Requests to POST /score, by the status of the answer", ["status"], **own)
        self.seconds = Histogram("request_seconds", "Of a request to POST /score, all of it", buckets=SECONDS, **own)
        self.flagged = Counter("flagged", "Images above the threshold", **own)
        self.unreadable = Counter("unreadable", "Images that cannot be read", **own)
        self.strange = Counter("out_of_domain", "Images unlike anything the detector was made for", **own)
        self.lost = Counter("lost_requests", "Requests that a replica took and lost; others answered them", **own)
        self.in_flight = Gauge("in_flight", "Requests to POST /score that are not answered yet", **own)
        self.replicas = Gauge("replicas", "Replicas that are up", **own)

    def text(self) -> bytes:
        """Returns all of it as Prometheus reads it."""
        return generate_latest(self.registry)
