"""The README's Python does what it says, word for word."""

from __future__ import annotations

import re
from pathlib import Path

import pytest


def test_the_python_of_the_readme_runs(
    repository: Path,
    session_store: Path,
    local_ray: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (repository / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 1
    monkeypatch.setenv("HOME", str(session_store))  # the default store is under it
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(repository / "configs")
    names: dict[str, object] = {}
    exec(compile(blocks[0], "README.md", "exec"), names)
    assert (tmp_path / "runs" / "from-python" / "report.html").stat().st_size > 100_000
    printed = capsys.readouterr().out.splitlines()
    assert 0.5 < float(printed[0]) < 1
    assert "low" in printed[1] and "admitted" in printed[2]
