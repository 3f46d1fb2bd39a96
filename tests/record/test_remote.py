"""Run directories on s3://, against a real S3 server on loopback."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from swag_ray.config import Config, load_config, to_yaml
from swag_ray.errors import InputError
from swag_ray.record.remote import local_copy, run_folder
from swag_ray.run.run import run_experiment
from tests.support.command_line import Command, figures
from tests.support.s3 import Bucket
from tests.support.s3_server import Server
from tests.whole.test_resume import Driver

SHORT: dict[str, Any] = {"rounds": 1, "controls": []}


@pytest.fixture
def config(tiny: Callable[..., Config]) -> Config:
    return tiny()


def work(address: str, config: Config, files: dict[str, str], before_sending: Callable[[], None] | None = None) -> None:
    """What a run does to its directory."""
    with run_folder(address, config) as folder:
        with folder.claimed():
            (folder.path / "config.yaml").write_text(to_yaml(config))
            for name, text in files.items():
                (folder.path / name).parent.mkdir(exist_ok=True)
                (folder.path / name).write_text(text)
            if before_sending is not None:
                before_sending()
            folder.send_results()
        (folder.path / "report.html").write_text("<html>")
        folder.send_report()


WHOLE = {"metrics.json": "{}", "detector/arrays.npz": "a", "plots/roc.svg": "<svg/>"}


def test_a_run_is_sent_with_its_figures_last(bucket: Bucket, server: Server, config: Config) -> None:
    address = bucket.address("runs/one")
    work(address, config, WHOLE)
    written = [path.removeprefix(f"/{bucket.name}/runs/one/") for path in server.written("runs/one")]
    results = written[: written.index("metrics.json") + 1]
    assert results[0] == "config.yaml" and set(results) == {"config.yaml", *WHOLE}
    assert "report.html" in written[len(results) :], "the results are safe before the report is drawn"
    work(address, config, {"metrics.json": "{}", "plots/pr.svg": "<svg/>"})
    assert "runs/one/plots/roc.svg" not in bucket.objects() and "runs/one/report.html" in bucket.objects()
    with local_copy(address, "report", "metrics.json", "plots/") as folder:
        assert sorted(p.name for p in folder.rglob("*") if p.is_file()) == ["metrics.json", "pr.svg"]


@pytest.mark.parametrize("name", ["plots/../../../climbed", "plots/../config.yaml", "detector/../../x"])
def test_a_name_that_leads_out_of_the_folder_is_refused(bucket: Bucket, name: str, tmp_path: Path) -> None:
    bucket.put("runs/one/metrics.json", b"{}")
    bucket.put(f"runs/one/{name}", b"theirs")
    refused = pytest.raises(InputError, match=r"^report: 's3://.*' holds an object whose name leads out of it \('")
    with refused, local_copy(bucket.address("runs/one"), "report", "metrics.json", "plots/", "detector/"):
        raise AssertionError("copied")
    assert not list(tmp_path.rglob("climbed"))


def test_a_run_that_breaks_off_keeps_its_claim_and_is_not_complete(bucket: Bucket, config: Config) -> None:
    address = bucket.address("runs/one")
    work(address, config, WHOLE)
    with pytest.raises(KeyboardInterrupt), run_folder(address, config) as folder, folder.claimed():
        raise KeyboardInterrupt
    assert "runs/one/config.yaml" in bucket.objects()
    two = bucket.address("runs/two")
    with pytest.raises(InputError, match="two"), run_folder(two, config) as folder, folder.claimed():
        assert bucket.objects("runs/two/") == ["runs/two/config.yaml"]
        raise InputError(f"gate: no, says '{folder.path}'")
    assert bucket.objects("runs/two/") == [], "a bad input leaves no claim behind"


def test_one_process_at_a_time_works_here(bucket: Bucket, config: Config) -> None:
    with (
        run_folder(bucket.address("runs/one"), config),
        pytest.raises(InputError, match="a run is at work in 's3://"),
        run_folder(bucket.address("runs/one"), config),
    ):
        pass


def test_what_is_not_a_run_of_this_config_is_left_alone(
    bucket: Bucket, server: Server, config: Config, command: Command, tmp_path: Path, no_ray: None
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config))
    bucket.put("foreign/thesis.docx", b"years of work")
    bucket.put("other/config.yaml", to_yaml(config.model_copy(update={"random_seed": 7})).encode())
    server.asked.clear()
    complaint = command("run", path, "--out", bucket.address("foreign")).complaint
    assert "holds something else ('thesis.docx')" in complaint
    complaint = command("run", path, "--out", bucket.address("other")).complaint
    assert f"'{bucket.address('other')}' holds a run of another config (random_seed is 7 there" in complaint
    assert not list((tmp_path / "home/.cache/swag-ray/runs").glob("*"))
    assert "holds no run" in command("run", "--resume", bucket.address("nothing")).complaint
    said = command("report", bucket.address("nothing")).complaint
    assert re.search(r"holds no run \(none of [\w./-]+, [\w./-]+, [\w./-]+ and \d+ more\)", said), said
    assert "no such bucket" in command("run", path, "--out", "s3://bucket-of-nobody/run").complaint
    assert "no such bucket" in command("run", path, "--set", "store=s3://bucket-of-nobody/store").complaint
    assert "is not a path or an s3://" in command("run", path, "--out", "gs://bucket/run").complaint
    assert {method for method, _ in server.asked} <= {"GET", "HEAD"}


def test_the_run_before_comes_along_to_be_compared_with(bucket: Bucket, config: Config) -> None:
    address = bucket.address("runs/one")
    work(address, config, WHOLE | {"pool.csv": "ranked", "changes.csv": "names"})
    with run_folder(address, config) as folder:
        assert (folder.path / "pool.csv").read_text() == "ranked"
        assert (folder.path / "changes.csv").read_text() == "names"
        (folder.path / "changes.csv").unlink()  # as a run does that has nothing to compare
        folder.send_results()
    assert "runs/one/changes.csv" not in bucket.objects() and "runs/one/pool.csv" in bucket.objects()


def left_here(tmp_path: Path) -> list[Path]:
    """What is left of runs on s3:// in the home of this test."""
    return [p for p in (tmp_path / "home/.cache/swag-ray/runs").rglob("*") if p.is_file()]


