"""docs/detector.ipynb: executed from its first cell to its last, as somebody would who has just installed this."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

import swag_ray

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def written() -> Any:
    repository = Path(__file__).resolve().parents[2]
    return nbformat.read(repository / "docs" / "detector.ipynb", as_version=4)


@pytest.fixture(scope="module")
def executed(written: Any, session_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """In an empty folder, with a home of its own whose store is that of the tests."""
    folder = tmp_path_factory.mktemp("notebook")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "swag-ray").symlink_to(session_store)
    patch = pytest.MonkeyPatch()
    patch.setenv("HOME", str(folder))
    patch.setenv("PYTHONPATH", str(Path(swag_ray.__file__).parents[1]))
    try:
        client = NotebookClient(copy.deepcopy(written), timeout=240, kernel_name="python3")
        client.resources = {"metadata": {"path": str(folder)}}
        return client.execute()
    finally:
        patch.undo()


def shown(notebook: Any, code: str) -> dict[str, str]:
    """What the one cell with this code showed, by MIME type."""
    (cell,) = (cell for cell in notebook.cells if cell.cell_type == "code" and code in cell.source)
    return next(dict(output["data"]) for output in cell.outputs if "data" in output)


def test_every_cell_of_the_notebook_works(executed: Any) -> None:
    assert re.search(r"\(0\.\d+,\s*\{'roc_auc':", shown(executed, "run_experiment(config")["text/plain"])
    table = shown(executed, "run.pool.head()")["text/html"]
    assert table.count("<tr") == 6 and all(f"<th>{name}</th>" in table for name in ("path", "score", "rejected"))
    for plot in ("run.plot_roc()", "run.plot_rounds()", "run.plot_pool()"):
        assert len(shown(executed, plot)["image/png"]) > 5000
    card = shown(executed, "model_card.md")["text/markdown"]
    assert card.startswith("# Model card: notebook") and "Apache" in card


def test_its_detector_scores_files_and_arrays_alike(executed: Any) -> None:
    table = shown(executed, "detector.score(files)")["text/html"]
    assert table.count("<td>scored</td>") == 6
    scores = [float(cell) for cell in re.findall(r"<th>\d</th>\s*<td>([-\d.]+)</td>", table)]
    told = shown(executed, "detector.score_samples(arrays)")["text/plain"]
    samples = [float(x) for x in re.findall(r"-?\d+\.\d*", told.partition("]")[0])]
    assert len(scores) == 6 and samples == pytest.approx([-score for score in scores], abs=1e-5)
    assert len(shown(executed, "detector.heatmap(")["image/png"]) > 3000
    assert shown(executed, "detector.nearest(")["text/plain"].count("Neighbour(") == 3


def test_it_is_kept_without_what_it_showed(written: Any) -> None:
    """Outputs would name paths, and differ each time."""
    code = [cell for cell in written.cells if cell.cell_type == "code"]
    assert len(code) > 8 and all(not cell.outputs and cell.execution_count is None for cell in code)
