"""What a request meets: refusals by reason, the log, the metrics; a replica's work is done in this process."""

from __future__ import annotations

import asyncio
import base64
import io
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from swag_ray.serve import body
from swag_ray.serve.app import WAITING
from tests.serve.conftest import TOKEN, Nobody, Service
from tests.support.dicom import film, saved, twelve_bits
from tests.support.images import blocks, encoded

pytestmark = pytest.mark.ray  # the run whose detector it is

PNG = encoded(blocks(1, 64))
LINE = re.compile(r"time=\S+ request=([0-9a-f]{16}) status=(\d+) bytes=(\d+) seconds=[\d.]+ detector=[0-9a-f]{16}")


def refused(answer: httpx.Response, status: int) -> str:
    """The one line of a refusal."""
    assert answer.status_code == status, answer.text
    found = answer.json()
    assert set(found) == {"error"} and "\n" not in found["error"] and "Traceback" not in found["error"]
    return str(found["error"])


def test_a_raw_body_and_a_form_get_the_same_answer(service: Service) -> None:
    raw = service("POST", "/score", content=PNG).json()
    form = service("POST", "/score", files={"image": ("doe_jane.png", PNG, "image/png")}).json()
    for found in (raw, form):
        assert 0 < found.pop("seconds") < 60
    assert raw == form
    assert set(raw) == {"id", "score", "p", "above_threshold", "status", "out_of_domain", "detector"}
    assert raw["status"] == "scored" and raw["id"].startswith("image-") and 0 < raw["p"] <= 1


def test_a_heatmap_is_a_picture_of_the_image(service: Service) -> None:
    image = encoded(blocks(2, 96).resize((96, 48)))
    found = service("POST", "/score?heatmap=true&nearest=1", content=image).json()
    picture = Image.open(io.BytesIO(base64.b64decode(found["heatmap"])))
    assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (96, 48))
    assert [set(near) for near in found["nearest"]] == [{"id", "distance"}] * 3
    distances = [near["distance"] for near in found["nearest"]]
    assert distances == sorted(distances)


def test_a_dicom_is_read(service: Service) -> None:
    found = service("POST", "/score", content=saved(film(twelve_bits(np.asarray(blocks(3, 64)))))).json()
    assert re.fullmatch("[0-9a-f]{16}", found["id"])


@pytest.mark.parametrize(
    ("sent", "reason"), [(b"", "empty"), (b"no picture", ""), (PNG[: len(PNG) // 2], ""), (b"<svg/>", "")],
    ids=["nothing", "text", "half a file", "a drawing"],
)  # fmt: skip
def test_what_cannot_be_read_says_why(service: Service, sent: bytes, reason: str) -> None:
    assert reason in refused(service("POST", "/score", content=sent), 422)


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN, "Bearer \xe9"],
)
def test_without_the_token_nothing_is_told(service: Service, header: str | None) -> None:
    shown = {} if header is None else {"Authorization": header.encode("latin-1")}
    for method, path in (("POST", "/score"), ("GET", "/"), ("GET", "/metrics")):
        answer = service(method, path, shown=shown)
        assert "Bearer" in refused(answer, 401) and answer.headers["www-authenticate"] == "Bearer"
    assert service.answers.asked == []
    for path in ("/health", "/ready"):
        assert service("GET", path, shown=shown).status_code == 200


def test_what_is_too_large_is_not_read(service: Service) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 50_000
            yield bytes(50_000)
            await asyncio.sleep(0.01)

    assert "0.2 MB" in refused(service("POST", "/score", content=bytes(200_001)), 413)
    assert "0.2 MB" in refused(service("POST", "/score", content=endless()), 413)
    assert sent < 20_000_000, "it was read on"
    form = {"image": ("a.png", bytes(200_001), "image/png")}
    refused(service("POST", "/score", files=form), 413)
    assert service.answers.asked == []
    assert service("POST", "/score", content=PNG + bytes(199_000 - len(PNG))).status_code != 413


def test_a_body_that_does_not_come_is_not_waited_for(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield PNG[:10]
        await asyncio.sleep(30)

    monkeypatch.setattr(body, "SECONDS", 0.2)
    refused(service("POST", "/score", content=slow()), 408)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/score", 405), ("DELETE", "/", 405), ("POST", "/health", 405), ("GET", "/scores", 404),
        ("POST", "/score/", 404), ("GET", "/docs", 404), ("POST", "/score?heatmap=yes", 400),
        ("POST", "/score?heatmaps=true", 400), ("POST", "/score?frame=0", 400), ("POST", "/score?frame=1&frame=2", 400),
        ("POST", "/score?frame=%D9%A1", 400), ("POST", "/score?frame=1", 400), ("POST", "/score?nearest=", 400),
    ],
)  # fmt: skip
def test_a_wrong_question_is_refused(service: Service, method: str, path: str, status: int) -> None:
    answer = service(method, path, content=PNG if method == "POST" else None)
    refused(answer, status)
    assert status != 405 or answer.headers["allow"]


def test_a_form_carries_one_image(service: Service) -> None:
    part = ("a.png", PNG, "image/png")
    for files, data in (
        ({"film": part}, {}), ([("image", part), ("image", part)], {}), ({"image": part}, {"name": "Jane"}),
    ):  # fmt: skip
        assert "image" in refused(service("POST", "/score", files=files, data=data), 400)
    broken = {"content-type": "multipart/form-data; boundary=b"}
    for sent in (b"", b"--b\r\nnonsense", PNG):
        refused(service("POST", "/score", content=sent, headers=broken), 400)
    refused(service("POST", "/score", content=PNG, headers={"content-type": "multipart/form-data"}), 400)


