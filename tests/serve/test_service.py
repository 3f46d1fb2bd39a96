"""The service on a real Ray Serve, asked over HTTP."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from pathlib import Path

import httpx
import psutil
import pytest

from swag_ray.score.scorer import ImageScorer
from tests.support.command_line import Command
from tests.support.service import Served

NAME = "doe_jane_1970"
pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture
def films(tests: Path, tmp_path: Path) -> list[Path]:
    """Test images of both classes, whose names tell a person."""
    found = sorted(tests.glob("*/*.png"))[::4]
    folder = tmp_path / "films"
    folder.mkdir()
    return [Path(folder / f"{NAME}_{i}.png") for i, path in enumerate(found) if _copied(path, folder, i)]


def _copied(path: Path, folder: Path, number: int) -> bool:
    return bool((folder / f"{NAME}_{number}.png").write_bytes(path.read_bytes()))


def listening(pid: int) -> set[tuple[str, str]]:
    """(program, address) of all that a process and those below it listen at."""
    me = psutil.Process(pid)
    found = set()
    for process in (me, *me.children(recursive=True)):
        for connection in process.net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN:
                address = ip_address(connection.laddr.ip)
                found.add((process.name(), str(getattr(address, "ipv4_mapped", None) or address)))
    return found


def session_text(pid: int) -> str:
    """All that Ray's processes below this one have logged."""
    folders = {word for p in psutil.Process(pid).children() for word in p.cmdline() if word.startswith("--log_dir=")}
    (folder,) = folders
    files = [path for path in Path(folder.removeprefix("--log_dir=")).rglob("*") if path.is_file()]
    assert any("serve" in str(path) for path in files)
    return "".join(path.read_text(errors="replace") for path in files)


def test_the_service_says_what_score_says(finished: Path, films: list[Path], tmp_path: Path, command: Command) -> None:
    """To the last digit of a call with that image alone; of many in a call, to what BLAS rounds otherwise."""
    out = tmp_path / "scores.json"
    assert command("score", finished, films[0].parent, "--out", out, "--quiet").code == 0
    rows = {Path(row["path"]).name: row for row in json.loads(out.read_text())}
    assert len(rows) == len(films) >= 10
    scorer = ImageScorer.load(finished / "detector")
    step = 1 / (len(scorer.detector.seed_s) + 1) + 1e-12  # of p
    with Served(tmp_path, finished) as served, served.client() as client:
        for film in films:
            with film.open("rb") as file:
                answer = client.post("/score", files={"image": (film.name, file)})
            assert answer.status_code == 200, answer.text
            found, row = answer.json(), rows[film.name]
            (alone,) = scorer.score([scorer.read(film)])
            assert (found["score"], found["p"]) == (alone.score, alone.p)
            assert found["score"] == pytest.approx(row["score"], abs=1e-4)
            assert abs(found["p"] - row["p"]) <= step
            assert found["above_threshold"] is (found["p"] <= scorer.detector.rate)
            for field in ("status", "out_of_domain", "detector"):
                assert found[field] == row[field], field
            assert found["id"].rpartition("-")[2] == row["id"].rpartition("-")[2]
        assert client.post("/score", content=b"x").status_code == 422
        about = client.get("/").json()
        assert about["detector"] == scorer.digest and about["card"]["name"] == about["name"] == "tiny"
        assert "places" not in about["card"]["trained_on"]
        assert client.post("/score?heatmap=true", content=films[0].read_bytes()).json()["heatmap"]

        found_at = listening(served.process.pid)
        assert {"gcs_server", "raylet"} <= {name for name, _ in found_at}, "nothing was looked at"
        assert [at for at in found_at if not ip_address(at[1]).is_loopback] == []
        logged = session_text(served.process.pid)

        def late() -> httpx.Response:
            return served.client().post("/score?heatmap=true", content=films[0].read_bytes())

        with ThreadPoolExecutor(8) as threads:  # they are answered, whatever comes
            waiting = [threads.submit(late) for _ in range(8)]
            before = time.monotonic()
            while "swag_ray_in_flight 0.0" in client.get("/metrics").text and time.monotonic() < before + 30:
                time.sleep(0.005)
            start = time.monotonic()
            assert served.end() == 0
            assert time.monotonic() - start < 30
            answers = [one.result() for one in waiting if one.exception() is None]
        assert answers and {answer.status_code for answer in answers} == {200}
    log = served.log.read_text()
    assert log.count("status=200") >= len(films) + 1 + len(answers) and "status=422" in log
    for text in (log, logged):
        assert NAME not in text and str(films[0].parent) not in text
    assert served.token not in log + logged
