"""Everything that can be wrong with what a user gives: one line that names it, exit code 2, and nothing left behind.

InProcessWorkers is what is refused before Ray starts. What only shows on the way is in tests/whole/test_failures.py.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from swag_ray.config import Config, load_config, to_yaml
from swag_ray.errors import InputError, StorageError
from swag_ray.experiment.source import check_source
from swag_ray.features.backbone import build_backbone
from swag_ray.features.weights import weights_file
from swag_ray.progress import Progress
from swag_ray.record.directory import claim
from swag_ray.record.files import LOCK_FILE
from tests.support.command_line import Command
from tests.support.images import small_set
from tests.support.small_disk import SmallDisk

Tiny = Callable[..., Config]
Refused = Callable[..., str]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train|test/NORMAL|PNEUMONIA: 24 normals and 6 anomalies each, never decoded here."""
    return small_set(tmp_path_factory.mktemp("images"), normals=24, anomalies=6)


@pytest.fixture
def folder(tiny: Tiny, images: Path, tmp_path: Path) -> Path:
    """A config of those images that would run."""
    config = tiny(
        dataset={"kind": "folder", "root": str(images), "anomaly": "PNEUMONIA"}, store=tmp_path / "store", name="folder"
    )
    path = tmp_path / "folder.yaml"
    path.write_text(to_yaml(config))
    return path


@pytest.fixture
def refused(command: Command, no_ray: None, folder: Path, tmp_path: Path) -> Refused:
    """The one line of `swag-ray run`; afterwards neither run directory, nor stage, nor feature exists."""

    def run(*overrides: str, config: Path = folder, out: Path = tmp_path / "run", untouched: bool = True) -> str:
        arguments = [part for override in overrides for part in ("--set", override)]
        complaint = command("run", config, "--quiet", "--out", out, *arguments).complaint
        assert not (untouched and out.exists()), "the run directory was claimed"
        left = [p for kind in ("stages", "features", "tmp") for p in (tmp_path / "store" / kind).rglob("*.*")]
        assert not left, f"left behind: {left}"
        return complaint

    return run


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["gate.budget=-1"], r"folder\.yaml: gate\.budget: -1 must be at least 0$"),
        (["gate.budgt=5"], r"gate\.budgt: unknown key; did you mean gate\.budget\?$"),
        (["rounds=many"], r"rounds: 'many' must be a whole number$"),
        (["dataset.root=no/such"], r"dataset\.root: /.*/no/such does not exist; give the folder that holds train/ and"),
        (["dataset.normal=HEALTHY"], r"no class folder HEALTHY \(dataset\.normal\); it has: NORMAL, PNEUMONIA$"),
        (["dataset.anomaly=FLU"], r"dataset\.anomaly: no class folder FLU in .*; train has: NORMAL, PNEUMONIA$"),
        (["split.seed_fraction=.99"], r"split\.seed_fraction: 0\.99 of 24 train normals leaves the pool no normal"),
        (["split.folds=20"], r"split\.folds: 12 seeds .* leave 0 to the smallest fold, under 3; raise split\.seed_f"),
        (["dataset.contamination=.9"], r"dataset\.contamination: 0\.9 is above the highest possible share, 0\.\d+ "),
        # 8 seeds outside the largest fold, 64 patches each, a tenth of them kept.
        (["score.neighbours=52"], r"score\.neighbours: 52 is more than the smallest memory bank's rows, 51 .*; set it"),
        (["store=gs://bucket/x"], r"store: .* must be a path or s3://BUCKET/PREFIX$"),
        (["backbone.name=efficientnet_lite9"], r"backbone\.name: timm knows no model 'efficientnet_lite9'"),
        (["backbone.weights=no.pth"], r"backbone\.weights: no file at '/.*/no\.pth' \(use `bundled`, `hub` or a path"),
        (["backbone.name=resnet18"], r"backbone\.weights: no bundled weights for 'resnet18' \(bundled: tf_efficient"),
        (["backbone.strides=[8, 16, 64]"], r"backbone\.strides: tf_efficientnet_lite0 offers \[2, 4, 8, 16, 32\], not"),
    ],
)  # fmt: skip
def test_a_config_that_cannot_run(refused: Refused, overrides: list[str], said: str) -> None:
    complaint = refused(*overrides)
    assert re.search(said, complaint), complaint


