"""What `swag-ray doctor` says: one line a matter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from swag_ray.cluster.capacity import Node
from swag_ray.errors import InputError

State = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Finding:
    """One matter that was looked at.

    Attributes:
        topic: a word or two: python, memory, dataset.
        state: ok; note: works, but should be known; problem: a run would fail or be refused.
        text: what was found.
        advice: what to do about it; empty where nothing has to be done.
        nodes: the cluster's nodes, where the finding is about them.
    """

    topic: str
    state: State
    text: str
    advice: str = ""
    nodes: tuple[Node, ...] = ()

    def plain(self) -> dict[str, Any]:
        """Plain JSON types; memory in bytes."""
        nodes = [
            {
                "node": n.name, "head": n.head, "cpus": n.cpus, "gpus": n.gpus, "memory": n.memory,
                "object_store": n.object_store,
            }
            for n in self.nodes
        ]  # fmt: skip
        words = {"topic": self.topic, "state": self.state, "text": self.text, "advice": self.advice}
        return words | ({"nodes": nodes} if nodes else {})


def refused(topic: str, error: InputError, state: State = "problem") -> Finding:
    """Returns a bad input as a finding, on one line whatever a library put into its reason."""
    return Finding(topic, state, " ".join(error.problem.split()), " ".join(error.advice.split()))
