"""The specification of features: it names their folder in the store and builds their backbone."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from swag_ray.features.extract import BATCH, GPU_BATCH
from swag_ray.images.decode import AS_STORED, FULL_WHITE, Reading
from swag_ray.images.frames import ALL
from swag_ray.store.stages import VERSIONS, Arrays, Result, digest, stage_key
from swag_ray.store.store import Store

if TYPE_CHECKING:
    from swag_ray.features.backbone import Backbone


@dataclass(frozen=True)
class FeatureSpec:
    """What a feature depends on besides the image's bytes.

    Attributes:
        backbone, weights: timm name and where its weights come from; `weights_digest` says which they are.
        image_size: pixels a side after resizing.
        strides, grid: the maps taken and the side of their common grid.
        white: the greatest sample of the set's 16-bit images, read as white (`images/deep.py`).
        range, frames: of DICOM, as in `Reading`.
    """

    backbone: str
    weights: str
    weights_digest: str
    image_size: int
    strides: tuple[int, ...]
    grid: int
    white: int = FULL_WHITE
    range: str = "bits"
    frames: str = "refuse"

    @property
    def reading(self) -> Reading:
        """What the images are read by."""
        return Reading(self.white, self.range, self.frames)

    @property
    def fingerprint(self) -> str:
        """Names the folder of shards; the path of the weights is not in it, their content is."""
        return digest(
            [VERSIONS["features"], self.backbone, self.weights_digest, self.image_size, list(self.strides), self.grid],
            ["grey", "bilinear antialias", "mean pool 3", "float16", "fused", BATCH, GPU_BATCH],
            # Sets that are read as their files say share names. So do those of which each frame is an image: it has a
            # name of its own, and what is not in frames is read as with `refuse`.
            *(
                [name, value]
                for name, value in asdict(self.reading).items()
                if value != getattr(AS_STORED, name) and (name, value) != ("frames", ALL)
            ),
        )

    def plain(self) -> dict[str, Any]:
        """Returns the fields by name; those of `reading` only where they are not the default, so that other records
        stay as they were.
        """
        usual = asdict(AS_STORED)
        return {name: value for name, value in asdict(self).items() if value != usual.get(name)}

    def weights_in(self, store: Store) -> Arrays:
        """Returns the backbone's tensors, weights and normalisation, by name, from a stage like others.

        So no actor needs the package, the file or the hub that they came from, and the driver builds the backbone once
        per store. Every run still needs them on the driver: `weights_digest` must say which weights these are.

        Raises:
            InputError: unknown model or stride, or weights that are not available here.
        """

        def compute() -> Result:
            from swag_ray.features.backbone import build_backbone

            backbone = build_backbone(self.backbone, self.weights, self.strides, self.grid, fused=False)
            return Result({name: tensor.numpy() for name, tensor in backbone.state_dict().items()})

        reads = {"name": self.backbone, "weights": self.weights_digest, "strides": self.strides, "grid": self.grid}
        return store.stage("backbone", stage_key("backbone", reads), compute).arrays

    def build(self, weights: Arrays) -> Backbone:
        """The backbone, ready to run, from what `weights_in` gave or a detector bundle keeps."""
        from swag_ray.features.backbone import restore_backbone

        return restore_backbone(self.backbone, self.strides, self.grid, weights)
