"""The one rule for a folder that holds a run: what goes on in place, what goes elsewhere, what is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from swag_ray.config import Config, load_config, to_yaml
from swag_ray.errors import InputError
from swag_ray.record.directory import FolderTaken
from swag_ray.record.files import LOCK_FILE
from swag_ray.record.run_directory import run_directory, whole_run, with_controls_there

Tiny = Callable[..., Config]


def finish(directory: Path, config: Config, figures: str = "{}") -> None:
    """Leaves what a run leaves."""
    directory.mkdir(parents=True, exist_ok=True)
    with whole_run(directory) as draft:
        (draft / "config.yaml").write_text(to_yaml(config))
        (draft / "plots").mkdir()
        (draft / "plots" / "overlays.npz").write_text("X-rays")
        (draft / "metrics.json").write_text(figures)
    (directory / "report.html").write_text(figures)


def contents(directory: Path) -> dict[str, str]:
    """Every file but the lock, which is there for as long as somebody works."""
    files = [p for p in directory.rglob("*") if p.is_file() and p.name != LOCK_FILE]
    return {str(p.relative_to(directory)): p.read_text() for p in files}


@pytest.mark.parametrize(
    "change",
    ["rounds=3", "controls=[seed_only]", "cluster.actors=1", "report.images=false", "store=/elsewhere"],
)
def test_what_goes_on_in_place(tiny: Tiny, tmp_path: Path, change: str) -> None:
    finish(tmp_path / "run", tiny())
    before = contents(tmp_path / "run")
    with run_directory(tmp_path / "run", tiny(change), False) as place:
        assert place == tmp_path / "run"
    assert contents(tmp_path / "run") == before


@pytest.mark.parametrize(
    ("change", "field"), [("rounds=1", "rounds is 2 there, 1 here"), ("gate.budget=5", "gate.budget is 12 there, 5 h")]
)
def test_any_other_config_goes_to_another_folder(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, field: str
) -> None:
    monkeypatch.chdir(tmp_path)
    finish(Path("runs/tiny"), tiny(), "old")
    before = contents(Path("runs/tiny"))
    with pytest.raises(FolderTaken, match=field), run_directory(Path("runs/tiny"), tiny(change), False):
        pass
    for _ in range(2):  # the second time it goes on there
        with run_directory(None, tiny(change), False) as place:
            finish(place, tiny(change))
        assert place == Path("runs/tiny-2") and os.readlink("runs/latest") == "tiny-2"
    with run_directory(None, tiny("gate.budget=6"), False) as third:
        finish(third, tiny("gate.budget=6"))
    assert third == Path("runs/tiny-3") and Path("runs/latest/metrics.json").exists()
    with run_directory(None, tiny(), False) as first:
        pass
    assert first == Path("runs/tiny") and os.readlink("runs/latest") == "tiny"
    assert contents(Path("runs/tiny")) == before

    with run_directory(Path("runs/tiny"), tiny(change), True) as place:
        assert contents(place) == before, "what is replaced stays until the new run is whole"
        finish(place, tiny(change), "new")
    assert load_config("runs/tiny/config.yaml") == tiny(change)
    assert contents(Path("runs/tiny"))["metrics.json"] == "new"


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["thesis.tex", "config.yaml"])
def test_foreign_files_are_refused_untouched(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, overwrite: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/tiny").mkdir(parents=True)
    (tmp_path / "runs/tiny" / name).write_text("defaults: [model, data]")
    said = {"thesis.tex": r"holds something else \('thesis.tex'\)", "config.yaml": "that is no run's of this version"}
    for out in (None, Path("runs/tiny")):
        with pytest.raises(InputError, match=said[name]) as refused, run_directory(out, tiny(), overwrite):
            pass
        assert not isinstance(refused.value, FolderTaken)
    assert contents(tmp_path / "runs") == {f"tiny/{name}": "defaults: [model, data]"}


def test_something_else_called_latest_is_left_alone(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/latest").mkdir(parents=True)
    (tmp_path / "runs/latest/notes").write_text("mine")
    with run_directory(None, tiny(), False) as place:
        finish(place, tiny())
    assert contents(tmp_path / "runs/latest") == {"notes": "mine"} and not (tmp_path / "runs/latest").is_symlink()


def test_controls_whose_figures_are_there_are_kept(tiny: Tiny, tmp_path: Path) -> None:
    few, all_of_them = tiny("controls=[seed_only]"), tiny()
    assert with_controls_there(tmp_path, few) == few
    (tmp_path / "config.yaml").write_text(to_yaml(all_of_them))
    assert with_controls_there(tmp_path, few) == few, "an unfinished run has no figures to keep"
    finish(tmp_path, all_of_them)
    assert with_controls_there(tmp_path, few).controls == all_of_them.controls
    assert with_controls_there(tmp_path, tiny("rounds=3", "controls=[oracle_gate]")) == tiny("rounds=3")


@pytest.mark.parametrize("error", [OSError(28, "full"), KeyboardInterrupt()])
def test_a_run_that_breaks_off_leaves_the_one_before(tiny: Tiny, tmp_path: Path, error: BaseException) -> None:
    """The new config must never stand over the old figures."""
    finish(tmp_path, tiny(), "old")
    before = contents(tmp_path)
    with pytest.raises(type(error)), whole_run(tmp_path) as draft:
        (draft / "config.yaml").write_text(to_yaml(tiny("rounds=3")))
        (draft / "rounds.parquet").write_text("half")
        raise error
    assert contents(tmp_path) == before


def test_a_new_run_takes_everything_of_the_old_one_with_it_and_nothing_else(tiny: Tiny, tmp_path: Path) -> None:
    finish(tmp_path, tiny(), "old")
    for name in ("notes.txt", "profile.json", "detector/arrays.npz", "plots/roc.svg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    with whole_run(tmp_path) as draft:
        (draft / "config.yaml").write_text("new")
        (draft / "metrics.json").write_text("new")
    found = contents(tmp_path)
    assert found == {"config.yaml": "new", "metrics.json": "new", "notes.txt": "notes.txt"}


def test_a_profile_stays_with_its_config(tiny: Tiny, tmp_path: Path) -> None:
    finish(tmp_path, tiny(), "old")
    (tmp_path / "profile.json").write_text("where the time went")
    for config, kept in ((tiny(), True), (tiny("rounds=3"), False)):
        with whole_run(tmp_path) as draft:
            (draft / "config.yaml").write_text(to_yaml(config))
            (draft / "metrics.json").write_text("new")
        assert (tmp_path / "profile.json").exists() == kept
