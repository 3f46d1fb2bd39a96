"""What goes wrong on the way: unreadable images, a full disk, damaged files, two runs at once. Nothing is lost by it.

What is refused before anything starts is in tests/whole/test_bad_input.py.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from swag_ray.cluster.sample_actors import SamplePool
from swag_ray.cluster.session import Session
from swag_ray.config import Config, to_yaml
from swag_ray.errors import InputError
from swag_ray.features.shards import DamagedShard
from swag_ray.progress import Progress
from swag_ray.record.files import CONFIG_FILE
from swag_ray.run.run import Run, run_experiment
from swag_ray.store.pruning import prune
from swag_ray.store.store import Store
from swag_ray.system.files import aside
from tests.support.command_line import Command, borrowed, figures
from tests.support.small_disk import SmallDisk

pytestmark = pytest.mark.ray
Tiny = Callable[..., Config]
SHORT = {"rounds": 1, "controls": []}


def rounds(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows 0 and 1, what a short run has in common with a whole one."""
    rows: list[dict[str, Any]] = figures(metrics)["rounds"]
    return rows[:2]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bad-day")


@pytest.fixture
def whole(tiny: Tiny, local_ray: None, directory: Path) -> dict[str, Any]:
    """metrics.json of a run on a good day, computed by the first test that asks."""
    path = directory / "whole" / "metrics.json"
    if not path.exists():
        run_experiment(tiny(), path.parent)
    metrics: dict[str, Any] = json.loads(path.read_text())
    return metrics


def config_file(config: Config, path: Path) -> Path:
    path.write_text(to_yaml(config))
    return path


class Noted(Progress):
    """Keeps the warnings."""

    def __init__(self) -> None:
        super().__init__()
        self.warnings: list[str] = []

    def warning(self, text: str) -> None:
        self.warnings.append(text)


