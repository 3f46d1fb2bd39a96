"""A bundle from anywhere: it asks no network, what is wrong in it is one line, and elsewhere it scores alike."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load, save

from swag_ray.detector.bundle import digest_of, load_backbone, load_detector
from swag_ray.errors import InputError
from tests.support.command_line import Command

pytestmark = pytest.mark.ray
Record = dict[str, Any]
NEEDLESS = {"sympy", "ray", "scipy.stats", "sklearn", "matplotlib"}


def edited(bundle: Path, change: Callable[[Record], Any]) -> None:
    """Changes what detector.json says; what `change` returns takes its place."""
    record = json.loads((bundle / "detector.json").read_text())
    (bundle / "detector.json").write_text(json.dumps(change(record) or record))


def replaced(bundle: Path, name: str, data: bytes) -> None:
    """Puts other content for a file, of which the checksum says that it is the right one."""
    (bundle / name).write_bytes(data)
    edited(bundle, lambda record: record["sha256"].update({name: hashlib.sha256(data).hexdigest()}))


def with_arrays(bundle: Path, name: str, change: Callable[[dict[str, Any]], Any]) -> None:
    with np.load(bundle / name) as loaded:
        arrays = {key: loaded[key] for key in loaded.files}
    change(arrays)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    replaced(bundle, name, buffer.getvalue())


def told(bundle: Path) -> str:
    """The line that using it ends with."""
    with pytest.raises(InputError) as refused:
        digest_of(bundle)
        load_backbone(bundle, load_detector(bundle).spec)
    line = str(refused.value)
    assert line.startswith("detector: ") and "\n" not in line
    return line


def headed(shape: str) -> bytes:
    """An .npz whose one array says that it has this shape, and holds nothing of it."""
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("seed_s.npy", b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode())
    return buffer.getvalue()


def bomb() -> bytes:
    """A zip of nothing but zeros, half a gigabyte of them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("seed_s.npy", bytes(2**29 + 1))
    return buffer.getvalue()


WORDS: dict[str, Callable[[Record], Any]] = {
    "a list": lambda r: [1],
    "another tool's": lambda r: {"model": "resnet", "version": 2},
    "a word for a format": lambda r: r.update(format="3"),
    "no checksums": lambda r: r.pop("sha256"),
    "checksums of nothing": lambda r: r.update(sha256=[1]),
    "a way out": lambda r: r.update(sha256={"../arrays.npz": "0", "/etc/passwd": "0"}),
    "no spec": lambda r: r.pop("spec"),
    "no arms": lambda r: r.pop("arms"),
    "arms of words": lambda r: r.update(arms=["bank"]),
    "an unknown arm": lambda r: r.update(arms=[{"name": "../x", "weight": 1.0, "location": 0.0, "sd": 1.0}]),
    "a rate of 2": lambda r: r.update(rate=2),
    "a rate in words": lambda r: r.update(rate="0.05"),
    "a rate of nothing": lambda r: r.update(rate=float("nan")),
    "an unknown score": lambda r: r.update(score_used="best"),
    "a grid below 0": lambda r: r["spec"].update(grid=-8),
    "a grid of millions": lambda r: r["spec"].update(grid=10**7),
    "an image of terabytes": lambda r: r["spec"].update(image_size=10**6),
    "a size in words": lambda r: r["spec"].update(image_size="64"),
    "strides of words": lambda r: r["spec"].update(strides=["8"]),
    "no strides": lambda r: r["spec"].update(strides=[]),
    "strides that are not there": lambda r: r["spec"].update(strides=[8, 17]),
    "an unknown field": lambda r: r["spec"].update(code="import os"),
    "a backbone of None": lambda r: r["spec"].update(backbone=None),
    "no neighbours": lambda r: r["bank"].update(neighbours=0),
    "more neighbours than rows": lambda r: r["bank"].update(neighbours=10**9),
    "a fraction above 1": lambda r: r["bank"].update(top_fraction=7.0),
    "a bank of nothing": lambda r: r.update(bank=None),
}
ARRAYS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "objects": lambda a: a.update(seed_s=np.array([{"a": 1}], dtype=object)),
    "no folds": lambda a: a.update(seed_fold=a["seed_fold"][:0]),
    "millions of folds": lambda a: a.update(seed_fold=a["seed_fold"].astype(np.int64) + 10**9),
    "folds below 0": lambda a: a.update(seed_fold=a["seed_fold"] - np.int8(100)),
    "fewer seeds than folds": lambda a: a.update(seed_s=a["seed_s"][:-1]),
    "NaN among the seeds": lambda a: a["seed_s"].__setitem__(0, np.nan),
    "NaN in a bank": lambda a: a["fold0.model.raw.8"].__setitem__(0, np.nan),
    "a bank of one channel less": lambda a: a.update({"fold1.model.raw.8": a["fold1.model.raw.8"][:, :-1]}),
    "a bank without rows": lambda a: a.update({"fold0.model.raw.8": a["fold0.model.raw.8"][:0]}),
    "words for a bank": lambda a: a.update({"fold0.model.raw.8": np.array(["x"])}),
    "a name without a fold": lambda a: a.update({"foldx.y": np.zeros(1)}),
    "no mean": lambda a: a.pop("fold0.model.mean.8"),
    "a domain without a part": lambda a: a.pop("domain.view_D"),
    "a look of another size": lambda a: a.update(typical=np.zeros(3, np.float32)),
}
TRUSTED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "NaN": lambda a: a["embedding"].__setitem__(0, np.nan),
    "objects": lambda a: a.update(id=np.array([{"a": 1}], dtype=object)),
    "a grid of its own": lambda a: a.update(grid=np.array(0)),
    "strides that nobody has": lambda a: a.update(strides=np.array([3])),
}


