"""`swag-ray datasets check`: what a dataset holds, of a folder, a manifest or a config."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from swag_ray.errors import InputError

if TYPE_CHECKING:
    from swag_ray.images.listing import Listing

Set = Annotated[list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override a config field; repeatable.")]

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]


def datasets_check(
    root: Annotated[
        str,
        typer.Argument(
            metavar="ROOT",
            help="Folder that holds train and test, or class folders (--test-fraction), or trusted images (--pool); a "
            "manifest (CSV, Parquet, data.json); or a CONFIG, whose dataset is looked at.",
        ),
    ],
    normal: Annotated[
        str | None, typer.Option(help="Folder name of the normal class; default: the one called NORMAL.")
    ] = None,
    anomaly: Annotated[
        list[str] | None, typer.Option(help="Folder name of an anomalous class; default: all others.")
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(help="Regular expression whose first group names the patient; or folder, column, patient_id."),
    ] = None,
    pool: Annotated[str | None, typer.Option(help="Folder of unknown images; ROOT then holds trusted ones.")] = None,
    test_fraction: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of each class to draw a test set of.")
    ] = None,
    set_: Set = None,
    as_json: AsJson = False,
) -> None:
    """Say what a dataset holds, and what of it would trip a run."""
    from dataclasses import asdict

    from swag_ray.cli.tables import show_check
    from swag_ray.config import load_config
    from swag_ray.doctor.dataset import describe_dataset
    from swag_ray.images.check import describe

    given = {"--normal": normal, "--anomaly": anomaly, "--group": group, "--pool": pool,
             "--test-fraction": test_fraction}  # fmt: skip
    if root.lower().endswith((".yaml", ".yml")):
        if said := next((name for name, value in given.items() if value), None):
            raise InputError(f"datasets check: {said} is not read beside a config", "use --set")
        found = describe_dataset(load_config(root, set_ or []))
    elif set_:
        raise InputError("datasets check: --set changes a CONFIG", "give one")
    else:
        found = describe(_listing(root, normal, anomaly, group, pool, test_fraction), seed_fraction=0.3, folds=5)
    print(json.dumps(asdict(found), default=str)) if as_json else show_check(found)


def _listing(
    root: str,
    normal: str | None,
    anomaly: list[str] | None,
    group: str | None,
    pool: str | None,
    share: float | None,
) -> Listing:
    """What `datasets check` looks at without a config."""
    from swag_ray.images.check import guess_classes
    from swag_ray.images.folders import list_folder
    from swag_ray.images.manifest import list_manifest
    from swag_ray.images.places import locate
    from swag_ray.images.unlabelled import list_unlabelled

    place = locate(root)
    if pool is not None:
        if share is not None:
            raise InputError("datasets check: --test-fraction needs labels, and --pool has none", "leave one out")
        return list_unlabelled(place, locate(pool), group=group)
    if root.lower().endswith((".csv", ".parquet", ".json")):
        called = normal or "NORMAL"
        return list_manifest(place, normal=called, anomaly=anomaly or (), group=group, test_fraction=share)
    if normal is None or not anomaly:
        normal, others = guess_classes(place, normal or "normal", undivided=share is not None)
        anomaly = anomaly or others
    return list_folder(place, normal=normal, anomaly=anomaly, group=group, test_fraction=share)
