"""`score --report` and `--heatmaps`: what a person sees of real scores, also where files went, and older bundles."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load_file

from swag_ray.detector.bundle import digest_of, load_detector, save_detector
from swag_ray.images.places import Place, locate
from swag_ray.progress import Progress
from swag_ray.report.score.values import UNSCORED, Film, ScorePage
from swag_ray.score import films
from swag_ray.score.chunks import chunk_work, in_process, score_chunks
from swag_ray.score.rows import ScoredRows
from swag_ray.score.scorer import ImageScorer
from swag_ray.score.table import result_table
from swag_ray.score.words import Told
from tests.support.command_line import Command
from tests.support.dicom import film as dicom
from tests.support.html import Page

pytestmark = pytest.mark.ray


@pytest.fixture
def scorer(finished: Path) -> ImageScorer:
    return ImageScorer.load(finished / "detector")


def page_of(scorer: ImageScorer, places: Iterable[Place], between: Callable[[], object] = int) -> ScorePage:
    """The page of these images. `between`: what happens after they are scored."""
    places = list(places)
    rows = score_chunks(places, in_process(chunk_work(scorer, heatmaps=False)))
    between()
    scored = ScoredRows(scorer.detector, scorer.digest, rows, {})
    told = Told(0.05, "the threshold means this", False, ("score: two are blank",))
    return films.score_page(scorer, places, scored, result_table(scored, 0.05), told, Progress())


def saved_with(bundle: Path, folder: Path, **parts: Any) -> Path:
    """The bundle with other parts, elsewhere."""
    save_detector(replace(load_detector(bundle), **parts), load_file(bundle / "backbone.safetensors"), folder)
    return folder


def heat_of(bundle: Path, places: Sequence[Path]) -> NDArray[np.float32]:
    scorer = ImageScorer.load(bundle)
    scored = scorer.score(map(scorer.read, places), heat=True)
    return np.stack([image.heat_GG for image in scored if image.heat_GG is not None])


def taken(page: ScorePage) -> list[Film]:
    return list(page.films)


def test_the_page_shows_what_the_table_says(command: Command, bundle: Path, tests: Path, tmp_path: Path) -> None:
    chosen = [*sorted((tests / "NORMAL").iterdir())[:4], *sorted((tests / "ANOMALY").iterdir())[:4]]
    (tmp_path / "broken.png").write_bytes(b"none")
    with (tmp_path / "list.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "ward"])
        writer.writerows([path, f"<b>{n}</b>"] for n, path in enumerate([*chosen, tmp_path / "broken.png"]))
    out, report = tmp_path / "scores.parquet", tmp_path / "page.html"
    ended = command("score", bundle, tmp_path / "list.csv", "--out", out, "--order", "path", "--report", report)
    assert ended.code == 0 and not list(tmp_path.glob("*.partial"))
    rows = sorted(pq.read_table(out).to_pylist(), key=lambda row: (row["p"] is None, row["p"], -(row["score"] or 0)))
    text = report.read_text(encoding="utf-8")
    counted = {kind: int(count) for kind, count in re.findall(r"> ([a-z ]+) \((\d+)\)</label>", text)}
    assert counted == Counter(re.findall(r'data-kind="([^"]*)"', text))
    cards = re.findall(r'<li class="film" data-kind="([^"]*)">(.*?)</article>', text, flags=re.S)
    assert len(cards) == 8 and rows[8]["status"] != "scored"
    for row, (kind, card) in zip(rows, cards, strict=False):
        seen = Page(card).text
        assert (
            row["path"] in seen
            and row["id"] in seen
            and f"{row['score']:.3f}".replace("-", "\N{MINUS SIGN}") in seen
            and row["ward"] in seen
        )
        strange = row["out_of_domain"] is not None
        assert kind == ("out of domain" if strange else "flagged" if row["above_threshold"] else "not flagged")
        assert card.count("data:image/jpeg") == 4 and card.count("data:image/png") == 1, "film, heatmap, three trusted"
        assert [float(far) for far in re.findall(r"distance ([\d.]+)", seen)] == sorted(
            float(far) for far in re.findall(r"distance ([\d.]+)", seen)
        )
    trusted = set(load_detector(bundle).trusted.path_n)  # type: ignore[union-attr]
    assert {unescape(path) for path in re.findall(r'title="([^"]+)">', text) if "/" in path} <= trusted
    last = Page(text).text
    assert rows[8]["status"] in last and str(tmp_path / "broken.png") in last and "1 image has no score" in last
    assert ended.out.splitlines()[1][:-1] in last, "the sentence of the terminal"


def test_heatmaps_lie_over_the_films(command: Command, bundle: Path, tests: Path, tmp_path: Path) -> None:
    """Clear up to `low`, colour above it; here `low` is such that a half of these few digits is clear."""
    chosen = sorted((tests / "ANOMALY").iterdir())[:6]
    heat, maps_nGG = load_detector(bundle).heat, heat_of(bundle, chosen)
    assert heat is not None
    low, high = (float(end) for end in np.percentile(maps_nGG, [50, 99]))
    lower = saved_with(bundle, tmp_path / "lower", heat=replace(heat, low=low, high=high))
    folder = tmp_path / "below" / "maps"
    folder.mkdir(parents=True)
    (folder / "foreign.png").write_bytes(b"somebody's")
    (tmp_path / "broken.png").write_bytes(b"none")
    asked = ["score", lower, *chosen, tmp_path / "broken.png", "--out", tmp_path / "s.json", "--heatmaps"]
    assert command(*asked, folder).code == 0
    ids = {row["path"]: row["id"] for row in json.loads((tmp_path / "s.json").read_text())}
    assert {file.name for file in folder.iterdir()} == {"foreign.png", *(f"{ids[str(path)]}.png" for path in chosen)}
    assert (folder / "foreign.png").read_bytes() == b"somebody's"
    clear = coloured = 0
    for path, heat_GG in zip(chosen, maps_nGG, strict=True):
        grey_HW = np.asarray(Image.open(path).convert("L"))
        pixels = np.asarray(Image.open(folder / f"{ids[str(path)]}.png")).astype(int)
        assert pixels.shape == (*grey_HW.shape, 3)
        smooth_HW = np.array(Image.fromarray(heat_GG).resize(grey_HW.shape[::-1], Image.Resampling.BICUBIC))
        grey_of = (pixels == grey_HW[..., None]).all(axis=2)
        assert grey_of[smooth_HW <= low].all(), "the film itself"
        clear, coloured = clear + (smooth_HW <= low).sum(), coloured + (~grey_of[smooth_HW > low + 0.3]).sum()
        side = grey_HW.shape[0] // len(heat_GG)
        row, column = np.unravel_index(heat_GG.argmax(), heat_GG.shape)
        if heat_GG.max() >= high:
            strength_HW = np.ptp(pixels, axis=2)[row * side :][:side, column * side :][:, :side]
            assert strength_HW.max() > 60, "the peak"
    assert clear > 50_000 and coloured > 10_000
    (tmp_path / "file").write_bytes(b"")
    for wrong in (tmp_path / "file", tmp_path / "file" / "below"):
        (tmp_path / "s.json").unlink(missing_ok=True)
        assert command(*asked, wrong).complaint.startswith(f"--heatmaps: cannot write to '{wrong}'")
        assert not list(tmp_path.glob("s.json*")), "before anything is scored"


def test_a_page_that_cannot_be_is_refused_before_anything_is_scored(
    command: Command, bundle: Path, tests: Path, tmp_path: Path
) -> None:
    (tmp_path / "folder.html").mkdir()
    for place, said in (
        (tmp_path / "page.htm", "must end in .html"),
        (tmp_path / "absent" / "page.html", "no folder"),
        (tmp_path / "folder.html", "cannot write"),
    ):
        ended = command("score", bundle, tests, "--out", tmp_path / "scores.csv", "--report", place)
        assert ended.complaint.startswith("--report: ") and said in ended.complaint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "folder.html"]


def test_a_colour_means_the_same_in_every_film(scorer: ImageScorer, tests: Path) -> None:
    """The scale's upper end is the bundle's, or higher where the most suspicious would be of one colour all over."""
    places, heat = sorted((tests / "ANOMALY").iterdir())[:4], scorer.detector.heat
    assert heat is not None
    page = page_of(scorer, places)
    maps_nGG = np.stack([film.heat_GG for film in taken(page) if film.heat_GG is not None])
    assert len(maps_nGG) == 4 and page.scale == (heat.low, max(heat.high, float(np.percentile(maps_nGG, 99))))
    low = float(maps_nGG.min()) - 1
    scorer.detector = replace(scorer.detector, heat=replace(heat, low=low, high=low + 0.5))
    assert page_of(scorer, places).scale == (low, float(np.percentile(maps_nGG, 99)))


def test_films_that_went_or_changed_are_told(scorer: ImageScorer, tests: Path, tmp_path: Path) -> None:
    places = [shutil.copy(path, tmp_path / path.name) for path in sorted((tests / "NORMAL").iterdir())[:3]]
    gone, changed, kept = places
    page = page_of(scorer, places, lambda: (gone.unlink(), shutil.copy(kept, changed)))
    notes = {film.row.path: (film.note, film.picture_HW is None) for film in taken(page)}
    assert notes == {
        str(gone): ("its file cannot be read any more (No such file or directory)", True),
        str(changed): ("its file has changed since it was scored", True),
        str(kept): ("", False),
    }


def test_an_older_bundle_gives_the_page_without(command: Command, bundle: Path, tests: Path, tmp_path: Path) -> None:
    older = saved_with(bundle, tmp_path / "older", heat=None, trusted=None)
    assert digest_of(older) == digest_of(bundle)
    out, page = tmp_path / "scores.csv", tmp_path / "page.html"
    ended = command("score", older, tests, "--out", out, "--heatmaps", tmp_path / "maps")
    assert "keeps no scale of heatmaps; run again" in ended.complaint and not out.exists()
    assert command("score", older, tests, "--out", out, "--report", page).code == 0
    text = Page(page.read_text(encoding="utf-8")).text
    assert "No heatmaps: this detector keeps no scale" in text and "this detector keeps none. Run again" in text
    assert "data:image/png" not in page.read_text() and "distance" not in text


def test_trusted_images_are_shown_only_where_they_may_be(scorer: ImageScorer, tests: Path, tmp_path: Path) -> None:
    place = min((tests / "NORMAL").iterdir())
    trusted, detector = scorer.detector.trusted, scorer.detector
    assert trusted is not None and trusted.path_n is not None
    (plain,) = taken(page_of(scorer, [place]))
    assert all(image.picture_HW is not None and image.path is not None for image in plain.nearest)
    cases = {
        "run kept its images": replace(trusted, pictures=False),
        "run was anonymous": replace(trusted, path_n=None),
        "": replace(trusted, path_n=np.array([str(place)] * len(trusted.id_n))),  # another image lies there by now
    }
    for said, held in cases.items():
        scorer.detector = replace(detector, trusted=held)
        page = page_of(scorer, [place])
        (film,) = taken(page)
        assert [image.name for image in film.nearest] == [image.name for image in plain.nearest]
        assert all(image.picture_HW is None for image in film.nearest)
        assert said in " ".join(page.missing) and (not said) == (not page.missing)


def test_what_is_too_much_is_listed_and_then_counted(
    scorer: ImageScorer, tests: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, count in (("SHOWN", 3), ("LISTED", 4), ("AT_A_TIME", 2)):
        monkeypatch.setattr(films, name, count)
    broken = [tmp_path / f"{n}.png" for n in range(6)]
    for path in broken:
        path.write_bytes(b"none")
    page = page_of(scorer, [*broken, *sorted((tests / "NORMAL").iterdir())[:10]])
    assert [film.row.rank for film in page.films] == [1, 2, 3]
    assert [row.rank for row in page.rows] == [4, 5, 6, 7]
    assert [Path(row.path).name for row in page.unscored] == ["0.png", "1.png", "2.png", "3.png"]
    assert page.unlisted == 3 + 2 and page.counts[UNSCORED] == 6 and sum(page.counts.values()) == 16
    assert page.warnings == ("two are blank",) and "The 3 most suspicious images have pictures" in page.missing[0]


def test_frames_of_a_file_are_films_of_their_own(scorer: ImageScorer, tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    spec = scorer.detector.spec
    generator = np.random.default_rng(0)
    frames = generator.integers(0, 4000, (2, 40, 60)).astype(np.uint16)
    frames[1] //= 3
    dicom(frames).save_as(tmp_path / "scan.dcm", enforce_file_format=True)
    framed = replace(scorer.detector, spec=replace(spec, frames="all"))
    other = ImageScorer(framed, scorer.backbone, scorer.digest)
    first, second = taken(page_of(other, [locate(tmp_path / f"scan.dcm#frame={n}") for n in (1, 2)]))
    assert first.picture_HW is not None and second.picture_HW is not None and not first.note
    assert first.picture_HW.shape == (40, 60) and (first.picture_HW != second.picture_HW).any()