def test_the_largest_number_of_neighbours_is_accepted(tiny: Tiny, images: Path, tmp_path: Path) -> None:
    """The limit that the line names is the limit."""
    data = {"kind": "folder", "root": str(images), "anomaly": "PNEUMONIA"}
    assert (
        check_source(tiny("score.neighbours=51", dataset=data, store=tmp_path), Progress()).listing.table.num_rows == 60
    )


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("train/NORMAL/*", r"dataset\.root: .*/train/NORMAL holds no image; put \.jpeg, \.jpg, .*\.ima files into it"),
        ("train/PNEUMONIA/*", r"dataset\.root: .*/train/PNEUMONIA holds no image"),
        ("test/NORMAL/*", r"dataset\.root: .*/test/NORMAL holds no image"),
        ("test/PNEUMONIA", r"dataset\.root: .*/test has one class only, no folder PNEUMONIA; an AUROC needs test anom"),
        ("test/NORMAL", r"dataset\.root: .*/test has one class only, no folder NORMAL; an AUROC needs test normals"),
        ("train/NORMAL", r"dataset\.root: .*/train has no class folder NORMAL \(dataset\.normal\); it has: PNEUMONIA"),
        ("test", r"dataset\.root: .* has train/ but no test/; evaluation needs test/CLASS folders"),
        ("t*", r"dataset\.root: .* holds no train/ folder; expected train/CLASS and test/CLASS below it"),
    ],
)
def test_a_class_without_images(refused: Refused, images: Path, tmp_path: Path, missing: str, said: str) -> None:
    root = shutil.copytree(images, tmp_path / "less")
    for path in root.glob(missing):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert re.search(said, complaint := refused(f"dataset.root={root}")), complaint


def test_a_file_name_of_another_encoding(refused: Refused, images: Path, tmp_path: Path) -> None:
    root = shutil.copytree(images, tmp_path / "named")
    try:
        (root / "train/NORMAL" / os.fsdecode(b"caf\xe9.jpeg")).write_bytes(b"")
    except OSError:
        pytest.skip("this disk takes names in UTF-8 only")
    said = refused(f"dataset.root={root}")
    assert re.search(r"^dataset\.root: the file name '.*caf\\udce9\.jpeg' is not UTF-8; rename the file$", said), said


def test_what_is_not_a_config(command: Command, refused: Refused, tmp_path: Path) -> None:
    assert refused(config=tmp_path) == f"{tmp_path}: cannot read the config: Is a directory"
    assert "cannot read the config: No such file" in refused(config=tmp_path / "none.yaml")
    (tmp_path / "bytes.yaml").write_bytes(bytes(range(256)))
    assert "is not a text file in UTF-8" in refused(config=tmp_path / "bytes.yaml")
    (tmp_path / "list.yaml").write_text("- a\n- b\n")
    assert "must hold keys and values" in refused(config=tmp_path / "list.yaml")
    assert "not valid YAML: line 3" in command("run", broken(tmp_path)).complaint


def broken(folder: Path) -> Path:
    (folder / "broken.yaml").write_text("name: x\ngate: {budget: 3\n")
    return folder / "broken.yaml"


