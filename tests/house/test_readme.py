"""The README: its ten lines of Python run as they stand there, and its results are rows of docs/RESULTS.md."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from swag_ray.config import Config, to_yaml


@pytest.mark.ray
def test_the_readme_s_python_runs(
    repository: Path, tiny: Callable[..., Config], local_ray: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Verbatim, in a folder whose configs/demo.yaml is an experiment of seconds."""
    code = re.findall(r"^```python\n(.*?)^```", (repository / "README.md").read_text(encoding="utf-8"), re.S | re.M)[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "demo.yaml").write_text(to_yaml(tiny()))
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    (directory,) = (path for path in (tmp_path / "runs").iterdir() if not path.is_symlink())
    metrics = json.loads((directory / "metrics.json").read_text())
    assert str(metrics["incremental"]["roc_auc"]) in printed and str(metrics["totals"]) in printed
    assert (directory / "report.html").is_file()


def test_the_readme_s_results_are_rows_of_results_md(repository: Path) -> None:
    readme = (repository / "README.md").read_text(encoding="utf-8")
    measured = (repository / "docs" / "RESULTS.md").read_text(encoding="utf-8").splitlines()
    section = readme[readme.index("### What it gives there") : readme.index("### Results, by one command")]
    quoted = [line for line in section.splitlines() if line.startswith("|")]
    assert len(quoted) > 20 and not set(quoted) - set(measured)