def test_what_an_older_bundle_lacks_is_said_before_the_image_is_read(service: Service) -> None:
    older = service.but(missing={"heatmap": "no scale"})
    assert refused(older("POST", "/score?heatmap=1", content=PNG), 501) == "no scale"
    assert older("POST", "/score", content=PNG).status_code == 200 and len(older.answers.asked) == 1


def test_too_many_at_once_are_told_to_come_again(service: Service) -> None:
    async def crowd() -> list[httpx.Response]:
        service.answers.held = asyncio.Event()
        async with service.client() as client:
            waiting = [asyncio.create_task(client.post("/score", content=PNG)) for _ in range(WAITING)]
            while len(service.answers.asked) < WAITING:
                await asyncio.sleep(0.01)
            late = await client.post("/score", content=PNG)
            service.answers.held.set()
            return [late, *await asyncio.gather(*waiting), await client.post("/score", content=PNG)]

    late, *others = asyncio.run(crowd())
    assert refused(late, 503) and int(late.headers["retry-after"]) > 0
    assert {answer.status_code for answer in others} == {200}


def test_large_images_fill_the_room_and_leave_it(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swag_ray.serve.app.HELD", 1)

    async def two() -> list[httpx.Response]:
        service.answers.held = asyncio.Event()
        async with service.client() as client:
            first = asyncio.create_task(client.post("/score", content=bytes(150_000)))
            while not service.answers.asked:
                await asyncio.sleep(0.01)
            second = await client.post("/score", content=bytes(150_000))
            service.answers.held.set()
            bad = await client.post("/score", files={"film": ("a", bytes(150_000))})
            return [second, bad, await first, await client.post("/score", content=bytes(190_000))]

    second, bad, first, after = asyncio.run(two())
    assert [answer.status_code for answer in (second, bad, first, after)] == [503, 503, 422, 422]


def test_a_lost_replica_and_a_fault_are_told_apart(service: Service) -> None:
    service.answers.raised = Nobody("no replica answered")
    answer = service("POST", "/score", content=PNG)
    assert refused(answer, 503) == "no replica answered" and answer.headers["retry-after"]
    service.lines.clear()
    service.answers.raised = ZeroDivisionError("of Jane Doe")
    answer = service("POST", "/score", content=PNG)
    told = refused(answer, 500)
    assert "Jane" not in told and answer.headers["x-request-id"] in told
    trace, line = service.lines
    assert "ZeroDivisionError" in trace and answer.headers["x-request-id"] in trace and "status=500" in line


def test_the_log_has_a_line_a_request_and_no_name(service: Service) -> None:
    name = "doe^jane"
    headers = {"User-Agent": name, "X-Request-Id": name, "Referer": name, "Host": name}
    image = saved(film(twelve_bits(np.asarray(blocks(4, 64))), PatientName=name))
    answers = [
        service("POST", f"/score?frame={name}", content=PNG, headers=headers),
        service("POST", "/score", files={"image": (f"{name}.png", PNG, name)}, headers=headers),
        service("POST", "/score", content=image, headers=headers),
        service("POST", "/score", content=image[: len(image) // 2], headers=headers),
        service("GET", f"/{name}", headers=headers),
        service("GET", "/", headers={"Authorization": f"Bearer {name}"}),
    ]
    assert [answer.status_code for answer in answers] == [400, 200, 200, 422, 404, 401]
    assert not any(name in answer.text for answer in answers)
    found = [LINE.fullmatch(line) for line in service.lines]
    assert all(found), service.lines
    assert [(m[1], int(m[2])) for m in found if m] == [(a.headers["x-request-id"], a.status_code) for a in answers]
    assert found[2] and int(found[2][3]) == len(image)
    service("GET", "/health")
    assert len(service.lines) == len(answers), "what machines ask every few seconds is in the log"


def test_metrics_count_what_was_asked(service: Service) -> None:
    async def some() -> str:
        async with service.client() as client:
            for sent in (PNG, PNG, b"no picture", bytes(300_000)):
                await client.post("/score", content=sent)
            await client.get("/")
            return (await client.get("/metrics")).text

    text = asyncio.run(some())
    for line in (
        'swag_ray_requests_total{status="200"} 2.0', 'swag_ray_requests_total{status="422"} 1.0',
        'swag_ray_requests_total{status="413"} 1.0', "swag_ray_unreadable_total 1.0", "swag_ray_in_flight 0.0",
        "swag_ray_request_seconds_count 4.0", "swag_ray_replicas 1.0",
    ):  # fmt: skip
        assert line in text.splitlines(), line


def test_about_and_ready(service: Service) -> None:
    assert service("GET", "/").json() == service.rules.about
    assert service("GET", "/ready").json() == {"ready": True, "replicas": 1, "wanted": 1}
    service.answers.wanted = 0
    assert service("GET", "/ready").status_code == 503 and service("GET", "/health").status_code == 200


def test_no_image_touches_the_disk(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A form's file of more than a megabyte would, by the parser's default."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))
    big = service.but(most=4_000_000)
    refused(big("POST", "/score", files={"image": ("a", b"\x89PNG" + bytes(3_000_000))}), 422)