def test_resume_of_nothing_and_of_too_much(command: Command, no_ray: None, folder: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert command("run", "--resume", empty).complaint == f"--resume: '{empty}' holds no run (no config.yaml)"
    assert "holds no run" in command("run", "--resume", tmp_path / "none").complaint
    assert command("run", folder, "--resume", empty).complaint == "run: give either a CONFIG or --resume DIR"
    assert command("run").complaint == "run: give either a CONFIG or --resume DIR"
    shutil.copy(folder, empty / "config.yaml")
    assert "leave --out away" in command("run", "--resume", empty, "--out", tmp_path / "x").complaint
    assert os.listdir(empty) == ["config.yaml"] and not (tmp_path / "x").exists()


def test_an_output_folder_that_holds_something_else(refused: Refused, folder: Path, tmp_path: Path) -> None:
    held = tmp_path / "held"
    held.mkdir()
    (held / "thesis.tex").write_text("years of work")
    said = refused(out=held, untouched=False)
    assert said == f"--out: '{held}' holds something else ('thesis.tex'); choose an empty or new folder"
    assert [(p.name, p.read_text()) for p in held.iterdir()] == [("thesis.tex", "years of work")]
    other = tmp_path / "other"
    other.mkdir()
    text = folder.read_text().replace("budget: 12", "budget: 99")
    (other / "config.yaml").write_text(text)
    (other / "metrics.json").write_text("{}")
    said = refused(out=other, untouched=False)
    assert said.endswith(
        "holds a run of another config (gate.budget is 99 there, 12 here); choose another folder, or replace that run "
        "with --overwrite"
    )
    said = refused("dataset.anomaly=FLU", out=other, untouched=False)
    assert said.startswith("dataset.anomaly: "), "faults of the dataset come first"
    assert (other / "config.yaml").read_text() == text and (other / "metrics.json").read_text() == "{}"
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        assert re.search(
            r"^--out: cannot write to '.*' \(.*\); mend that, or choose", refused(out=out, untouched=False)
        )


def test_an_output_folder_and_a_store_that_are_read_only(
    refused: Refused, folder: Path, small_disk: SmallDisk, tmp_path: Path
) -> None:
    disk = small_disk("64k")
    disk.remount("ro")
    assert re.search(r"^--out: cannot write to '.*/run' \('.*' is read-only\); ", refused(out=disk.path / "run"))
    said = refused(f"store={disk.path / 'store'}")
    assert re.search(r"^store: cannot write to '.*/store' \(.*ead-only.*\); gain access there or set an", said), said


def test_a_folder_in_which_another_run_is_at_work(
    refused: Refused, command: Command, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with claim(out, "config.yaml", to_yaml(load_config(folder))):
        said = refused(untouched=False)
        assert said == f"--out: a run is at work in '{out}'; wait for it or choose another folder"
        assert sorted(os.listdir(out)) == [LOCK_FILE, "config.yaml"]


def test_a_bad_input_that_shows_late_leaves_no_claim(tiny: Tiny, tmp_path: Path) -> None:
    """Whoever mends the config would else be told that the folder holds a run of another one."""
    config = "config.yaml", to_yaml(tiny())
    with pytest.raises(InputError, match="mend it"), claim(tmp_path / "a" / "run", *config):
        raise InputError("dataset: mend it")
    assert os.listdir(tmp_path / "a") == []
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError), claim(tmp_path / "mine", *config):
        raise InputError("dataset: mend it")
    assert os.listdir(tmp_path / "mine") == []
    # A full disk and Ctrl-C are no fault of the config: the claim stays, for --resume.
    for error in (StorageError("store: full"), KeyboardInterrupt()):
        with pytest.raises(type(error)), claim(tmp_path / "kept", *config):
            raise error
    assert os.listdir(tmp_path / "kept") == ["config.yaml"]
    with pytest.raises(InputError), claim(tmp_path / "kept", *config):
        raise InputError("an older claim is not taken away")
    assert os.listdir(tmp_path / "kept") == ["config.yaml"]


@pytest.mark.parametrize("kind", ["noise", "text", "empty", "cut", "list", "other model", "safetensors"])
def test_weights_that_are_none(refused: Refused, tmp_path: Path, kind: str) -> None:
    """timm leaves what it does not find as it was drawn, and says nothing: random weights must never run."""
    path = tmp_path / f"{kind}.{'safetensors' if kind == 'safetensors' else 'pth'}"
    whole = weights_file("tf_efficientnet_lite0", "bundled").read_bytes()
    if kind in ("list", "other model"):
        torch.save({"conv.weight": torch.ones(3)} if kind == "other model" else [1, 2], path)
    else:
        content = {"text": b"weights\n" * 99, "empty": b"", "cut": whole[: len(whole) // 2]}
        path.write_bytes(content.get(kind, os.urandom(4000)))
    said = refused(f"backbone.weights={path}")
    why = {"list": "holds no state dict; save", "other model": r"does not fit tf_efficientnet_lite0: \d+ of its \d+ "}
    assert re.search(rf"^backbone\.weights: '{path}' {why.get(kind, 'is no readable file of weights; give a ')}", said)


def test_weights_by_path_are_the_weights(tmp_path: Path) -> None:
    """The package's own file, given by its path, under the names of its author or of timm."""
    name, strides = "tf_efficientnet_lite0", (8, 16)
    bundled = build_backbone(name, "bundled", strides, 8).state_dict()
    path = weights_file(name, "bundled")
    torch.save(timm_state(name, path), tmp_path / "timm.pth")
    for weights in (path, tmp_path / "timm.pth"):
        given = build_backbone(name, str(weights), strides, 8).state_dict()
        assert all(torch.equal(value, given[key]) for key, value in bundled.items())


def timm_state(name: str, path: Path) -> dict[str, torch.Tensor]:
    import timm

    return dict(zip(timm.create_model(name).state_dict(), torch.load(path, weights_only=True).values(), strict=True))


@pytest.mark.parametrize("network", ["refuses", "looks names up for ever"])
def test_the_hub_without_a_network(refused: Refused, monkeypatch: pytest.MonkeyPatch, network: str) -> None:
    for variable in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
    if network == "refuses":
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"https://127.0.0.1:{free_port()}")
        host = r"127\.0\.0\.1"
    else:
        monkeypatch.setattr("swag_ray.features.weights.urlopen", lambda *a, **k: time.sleep(20))
        host = r"huggingface\.co"
    started = time.monotonic()
    said = refused("backbone.name=resnet18", "backbone.weights=hub")
    assert time.monotonic() - started < 6, "the hub's own retries take most of a minute"
    assert re.search(
        rf"^backbone\.weights: the hub \({host}\) cannot be reached for 'resnet18'; either connect to the network, or "
        r"set backbone\.weights to a downloaded file, or use a bundled backbone \(tf_efficientnet_lite0, ",
        said,
    ), said


@pytest.mark.parametrize("there", ["nobody", "a web server", "silence"])
def test_an_address_at_which_no_ray_answers(
    command: Command, no_ray: None, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, there: str
) -> None:
    """Ray itself goes on trying for more than six minutes."""
    monkeypatch.setattr("swag_ray.cluster.address.SECONDS", 1.0)
    answer = {"nobody": None, "a web server": b"HTTP/1.1 400 Bad Request\r\n\r\n", "silence": b""}[there]
    with listening(answer) as port:
        started = time.monotonic()
        said = command("run", folder, "--quiet", "--out", tmp_path / "run", "--address", f"127.0.0.1:{port}").complaint
    assert time.monotonic() - started < 6
    assert said.startswith(f"--address: no Ray cluster could be joined at '127.0.0.1:{port}' (")
    assert "start one with `ray start --head`" in said and not (tmp_path / "run").exists()


@pytest.mark.parametrize("address", ["cluster", "ray://host:10001", "host:", "host:99999", "local", ""])
def test_what_is_not_an_address(command: Command, no_ray: None, folder: Path, tmp_path: Path, address: str) -> None:
    said = command("run", folder, "--quiet", "--out", tmp_path / "run", "--address", address).complaint
    assert said == f"--address: '{address}' is no address of a Ray cluster; give `auto` or HOST:PORT"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def listening(answer: bytes | None) -> Iterator[int]:
    """A port at which somebody answers so (b"": never), or nobody (None)."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = int(server.getsockname()[1])
        if answer is None:
            server.close()
            yield port
            return

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(100)
                connection.sendall(answer) if answer else connection.recv(100)

        threading.Thread(target=serve, daemon=True).start()
        yield port
