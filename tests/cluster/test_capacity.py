"""What a cluster has and what it can hold: room against every placement there is, messages, and Ray's own table."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swag_ray.cluster.capacity import (
    OWN_MEMORY,
    Bundle,
    Node,
    actor_needs,
    check_capacity,
    cluster_nodes,
    count_fitting,
    largest_share,
    local_defaults,
)
from swag_ray.cluster.session import ray_session
from swag_ray.config.sections import ClusterConfig
from swag_ray.errors import InputError
from tests.support.ray_nodes import emulated

CPU: Bundle = {"CPU": 1}
WITH_GPU: Bundle = {"CPU": 1, "GPU": 1}


def node(name: str = "a", **resources: float) -> Node:
    return Node(name, resources)


def every_placement(nodes: Sequence[Node], bundles: Sequence[Bundle]) -> bool:
    """The same question answered by trying everything; what asks for nothing needs no place."""
    bundles = [bundle for bundle in bundles if any(bundle.values())]
    for places in product(range(len(nodes)), repeat=len(bundles)):
        free = [dict(n.resources) for n in nodes]
        for place, bundle in zip(places, bundles, strict=True):
            for kind, amount in bundle.items():
                free[place][kind] = free[place].get(kind, 0) - amount
        if all(left > -1e-9 for there in free for left in there.values()):
            return True
    return False


some_nodes = st.lists(
    st.builds(lambda c, g, m: node(CPU=c, GPU=g, memory=m), *(st.integers(0, n) for n in (6, 3, 4))), max_size=3
)
some_bundle = st.fixed_dictionaries(
    {"CPU": st.sampled_from([0.5, 1, 2, 3])},
    optional={"GPU": st.sampled_from([0, 0.5, 1, 2]), "memory": st.integers(0, 3)},
)


@given(some_nodes, some_bundle, st.integers(1, 6))
def test_room_is_what_trying_everything_finds(nodes: list[Node], bundle: Bundle, count: int) -> None:
    assert (count_fitting(nodes, bundle) >= count) is every_placement(nodes, [bundle] * count)


def test_decimal_amounts_add_up_as_ray_adds_them() -> None:
    assert count_fitting([node(CPU=1)], {"CPU": 0.1}) == 10 and count_fitting([node(CPU=0.3)], {"CPU": 0.1}) == 3


def test_what_asks_for_nothing_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="nothing"):
        count_fitting([node(CPU=1)], {"CPU": 0})


@pytest.mark.parametrize(
    ("nodes", "bundle", "actors", "local", "said"),
    [
        ([node(CPU=2)], CPU, 8, False, "8 actors of 1 CPU each do not fit: the cluster has 2 CPUs on 1 node; "
         "set cluster.actors to 2 at most or add nodes"),
        ([node(CPU=8), node(CPU=4, GPU=2)], WITH_GPU, 3, False, "3 actors of 1 CPU and 1 GPU each do not fit: the "
         "cluster has 12 CPUs (at most 8 CPUs on one) and 2 GPUs on 2 nodes; set cluster.actors to 2 at most or "
         "add nodes"),
        ([node(CPU=2)] * 2, {"CPU": 3}, 1, False, "1 actor of 3 CPUs does not fit: the cluster has 4 CPUs (at most "
         "2 CPUs on one) on 2 nodes; add nodes: not even one actor has room"),
        ([node(CPU=9, memory=4e9)], {"CPU": 1, "memory": 1.5e9}, 3, True,
         "3 actors of 1 CPU and 1.5 GB of memory each do not fit: a local Ray has 9 CPUs and 4.0 GB of memory; "
         "set cluster.actors to 2 at most or end other programs"),
        ([], CPU, 1, False, "1 actor of 1 CPU does not fit: the cluster has 0 CPUs on 0 nodes; add nodes: not even one "
         "actor has room"),
    ],
)  # fmt: skip
def test_a_refusal_gives_the_numbers(nodes: list[Node], bundle: Bundle, actors: int, local: bool, said: str) -> None:
    with pytest.raises(InputError) as refusal:
        check_capacity(nodes, bundle, actors, local=local)
    assert str(refusal.value) == f"cluster.actors: {said}"


@given(some_nodes, some_bundle, st.integers(1, 12))
def test_what_a_refusal_proposes_is_the_most(nodes: list[Node], bundle: Bundle, count: int) -> None:
    try:
        check_capacity(nodes, bundle, count)
    except InputError as refusal:
        _, _, most = str(refusal).rpartition("set cluster.actors to ")
        proposed = int(most.split()[0]) if "at most" in str(refusal).rpartition(";")[2] else 0
        assert proposed < count and proposed == count_fitting(nodes, bundle)
    else:
        assert count_fitting(nodes, bundle) >= count


HALF: Bundle = {"CPU": 1, "GPU": 0.5}
QUARTER: Bundle = {"CPU": 1, "GPU": 0.25}


@pytest.mark.parametrize(
    ("nodes", "actors", "wanted", "extraction"),
    [
        ([node(CPU=2), node(CPU=4)], None, (6, CPU), (6, CPU)),
        ([node(CPU=2), node(CPU=4)], 3, (3, CPU), (3, CPU)),
        ([node(CPU=2), node(CPU=4, GPU=2)], None, (4, HALF), (2, {"CPU": 2, "GPU": 1})),
        ([node(CPU=2), node(CPU=4, GPU=2)], 5, (5, HALF), (2, {"CPU": 2, "GPU": 1})),
        ([node(CPU=16, GPU=1), node(CPU=17, GPU=1)], None, (8, QUARTER), (8, {"CPU": 4, "GPU": 0.25})),
        ([node(CPU=8, GPU=1)], None, (4, QUARTER), (2, {"CPU": 4, "GPU": 0.5})),
        ([node(CPU=16, GPU=1)], 1, (1, QUARTER), (1, {"CPU": 16, "GPU": 1})),
        ([node(CPU=16, GPU=1)], 2, (2, QUARTER), (2, {"CPU": 8, "GPU": 0.5})),
        ([node(CPU=64, GPU=2)], 3, (3, QUARTER), (3, {"CPU": 16, "GPU": 0.5})),
        ([node(CPU=2, GPU=4), node(CPU=8, GPU=1)], None, (3, WITH_GPU), (3, WITH_GPU)),
        ([node()], None, (1, CPU), (1, CPU)),
    ],
)
def test_a_config_needs_actors_for_every_core_or_gpu(
    nodes: list[Node], actors: int | None, wanted: tuple[int, Bundle], extraction: tuple[int, Bundle]
) -> None:
    found = actor_needs(ClusterConfig(actors=actors), nodes)
    assert (found.actors, found.bundle) == wanted
    assert (found.extractors, found.extractor_bundle) == extraction


@pytest.mark.parametrize(
    ("cpus", "memory", "asked", "actors", "each"),
    [
        (2, 12.0, None, 2, 1.1),  # of 24 GB, with other programs
        (8, 2.8, None, 2, 1.1),  # a laptop of 8 GB
        (2, 1.0, None, 1, 1.0),  # one actor is tried where there is any hope for it
        (8, 2.8, 4, 4, 0.7),  # and so are as many as are asked for
        (2, 0.9, 2, 2, 0.5),  # which is refused below
    ],
)
def test_actors_ask_for_memory_that_is_there(
    cpus: int, memory: float, asked: int | None, actors: int, each: float
) -> None:
    nodes = [node(CPU=cpus, memory=memory * 1e9)]
    found = actor_needs(ClusterConfig(actors=asked), nodes)
    assert (found.actors, found.bundle["memory"] / 1e9) == (actors, each)
    if actors * each <= memory:
        check_capacity(nodes, found.bundle, found.actors)
    else:
        said = r"2 actors of 1 CPU and 500 MB of memory each do not fit: a local Ray has 2 CPUs and 900 MB"
        with pytest.raises(InputError, match=said):
            check_capacity(nodes, found.bundle, found.actors, local=True)


def test_the_actors_of_a_trial_ask_for_what_its_node_has() -> None:
    nodes = [node(CPU=2, memory=1e9), node(CPU=4, memory=3e9)]
    bundle = actor_needs(ClusterConfig(), nodes).bundle
    assert largest_share(nodes, bundle, 1)["memory"] == OWN_MEMORY
    assert largest_share(nodes, bundle, 4)["memory"] == 750_000_000
    assert count_fitting(nodes, {kind: 4 * amount for kind, amount in largest_share(nodes, bundle, 4).items()}) == 1
    assert largest_share(nodes, CPU, 4) == CPU


def test_local_defaults_start_nothing() -> None:
    import ray

    before = ray.is_initialized()
    cpus, object_store = local_defaults()
    assert cpus >= 0 and object_store > 0
    assert ray.is_initialized() is before


@pytest.mark.ray
def test_a_local_ray_is_one_node(local_ray: None) -> None:
    import ray

    (found,) = cluster_nodes()
    total = ray.cluster_resources()
    assert found.head and found.cpus == total["CPU"] == 2 and found.gpus == 0
    assert found.memory == total["memory"] and found.object_store == total["object_store_memory"] == 200 * 2**20
    check_capacity(cluster_nodes(), CPU, 2)
    with pytest.raises(InputError, match=r"has 2 CPUs on 1 node; set cluster\.actors to 2 at most"):
        check_capacity(cluster_nodes(), CPU, 3)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.cluster
def test_ray_agrees_on_two_nodes_and_forgets_one_that_left() -> None:
    """In a process of its own: this one may be connected elsewhere."""
    code = "from tests.cluster.test_capacity import two_nodes; two_nodes()"
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, timeout=200)
    assert done.returncode == 0, done.stderr


def two_nodes() -> None:
    import ray
    from ray.util.placement_group import placement_group

    with emulated(3, 3) as cluster, ray_session(address=cluster.address):
        nodes = cluster_nodes()
        assert [n.head for n in nodes] == [True, False] and len({n.name for n in nodes}) == 2
        assert [n.cpus for n in nodes] == [3, 3]
        for bundle, count in (({"CPU": 2}, 2), ({"CPU": 2}, 3), (CPU, 6), (CPU, 7), ({"CPU": 4}, 1)):
            group = placement_group([bundle] * count)
            assert group.wait(3) is (count_fitting(nodes, bundle) >= count), (bundle, count)
            ray.util.remove_placement_group(group)
        cluster.remove_node(cluster.list_all_nodes()[-1])
        deadline = time.monotonic() + 30
        while len(cluster_nodes()) > 1 and time.monotonic() < deadline:
            time.sleep(0.1)
        started = time.monotonic()
        (left,) = cluster_nodes()
        assert left.head and time.monotonic() - started < 1