@pytest.mark.parametrize("case", WORDS)
def test_whatever_detector_json_says_is_a_bundle_or_one_line(bundle: Path, case: str) -> None:
    edited(bundle, WORDS[case])
    told(bundle)


@pytest.mark.parametrize("case", ARRAYS)
def test_whatever_the_arrays_are_is_a_bundle_or_one_line(bundle: Path, case: str) -> None:
    with_arrays(bundle, "arrays.npz", ARRAYS[case])
    assert "is damaged or missing" in told(bundle)


@pytest.mark.parametrize("case", TRUSTED)
def test_whatever_the_trusted_images_are_is_a_bundle_or_one_line(bundle: Path, case: str) -> None:
    with_arrays(bundle, "trusted.npz", TRUSTED[case])
    assert "is damaged or missing" in told(bundle)


def test_arrays_that_claim_more_than_there_is_take_no_memory(bundle: Path) -> None:
    for data in (
        headed("(1000000000000,)"),
        headed("(-1,)"),
        headed("(1e9,)"),
        headed("(" * 500),
        bomb(),
        b"PK\x03\x04",
    ):
        replaced(bundle, "arrays.npz", data)
        assert "arrays.npz' is damaged" in told(bundle)


def test_weights_that_are_none(bundle: Path) -> None:
    whole = (bundle / "backbone.safetensors").read_bytes()
    weights = load(whole)
    first = min(name for name, tensor in weights.items() if tensor.ndim == 4)  # their order is drawn anew
    broken = {
        "NaN": save(weights | {first: np.full_like(weights[first], np.nan)}),
        "another shape": save(weights | {first: weights[first][:1]}),
        "one missing": save({name: tensor for name, tensor in weights.items() if name != first}),
        "a header beyond the file": (2**62).to_bytes(8, "little") + whole[8:],
        "a pickle": b"\x80\x04cos\nsystem\n(S'true'\ntR.",
    }
    for case, data in broken.items():
        replaced(bundle, "backbone.safetensors", data)
        assert "backbone.safetensors' " in told(bundle), case


def test_what_is_no_bundle_is_named(command: Command, bundle: Path, tests: Path, tmp_path: Path) -> None:
    out, foreign = tmp_path / "s.csv", tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "model.onnx").write_bytes(b"x")
    (tmp_path / "bundle.zip").write_bytes(headed("(1,)"))
    for place in (foreign, tmp_path / "bundle.zip", tmp_path / "nowhere"):
        complaint = command("score", place, tests, "--out", out).complaint
        assert complaint.startswith(f"detector: '{place}' holds no detector.json") and "give a run" in complaint
    for text in ('{"model": "resnet"}', "[" * 100_000, "\x00"):
        (bundle / "detector.json").write_text(text)
        assert command("score", bundle, tests, "--out", out).complaint.startswith("detector: ")
    assert not out.exists()