def test_no_copy_of_the_x_rays_stays_here(bucket: Bucket, config: Config, tmp_path: Path) -> None:
    work(bucket.address("runs/one"), config, WHOLE | {"plots/overlays.npz": "X-rays"})
    assert "runs/one/plots/overlays.npz" in bucket.objects() and left_here(tmp_path) == []
    with pytest.raises(KeyboardInterrupt), run_folder(bucket.address("runs/two"), config) as folder:
        (folder.path / "overlays.npz").write_text("X-rays")
        raise KeyboardInterrupt
    assert left_here(tmp_path) == []
    killed = tmp_path / "home/.cache/swag-ray/runs/0123" / "run"
    killed.mkdir(parents=True)
    (killed / "overlays.npz").write_text("X-rays")
    work(bucket.address("runs/one"), config, WHOLE)
    assert left_here(tmp_path) == [], "a killed run's copy goes with the next run"


def test_what_another_machine_has_put_there_meanwhile_is_not_overwritten(
    bucket: Bucket, config: Config, tmp_path: Path
) -> None:
    """An address has no lock; of two configs that are sent there at a time, one is refused and neither is lost."""
    address, other = bucket.address("runs/one"), config.model_copy(update={"random_seed": 7})
    theirs = {"config.yaml": to_yaml(other), "metrics.json": '{"theirs": 1}', "detector/arrays.npz": "theirs"}

    def another_machine(files: dict[str, str] = theirs) -> None:
        for name, text in files.items():
            bucket.put(f"runs/one/{name}", text.encode())

    with pytest.raises(
        InputError, match=r"^--out: another run has taken 's3://.*/runs/one' meanwhile \(random_seed is"
    ):
        work(address, config, WHOLE, another_machine)
    assert {name: bucket.read(f"runs/one/{name}").decode() for name in theirs} == theirs
    assert len(bucket.objects("runs/one/")) == len(theirs)
    # The same config from two machines gives the same files: either may be the last.
    work(
        bucket.address("runs/two"), config, WHOLE, lambda: bucket.put("runs/two/config.yaml", to_yaml(config).encode())
    )
    assert "runs/two/metrics.json" in bucket.objects()


