"""What a config needs, and what of it is not there."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from swag_ray.cluster.capacity import Node
from swag_ray.config import Config, load_config
from swag_ray.core.auxiliary import KINDS
from swag_ray.doctor.requirements import (
    CHANNELS,
    control_findings,
    feature_findings,
    head_rows,
    image_bytes,
    needs,
    stored_features,
)
from swag_ray.experiment.prepare import planned_variants
from swag_ray.experiment.source import feature_spec, list_images, split_table
from swag_ray.images.listing import Listing
from swag_ray.store.store import Store
from tests.doctor.inputs import MACHINE, node, put_features, put_rows, said
from tests.support.small_disk import SmallDisk

Folder = Callable[..., Config]
Small = Callable[[str], SmallDisk]


@pytest.mark.parametrize(
    ("nodes", "overrides", "options", "wanted"),
    [
        ([node(2)], [], {}, "ok: 2 of 1 CPU each fit; they use about 2.6 GB of 8.0 GB memory (1.1 GB each and "
         "400 MB shared, measured with tf_efficientnet_lite0)"),
        ([node(2, 2)], [], {"gpus": 2}, "ok: 2 of 1 CPU and 1 GPU each fit"),
        ([node(2)], ["cluster.actors=8"], {}, "problem: cluster.actors: 8 actors of 1 CPU each do not fit: a local Ray "
         "has 2 CPUs; set cluster.actors to 2 at most or raise cluster.cpus"),
        ([node(2), node(2)], ["cluster.actors=5"], {"local": False}, "problem: cluster.actors: 5 actors of 1 CPU each "
         "do not fit: the cluster has 4 CPUs (at most 2 CPUs on one) on 2 nodes; set cluster.actors to 4 at most"),
        ([node(4, 0, 4e9)], [], {}, "ok: 3 of 1 CPU each fit; they use about 3.7 GB of 4.0 GB memory (1.1 GB "
         "each"),
        ([node(4, 0, 4e9)], ["cluster.actors=4"], {}, "note: 4 of 1 CPU each fit; they use about 4.8 GB of 4.0 GB "
         "memory (1.1 GB each and 400 MB shared, measured with tf_efficientnet_lite0): they may run out of it, and Ray "
         "then ends some; set cluster.actors to 3 at most"),
        ([node(6)], ["cluster.actors=6"], {}, "but only 6.0 GB are free now; end other programs, or lower"),
        ([node(4)], ["cluster.actors=4"], {"free": 4_790_000_000}, "they use about 4.80 GB of 8.0 GB memory (1.1 GB "
         "each and 400 MB shared, measured with tf_efficientnet_lite0), but only 4.79 GB are free now"),
        ([node(1, 0, 1e9)], [], {}, "use a machine with more memory"),
        ([node(8)], ["cluster.cpus=8"], {}, "note: cluster.cpus: 8 are more than the 4 cores here"),
        ([node(2, 2)], ["cluster.gpus=2"], {}, "note: cluster.gpus: 2 are more than the 0 that torch sees"),
        ([node(2)], ["cluster.cpus=2", "cluster.object_store_mb=200"], {"local": False},
         "note: cluster.cpus, cluster.object_store_mb: read when Ray is started here"),
    ],
)  # fmt: skip
def test_whether_the_cluster_section_fits(
    folder: Folder, nodes: list[Node], overrides: list[str], options: dict[str, Any], wanted: str
) -> None:
    machine = replace(MACHINE, memory_free=options.pop("free", MACHINE.memory_free))
    found = [said(f) for f in needs(folder(*overrides), nodes, machine, **{"local": True, **options})]
    assert any(wanted in line for line in found), found


def test_a_config_that_lacks_nothing(folder: Folder) -> None:
    found = {f.topic: f for f in needs(folder(), [node()], MACHINE, local=True) if f.state == "ok"}
    assert found["dataset"].text.startswith("76 images at ") and "38 train, 38 test" in found["dataset"].text
    assert found["split"].text == "15 seeds in 3 folds, a pool of 23, 38 test images"
    assert found["features"].text.startswith(
        "0 of 76 images and 0 of 30 variants of the seeds have theirs in the store; the others take 6.5 MB of disk"
    )
    assert "weights" in found


@pytest.mark.parametrize(
    ("overrides", "topic", "wanted"),
    [
        (["dataset.root=/no/where"], "dataset", "problem: dataset.root: /no/where does not exist; give the folder"),
        (["dataset.anomaly=FLU"], "dataset", "problem: dataset.anomaly: no class folder FLU"),
        (["split.folds=9"], "split", "problem: split."),
        (["backbone.name=tf_efficientnet_lite9"], "weights", "problem: backbone."),
        (["backbone.weights=/no/file.pth"], "weights", "problem: backbone.weights: no file at"),
    ],
)
def test_what_a_run_would_refuse_is_a_problem_and_the_rest_is_still_told(
    folder: Folder, overrides: list[str], topic: str, wanted: str
) -> None:
    found = list(needs(folder(*overrides), [node()], MACHINE, local=True))
    wrong = [f for f in found if f.state == "problem"]
    assert [f.topic for f in wrong] == [topic] and said(wrong[0]).startswith(wanted), [said(f) for f in wrong]
    assert {"config", "actors"} <= {f.topic for f in found if f.state == "ok"}


def test_features_that_are_there_are_counted_and_the_others_estimated(folder: Folder) -> None:
    config = folder()
    store, spec = Store(config.store), feature_spec(config)
    listing = list_images(config, store)
    put_features(config, listing, 64)
    present, each = stored_features(store, spec)
    guess = image_bytes(spec)
    assert len(present) == 64 and each is not None and guess is not None and abs(each / guess - 1) < 0.02
    (found,) = feature_findings(store, spec, listing)
    assert said(found).startswith("ok: 64 of 76 images have theirs in the store; the others take 7")
    damaged = put_features(config, listing, 70, "b")
    damaged.write_bytes(damaged.read_bytes()[:1000])
    assert stored_features(store, spec) == (present, each) and damaged.exists()
    put_features(config, listing, 76, "c")
    (found,) = feature_findings(store, spec, listing)
    assert said(found) == "ok: 76 of 76 images have theirs in the store"


@pytest.mark.parametrize(
    ("overrides", "variants", "disk"),
    [
        (["auxiliary.per_seed=4"], 120, "12 MB"), (["auxiliary.kind=own_patch"], 15, "5.6 MB"),
        (["auxiliary.kind=[]"], 0, "4.7 MB"), (["split.seed_fraction=0.9"], 54, "8.0 MB"),
    ],
)  # fmt: skip
def test_variants_are_counted_as_the_config_makes_them(
    folder: Folder, overrides: list[str], variants: int, disk: str
) -> None:
    config = folder(*overrides)
    (found,) = (f for f in needs(config, [node()], MACHINE, local=True) if f.topic == "features")
    counted = f" and 0 of {variants} variants of the seeds" if variants else ""
    assert found.text.startswith(f"0 of 76 images{counted} have theirs in the store; the others take {disk} of disk")


def test_a_method_without_variants_counts_none(folder: Folder) -> None:
    found = {f.topic: f.text for f in needs(folder(method="published"), [node()], MACHINE, local=True)}
    assert found["features"].startswith("0 of 76 images have theirs in the store; the others take 4.7 MB of disk")


def test_variants_that_are_there_are_those_that_a_run_asks_for(folder: Folder) -> None:
    """Of another choice of seeds, some are not."""
    config = folder()
    store = Store(config.store)
    listing = list_images(config, store)
    put_features(config, listing, 76)
    keys = [recipe.key for recipe in planned_variants(config, listing.root, listing.table).recipes]
    put_rows(config, keys, "variants")

    def told(*overrides: str) -> str:
        findings = needs(folder(*overrides), [node()], MACHINE, local=True)
        return next(f.text for f in findings if f.topic == "features")

    assert told() == "76 of 76 images and 30 of 30 variants of the seeds have theirs in the store"
    other = re.match(r"76 of 76 images and (\d+) of 30 variants .* the others take", told("random_seed=1"))
    assert other is not None and int(other[1]) < 15, "opacities of the seeds that both have"
    assert told("auxiliary.kind=[]") == "76 of 76 images have theirs in the store"


def test_memory_for_a_head_of_many_variants(folder: Folder) -> None:
    """Two folds of three learn from 10 seeds and 500 variants of each: 30 KB a row, twice."""
    many = folder(f"auxiliary.kind=[{', '.join(KINDS)}]", "auxiliary.per_seed=100")
    listing = list_images(many, Store(many.store))
    split = split_table(many, listing.table)
    rows = (15 - min(split.fold_seeds)) * 501
    head = head_rows(many, split, planned_variants(many, listing.root, listing.table))
    assert (head.rows, head.memory) == (rows, rows * 7552 * 8)
    assert head.beyond == pytest.approx((rows - 4000) * 7552 * 8) and head.beyond > 0

    def told(nodes: list[Node], *overrides: str) -> str:
        config = folder(f"auxiliary.kind=[{', '.join(KINDS)}]", *overrides)
        return next(said(f) for f in needs(config, nodes, MACHINE, local=True) if f.topic == "actors")

    small = [node(2, 0, 2.25e9)]
    few, more = (told(small, f"auxiliary.per_seed={count}", "cluster.actors=2") for count in (1, 100))
    assert few.startswith("ok: ") and "(1.1 GB each and 400 MB shared" in few
    assert more.startswith("note: ") and more.endswith("; set cluster.actors to 1 at most")
    assert f"2.7 GB of 2.2 GB memory (1.2 GB each, 303 MB of it for {rows:,} seeds and variants of a head, and" in more


def test_a_disk_too_small_for_the_features(folder: Folder, small_disk: Small) -> None:
    found = list(needs(folder(store=small_disk("1m").path), [node()], MACHINE, local=True))
    (wrong,) = [f for f in found if f.state == "problem"]
    assert wrong.topic == "features" and "take 6.5 MB" in wrong.text and "1.0 MB are free at" in wrong.text


def test_a_backbone_whose_size_is_not_known(folder: Folder) -> None:
    config = folder()
    spec = feature_spec(config)
    listing = list_images(config, Store(config.store))
    for other in ({"backbone": "resnet50"}, {"strides": (1, 8)}):
        changed = type(spec)(**{**vars(spec), **other})
        assert image_bytes(changed) is None
        (found,) = feature_findings(Store(config.store), changed, listing)
        assert found.state == "ok" and "is not known for" in found.text


@pytest.mark.slow
def test_the_channels_that_are_known_are_timms() -> None:
    import timm

    for name, channels in CHANNELS.items():
        info: Any = timm.create_model(name, pretrained=False, features_only=True).feature_info
        assert dict(zip(info.reduction(), info.channels(), strict=True)) == channels


def test_controls_that_need_labels(folder: Folder) -> None:
    config = folder("controls=[seed_only, full_train, supervised]")
    listing = list_images(config, Store(config.store))
    assert not list(control_findings(config, listing))
    labels = [
        None if split == "train" and label else label
        for split, label in zip(*(listing.table[c].to_pylist() for c in ("split", "label")), strict=True)
    ]
    table = listing.table.set_column(
        listing.table.schema.get_field_index("label"), "label", pa.array(labels, pa.bool_())
    )
    unlabelled = Listing(listing.root, table, (), {}, {})
    assert [said(f) for f in control_findings(config, unlabelled)] == [
        "note: full_train, supervised need labels, and 8 train images have none: they are left out"
    ]


@pytest.mark.data
def test_the_real_xrays(xray_root: Path, repository: Path, tmp_path: Path) -> None:
    overrides = [f"dataset.root={xray_root}", f"store={tmp_path / 'store'}"]
    found = list(needs(load_config(repository / "configs/pneumonia.yaml", overrides), [node()], MACHINE, local=True))
    assert not [said(f) for f in found if f.state == "problem"]
    texts = {f.topic: f.text for f in found if f.state == "ok"}
    assert texts["dataset"].startswith("5840 images") and texts["split"].startswith("402 seeds in 5 folds")
    assert texts["features"].startswith("0 of 58") and "MB of disk (62 KB an image)" in texts["features"]


@pytest.mark.parametrize(
    "overrides",
    [
        ["cluster.actors=8"], ["calibration.false_positive_rate=.05"],
        ["dataset.contamination=.9"], ["score.neighbours=90", "memory.coreset_ratio=.001"],
    ],
)  # fmt: skip
def test_every_setting_that_is_advised_is_accepted_and_cures_it(folder: Folder, overrides: list[str]) -> None:
    """Numbers that the advice names go back into the config: the finding is then gone, and no other came."""
    field = overrides[0].split("=")[0]

    def findings(*more: str) -> list[str]:
        found = needs(folder(*overrides, *more), [node(2)], MACHINE, local=True)
        return [said(f) for f in found if f.state != "ok" and f.text.startswith(f"{field}:")]

    (told,) = findings()
    number = re.search(
        r"; (?:lower|set) (?:it|cluster\.actors) to ([\d.]+\d|\d+)|highest possible share, ([\d.]+)", told
    )
    assert number is not None, told
    assert not findings(f"{field}={number[1] or number[2]}")