ALONE = """
import json, sys
def refuse(event, arguments):
    if event.startswith("socket.") and event != "socket.__new__":
        raise SystemExit(f"{event} {arguments}")
sys.addaudithook(refuse)
from swag_ray.cli.commands import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
loaded = {name.partition(".")[0] for name in sys.modules} | {"torch._dynamo"} & sys.modules.keys()
print(json.dumps(sorted(loaded)))
"""


def test_scoring_asks_no_network_and_imports_nothing_in_vain(
    bundle: Path, finished: Path, tests: Path, tmp_path: Path
) -> None:
    """A process of its own, with every socket closed: a bundle of weights that came from a hub needs none either."""
    edited(bundle, lambda record: record["spec"].update(weights="hub", weights_digest="hub:timm/x:in1k"))
    out = tmp_path / "scores.csv"
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hub"), "TORCH_HOME": str(tmp_path)}
    command = [sys.executable, "-c", ALONE, "score", str(bundle), str(tests), "--out", str(out), "--quiet"]
    done = subprocess.run(command, env=os.environ | nowhere, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)) & (NEEDLESS | {"torch._dynamo"}) == set()
    wanted = {Path(r["path"]).name: r for r in pq.read_table(finished / "scores.parquet").to_pylist()}
    rows = list(csv.DictReader(out.open()))
    assert len(rows) == len(wanted) == 48
    for row in rows:
        expected = wanted[Path(row["path"]).name]
        assert (float(row["score"]), float(row["p"])) == (expected["incremental"], expected["p"]), "bit for bit"


ELSEWHERE = """
import sys
from pathlib import Path
import numpy as np, torch
from swag_ray.detector.bundle import load_backbone, load_detector
from swag_ray.features.extract import extract
bundle, images, out, threads, chunk = sys.argv[1:]
torch.set_num_threads(int(threads))
detector = load_detector(Path(bundle))
backbone, spec = load_backbone(Path(bundle), detector.spec), detector.spec
paths, scores = sorted(Path(images).rglob("*.*")), []
for start in range(0, len(paths), int(chunk)):
    part = [path.read_bytes() for path in paths[start : start + int(chunk)]]
    rows = list(extract(backbone, part, spec.image_size, spec.reading))
    scores.append(detector.scores({s: np.stack([row["features"][s] for row in rows]) for s in spec.strides}))
score_nK = np.concatenate(scores)
np.savez(out, score=score_nK.mean(axis=1), p=detector.p_values(score_nK))
"""
# Processors that are not here, as each library lets itself be told of one.
OTHER_KERNELS = {
    "ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "OPENBLAS_CORETYPE": "Nehalem",
    "FAISS_OPT_LEVEL": "generic",
}  # fmt: skip


def test_scores_agree_on_other_kernels_threads_and_batches(bundle: Path, tests: Path, tmp_path: Path) -> None:
    """Within a thousandth of the seeds' sd, and p within one step."""
    found = {}
    for name, threads, chunk, kernels in (
        ("here", 1, 64, {}), ("two threads, one by one", 2, 1, {}), ("other kernels", 2, 1, OTHER_KERNELS)
    ):  # fmt: skip
        out = tmp_path / f"{name}.npz"
        command = [sys.executable, "-c", ELSEWHERE, *map(str, (bundle, tests, out, threads, chunk))]
        own = {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)} | kernels
        done = subprocess.run(command, env=os.environ | own, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        with np.load(out) as arrays:
            found[name] = {key: arrays[key] for key in arrays.files}
    seed_s = load_detector(bundle).seed_s
    here = found.pop("here")
    for name, there in found.items():
        assert len(there["score"]) == 48
        assert np.abs(there["score"] - here["score"]).max() <= 1e-3 * seed_s.std(), name
        assert np.abs(there["p"] - here["p"]).max() <= 1 / (len(seed_s) + 1) + 1e-12, name
    if torch.backends.cpu.get_cpu_capability() == "DEFAULT":
        pytest.skip("threads and batches agree; this processor has no other kernels")
    same = np.array_equal(found["other kernels"]["score"], found["two threads, one by one"]["score"])
    assert not same, "the kernels are the same"