def test_a_finished_run_there_stays_until_the_next_is_whole(bucket: Bucket, config: Config) -> None:
    address, longer = bucket.address("runs/one"), config.model_copy(update={"rounds": config.rounds + 1})
    work(address, config, WHOLE)
    before = {key: bucket.read(key) for key in bucket.objects("runs/one/")}
    with pytest.raises(KeyboardInterrupt), run_folder(address, longer) as folder, folder.claimed():
        assert {key: bucket.read(key) for key in bucket.objects("runs/one/")} == before
        raise KeyboardInterrupt
    assert {key: bucket.read(key) for key in bucket.objects("runs/one/")} == before
    work(address, longer, WHOLE)
    assert bucket.read("runs/one/config.yaml").decode() == to_yaml(longer)
    with pytest.raises(InputError, match=r"rounds is 3 there, 2 here\); choose another folder, or replace"):
        work(address, config, WHOLE)


@pytest.fixture
def tiny_run(tiny: Callable[..., Config], bucket: Bucket, tmp_path: Path) -> Path:
    """The config file of a short run whose store is on s3://."""
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(tiny(**SHORT, store=bucket.address("store"))))
    return path


@pytest.mark.ray
@pytest.mark.cluster
def test_a_run_on_s3_is_killed_goes_on_and_ends_as_one_on_a_disk(
    tiny: Callable[..., Config], tiny_run: Path, local_ray: None, bucket: Bucket, server: Server, command: Command,
    tmp_path: Path, request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    address = bucket.address("runs/one")
    Driver(tiny_run, address).kill_when(lambda: bool(server.written("/store/features/")))
    assert bucket.objects("runs/") == ["runs/one/config.yaml"]
    kept = bucket.objects("store/features/")
    server.asked.clear()
    last = Driver(tiny_run, address)
    assert last.process.wait() == 0, last.process.communicate()[1]
    rewritten = {path.removeprefix(f"/{bucket.name}/") for path in server.written("/store/")}
    assert kept and not rewritten & set(kept)
    metrics = json.loads(bucket.read("runs/one/metrics.json"))
    local = run_experiment(tiny(**SHORT), tmp_path / "local")
    assert figures(metrics) == figures(local.metrics)
    names = {p.relative_to(local.directory).as_posix() for p in local.directory.rglob("*") if p.is_file()}
    assert {key.removeprefix("runs/one/") for key in bucket.objects("runs/one/")} == names

    server.asked.clear()
    request.getfixturevalue("no_ray")
    again = run_experiment(load_config(tiny_run), bucket.address("runs/two"))
    assert again.address == bucket.address("runs/two") and again.directory is None
    assert "runs/two/report.html" in bucket.objects() and not left_here(tmp_path)
    noted = [path for path in server.written("/store/features/") if not path.endswith("/used")]
    assert server.written("/store/stages/") == noted == [], "nothing is computed twice"
    assert figures(json.loads(bucket.read("runs/two/metrics.json"))) == figures(again.metrics) == figures(metrics)

    page = bucket.read("runs/one/report.html")
    bucket.client.delete_object(Bucket=bucket.name, Key="runs/one/report.html")
    assert command("report", address).out == f"{address}/report.html\n"
    assert bucket.read("runs/one/report.html") == page
    image = next((tmp_path / "home").rglob("test/*/*.png"))
    scores = []
    for run in (address, f"{address}/detector", local.directory):
        assert command("score", run, image, "--out", tmp_path / "scores.csv", "-q").code == 0
        scores.append((tmp_path / "scores.csv").read_text().splitlines()[1].split(",")[:4])
    assert scores[0] == scores[1] == scores[2]
