"""`load_detector`: in Python the figures of the command, and scikit-learn's conventions."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from swag_ray import load_detector
from swag_ray.errors import InputError
from swag_ray.score.trained import TrainedDetector
from tests.support.command_line import Command

pytestmark = pytest.mark.ray


@pytest.fixture
def detector(bundle: Path) -> TrainedDetector:
    return load_detector(bundle)


def test_the_table_is_that_of_the_command(
    detector: TrainedDetector, command: Command, finished: Path, tests: Path, tmp_path: Path
) -> None:
    out = tmp_path / "scores.json"
    (tmp_path / "broken.png").write_bytes(b"no image")
    assert command("score", finished, tests, tmp_path / "broken.png", "--out", out, "--order", "path").code == 0
    frame = detector.score([tests, tmp_path / "broken.png"]).sort_values("path")
    told = json.loads(out.read_text())
    assert list(frame.columns) == list(told[0])
    for column in ("path", "id", "score", "p", "above_threshold", "status", "detector"):
        wanted = [row[column] for row in told]
        assert [None if value is None or value != value else value for value in frame[column]] == wanted, column
    assert detector.score(tests, rate=0.3)["above_threshold"].sum() > frame["above_threshold"].sum()


def test_an_array_scores_as_the_png_file_of_it(detector: TrainedDetector, tests: Path, tmp_path: Path) -> None:
    paths = sorted((tests / "NORMAL").iterdir())[:4]
    arrays = [np.asarray(Image.open(path).convert("L")) for path in paths]
    for path, array in zip(paths, arrays, strict=True):
        Image.fromarray(array).save(tmp_path / path.name)
    of_files = detector.score_samples([tmp_path / path.name for path in paths])
    assert detector.score_samples(np.stack(arrays)).tolist() == of_files.tolist()
    frame = detector.score(arrays)
    assert frame["path"].tolist() == ["array 0", "array 1", "array 2", "array 3"]
    assert (-frame["score"]).tolist() == of_files.tolist()
    mixed = detector.score([arrays[0], tmp_path, arrays[1]])
    assert [Path(path).name for path in mixed["path"]] == ["array 0", *(path.name for path in paths), "array 2"]
    assert (-mixed["score"]).tolist() == [of_files[0], *of_files, of_files[1]]
    (tmp_path / "list.csv").write_text(f"path\n{paths[0].name}\n")
    with pytest.raises(InputError, match=r"^score: the table '.*list\.csv' is given beside arrays; score it by"):
        detector.score([arrays[0], tmp_path / "list.csv"])
    for wrong in (np.zeros((8, 8, 3), np.uint8), np.zeros((64, 64))):
        with pytest.raises(InputError, match=r"^array: .*; give grey levels \(H, W\) as uint8"):
            detector.score([wrong])


def test_scores_are_signed_as_scikit_learn_has_them(detector: TrainedDetector, tests: Path) -> None:
    normal, abnormal = (sorted(folder.iterdir()) for folder in (tests / "NORMAL", tests / "ANOMALY"))
    samples = detector.score_samples([*normal, *abnormal])
    assert roc_auc_score([1] * len(normal) + [0] * len(abnormal), samples) > 0.6, "lower is more abnormal"
    decided = detector.decision_function([*normal, *abnormal])
    np.testing.assert_array_equal(decided, samples - detector.offset_)
    assert (detector.predict([*normal, *abnormal]) == np.where(decided < 0, -1, 1)).all()
    flagged = detector.score([*normal, *abnormal])["above_threshold"].to_numpy(dtype=bool)
    assert np.mean(flagged == (decided < 0)) > 0.9, "but for folds that disagree"
    with pytest.raises(InputError, match=r"^score_samples: '.*none\.png' has no score \(No such file"):
        detector.score_samples([tests / "none.png"])


def test_a_heatmap_and_the_nearest_trusted_images(detector: TrainedDetector, tests: Path, finished: Path) -> None:
    image = next((tests / "ANOMALY").iterdir())
    heat_GG = detector.heatmap(image)
    assert heat_GG.shape == (8, 8) and np.isfinite(heat_GG).all()
    np.testing.assert_array_equal(detector.heatmap(np.asarray(Image.open(image).convert("L"))), heat_GG)
    near = detector.nearest(image)
    assert len(near) == 3 and [n.distance for n in near] == sorted(n.distance for n in near)
    itself = detector.nearest(near[0].path or "", count=1)[0]
    assert itself.id == near[0].id and itself.distance < 0.05
    with pytest.raises(InputError, match=r"^heatmap: 'none\.png' cannot be read"):
        detector.heatmap("none.png")


def test_threads_share_a_detector(detector: TrainedDetector, tests: Path) -> None:
    paths = sorted((tests / "NORMAL").iterdir())[:8]
    alone = {path: detector.score_samples([path])[0] for path in paths}
    found: dict[Path, float] = {}

    def work(path: Path) -> None:
        found[path] = detector.score_samples([path])[0]

    threads = [threading.Thread(target=work, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == alone