def odd_images(session_store: Path, root: Path) -> Path:
    """The tiny set as a folder, six unreadable files among its normals, two unusual ones among the test anomalies."""
    (drawn,) = (session_store / "datasets").glob("digit-anatomy-*")
    shutil.copytree(drawn, root)
    original = sorted((root / "test/ANOMALY").iterdir())[0]
    with Image.open(original) as image:
        levels = np.array(image)
    Image.fromarray(levels.astype(np.uint16) * 257).save(root / "test/ANOMALY/sixteen-bits.png")
    alpha = np.full_like(levels, 128)
    Image.fromarray(np.stack([levels, levels, levels, alpha], axis=-1), "RGBA").save(root / "test/ANOMALY/rgba.png")
    normals = root / "train/NORMAL"
    Image.new("L", (1, 1)).save(normals / "one-pixel.png")
    Image.new("1", (10_000, 10_000)).save(normals / "huge.png")
    data = original.read_bytes()
    (normals / "cut.png").write_bytes(data[: len(data) // 2])
    (normals / "empty.jpg").write_bytes(b"")
    (normals / "text.jpeg").write_text("not an image")
    (normals / "page.jpeg").write_text("<html>")
    return root


REASONS = {
    "one-pixel.png": r"1 x 1 pixels, a side under 16",
    "huge.png": r"10000 x 10000 pixels, over 50 megapixels",
    "cut.png": r"truncated.*",
    "empty.jpg": r"empty file",
    "text.jpeg": r"not a readable image.*",
    "page.jpeg": r"not a readable image.*",
}


def test_unreadable_images_are_refused_or_counted_and_change_nothing_else(
    tiny: Tiny, whole: dict[str, Any], session_store: Path, command: Command, tmp_path: Path
) -> None:
    root = odd_images(session_store, tmp_path / "odd")
    data = {"kind": "folder", "root": str(root), "anomaly": "ANOMALY"}
    split = {"seed_fraction": 0.5, "folds": 3, "group": r"^(set\d+)"}
    config = tiny(dataset=data | {"on_corrupt": "refuse"}, split=split, **SHORT)
    out = tmp_path / "run"
    said = command("run", config_file(config, tmp_path / "odd.yaml"), "--quiet", "--out", out).complaint
    assert re.search(
        r"^dataset: cannot read /.*/odd/train/NORMAL/[\w-]+\.\w+: .* \(and 5 more\); mend or remove it, or set "
        r"dataset\.on_corrupt: skip$",
        said,
    ), said
    assert not out.exists(), "the folder must be free for the mended config"

    run = run_experiment(tiny(dataset=data, split=split, **SHORT), out)
    skipped = dict(line.rsplit("/", 1)[1].split(": ", 1) for line in run.metrics["dataset"]["skipped"])
    assert skipped.keys() == REASONS.keys()
    assert all(re.fullmatch(REASONS[name], reason) for name, reason in skipped.items()), skipped
    warning = next(w for w in run.metrics["warnings"] if w.startswith("6 unreadable images were skipped: /"))
    assert warning.count("; /") == 4 and warning.endswith("; and 1 more")
    pool = ("passed_distance", "passed_both", "candidates", "admitted", "admitted_anomalies", "rejects")
    for row, expected in zip(rounds(run.metrics), rounds(whole), strict=True):
        assert [row.get(name) for name in pool] == [expected.get(name) for name in pool]
    scores = pq.read_table(run.directory / "scores.parquet").to_pylist()
    score = {Path(row["path"]).name: row["incremental"] for row in scores}
    original = sorted((root / "test/ANOMALY").glob("test-*"))[0].name
    assert score["sixteen-bits.png"] == pytest.approx(score[original], abs=1e-6)
    assert score["rgba.png"] == pytest.approx(score[original], abs=1e-6)

    # The bytes of cut.png are known to be unreadable by now: as the only test anomaly it leaves one class.
    one_class = tmp_path / "one-class"
    shutil.copytree(root, one_class)
    shutil.rmtree(one_class / "test/ANOMALY")
    (one_class / "test/ANOMALY").mkdir()
    shutil.copy(root / "train/NORMAL/cut.png", one_class / "test/ANOMALY/cut.png")
    one = data | {"root": str(one_class), "on_leak": "keep"}
    with pytest.raises(InputError, match=r"^dataset: the readable test images are not of both classes"):
        run_experiment(tiny(dataset=one, split=split, **SHORT), tmp_path / "one")
    assert not (tmp_path / "one").exists()


def test_a_disk_that_fills_up_while_features_are_written(
    tiny: Tiny, whole: dict[str, Any], session_store: Path, small_disk: Callable[[str], SmallDisk], command: Command,
    tmp_path: Path,
) -> None:  # fmt: skip
    """Drawing the images needs 3 MB, a shard of features 4: the second does not fit."""
    disk, out = small_disk("8m"), tmp_path / "run"
    store = disk.path / "store"
    path = config_file(tiny(store=store, **SHORT), tmp_path / "config.yaml")
    said = command("run", path, "--quiet", "--out", out).complaint
    assert re.search(rf"^store: cannot write to '{store}' \(.*No space left.*\); free space there or set another", said)
    assert not list(store.glob("stages/*/*")), "no stage may look complete"
    assert not [p for p in (store / "tmp").iterdir()], "half-written files are taken away"
    for shard in store.glob("features/*/*"):
        assert shard.read_bytes() == (session_store / "features" / shard.parent.name / shard.name).read_bytes()
    assert os.listdir(out) == ["config.yaml"]
    disk.remount("size=200m")
    assert command("run", "--resume", out, "--quiet").code == 0
    assert rounds(json.loads((out / "metrics.json").read_text())) == rounds(whole)


def test_a_disk_that_fills_up_while_images_are_drawn(
    tiny: Tiny, small_disk: Callable[[str], SmallDisk], command: Command, no_ray: None, tmp_path: Path
) -> None:
    disk = small_disk("300k")
    path = config_file(tiny(store=disk.path / "store"), tmp_path / "config.yaml")
    said = command("run", path, "--quiet", "--out", tmp_path / "run").complaint
    assert re.search(r"^store: cannot write to '.*' \(No space left on device\); free space", said), said
    assert not list((disk.path / "store" / "datasets").iterdir()) and not (tmp_path / "run").exists()


def test_a_disk_that_fills_up_while_a_stage_is_kept(
    tiny: Tiny, whole: dict[str, Any], session_store: Path, small_disk: Callable[[str], SmallDisk], command: Command,
    tmp_path: Path,
) -> None:  # fmt: skip
    """Told by the memory bank actor, and still one line."""
    disk, out = small_disk("64k"), tmp_path / "run"
    store = borrowed(session_store, disk.path / "store")
    path = config_file(tiny(store=store, **SHORT), tmp_path / "config.yaml")
    said = command("run", path, "--quiet", "--out", out).complaint
    assert re.search(rf"^store: cannot write to '{store}' \(.*No space left.*\); free space", said), said
    assert not list(store.glob("stages/bank/*")) and not list((store / "tmp").iterdir())


def test_a_disk_that_fills_up_while_results_are_written(
    tiny: Tiny, whole: dict[str, Any], small_disk: Callable[[str], SmallDisk], command: Command, tmp_path: Path
) -> None:
    """Everything is in the store; the bundle's backbone alone is larger than this disk."""
    disk = small_disk("1m")
    out, path = disk.path / "run", config_file(tiny(), tmp_path / "config.yaml")
    said = command("run", path, "--quiet", "--out", out).complaint
    assert re.search(rf"^--out: cannot write to '{out}' \(No space left on device\); free space there, or", said), said
    assert os.listdir(out) == ["config.yaml"]
    disk.remount("size=100m")
    assert command("run", path, "--quiet", "--out", out).code == 0
    assert rounds(json.loads((out / "metrics.json").read_text())) == rounds(whole)
    # A finished run stays as it is until the next one is whole: never the new config over the old figures.
    disk.remount("size=15m")
    before = {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()}
    assert "cannot write" in command("run", path, "--quiet", "--out", out, "--set", "cluster.actors=1").complaint
    assert {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()} == before


def test_a_claim_that_was_killed_is_no_foreign_file(tiny: Tiny, whole: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    left = aside(tmp_path / "run" / CONFIG_FILE)
    left.write_text("name: ti")
    assert run_experiment(tiny(), tmp_path / "run").metrics["totals"] == whole["totals"]
    assert not left.exists()


def test_damaged_shards_and_stages_are_made_again(
    tiny: Tiny, whole: dict[str, Any], directory: Path, session_store: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    for part in ("features", "stages/index"):
        shutil.copytree(session_store / part, store / part)
    (store / "datasets").symlink_to(session_store / "datasets")
    config, progress = tiny(store=store, **SHORT), Noted()
    fingerprint = json.loads((directory / "whole" / "manifest.json").read_text())["fingerprint"]
    first, second = largest(store / "features" / fingerprint)
    flip(first, first.stat().st_size // 10)  # in a map that the banks read; the size stays, only a checksum tells
    os.truncate(second, second.stat().st_size // 2)
    run = run_experiment(config, tmp_path / "run", progress=progress)
    assert rounds(run.metrics) == rounds(whole)
    mended = [warning for warning in progress.warnings if "extracted again" in warning]
    assert len(mended) == 1 and mended[0].startswith(f"'{first}' is damaged ("), mended
    for shard in (first, second):
        assert shard.read_bytes() == (session_store / "features" / shard.parent.name / shard.name).read_bytes()

    before = (run.directory / "scores.parquet").read_bytes()
    arrays = sorted(store.glob("stages/*/*/arrays.npz"))
    for path in arrays:
        os.truncate(path, path.stat().st_size - 7)
    for path in sorted(store.glob("stages/decide/*/complete.json")):
        record = json.loads(path.read_text())
        record["files"]["arrays.npz"] = "0" * 64
        path.write_text(json.dumps(record))
    again = run_experiment(config, tmp_path / "run")
    assert rounds(again.metrics) == rounds(whole) and (run.directory / "scores.parquet").read_bytes() == before


def largest(features: Path) -> list[Path]:
    """Two whole shards of a feature set."""
    return sorted(features.glob("*.parquet"), key=lambda p: (-p.stat().st_size, p.name))[:2]


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 0x10
    path.write_bytes(data)


def test_a_disk_that_damages_whatever_it_keeps_is_told(
    tiny: Tiny, whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch, command: Command, tmp_path: Path
) -> None:
    """A shard that is damaged again after it was extracted again is no accident: no endless repair."""

    def damaged(*arguments: Any) -> None:
        raise DamagedShard("/store/features/x/y.parquet", "page checksum")

    monkeypatch.setattr("swag_ray.experiment.pipeline.prepare", damaged)
    path = config_file(tiny(), tmp_path / "config.yaml")
    said = command("run", path, "--quiet", "--out", tmp_path / "run").complaint
    assert said == (
        "store: feature shard '/store/features/x/y.parquet' is damaged (page checksum); delete that file and run again"
    )


def test_a_store_that_is_pruned_during_a_run_ends_no_run(
    tiny: Tiny, whole: dict[str, Any], session_store: Path, tmp_path: Path
) -> None:
    """Whatever is asked to go after every row: what the run has used stays, what it never needed goes."""
    store = tmp_path / "store"
    for part in ("features", "stages/index"):
        shutil.copytree(session_store / part, store / part)
    (store / "datasets").symlink_to(session_store / "datasets")
    for path in [*store.glob("features/*/*"), *store.glob("stages/*/*/*")]:
        os.utime(path, (1, 1))
    stray = store / "features" / "of-another-backbone" / "a.parquet"
    stray.parent.mkdir()
    stray.write_bytes(b"")
    os.utime(stray, (1, 1))
    gone: list[int] = []

    def prune_all(row: dict[str, Any]) -> None:
        gone.append(prune(Store(store), days=0, features=True, remove=True)["entries"])

    run = run_experiment(tiny(store=store), tmp_path / "run", on_round=prune_all)
    assert figures(run.metrics) == figures(whole)
    assert gone[0] >= 1 and not stray.exists() and not any(gone[1:])
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["extracted"] == 0


def test_the_results_are_there_when_the_report_fails(
    tiny: Tiny, whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(folder: Path) -> None:
        raise MemoryError

    monkeypatch.setattr("swag_ray.report.run.page.write_report", fail)
    with pytest.raises(MemoryError):
        run_experiment(tiny(), tmp_path / "run")
    assert figures(json.loads((tmp_path / "run" / "metrics.json").read_text())) == figures(whole)


@pytest.mark.cluster
def test_two_runs_on_one_store_at_the_same_time(
    tiny: Tiny, whole: dict[str, Any], local_ray: None, tmp_path: Path
) -> None:
    """From an empty store: both draw the images, extract the features, fit; they may only help each other."""
    done: dict[str, Run] = {}

    def start(name: str) -> None:
        done[name] = run_experiment(tiny(store=tmp_path / "store", **SHORT), tmp_path / name)

    threads = [threading.Thread(target=start, args=(name,), daemon=True) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(150)
    assert done.keys() == {"a", "b"}, "one of them did not end, or failed"
    assert rounds(done["a"].metrics) == rounds(done["b"].metrics) == rounds(whole)
    assert not list((tmp_path / "store" / "tmp").iterdir())


def square(reader: Any, task: int) -> int:
    return task * task


def test_two_runs_on_one_cluster_do_not_wait_for_each_other(local_ray: None, tmp_path: Path) -> None:
    """Each may get one of the two cores; neither may leave tasks with an actor that waits for the other's core."""

    def actors(count: int) -> SamplePool:
        return SamplePool(Session(2, 0, count), str(tmp_path), "f", [])

    runs = [actors(1), actors(1)]
    for run, more in zip(runs, [actors(1), actors(1)], strict=True):  # no core is left for these
        run.actors += more.actors
        run._starting |= more._starting
    done: list[list[int]] = []

    def work(run: SamplePool) -> None:
        with run:
            done.append(run.map(square, range(6)))

    threads = [threading.Thread(target=work, args=(run,), daemon=True) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert done == [[task * task for task in range(6)]] * 2
