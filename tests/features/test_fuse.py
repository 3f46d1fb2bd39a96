"""Folding keeps the function; where it would not, the network stays as it was."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from swag_ray.features.backbone import build_backbone
from swag_ray.features.fuse import TOLERANCE, fuse


class Net(nn.Module):
    """conv -> bn -> relu, or with `swapped` bn and conv named in an order that is not the data's."""

    def __init__(self, swapped: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, bias=False)
        self.bn = nn.BatchNorm2d(3)
        self.swapped = swapped
        with torch.no_grad():
            generator = torch.Generator().manual_seed(1)
            for tensor in (self.bn.weight, self.bn.bias, self.bn.running_mean, self.bn.running_var):
                assert tensor is not None
                tensor.copy_(torch.rand(3, generator=generator) + 0.5)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.conv(self.bn(x)) if self.swapped else torch.relu(self.bn(self.conv(x)))]


def count_norms(module: nn.Module) -> int:
    return sum(isinstance(m, nn.BatchNorm2d) for m in module.modules())


def test_folds_a_pair_that_follows_in_the_data_flow() -> None:
    net = Net(swapped=False).eval()
    image = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    fused = fuse(net)
    assert count_norms(fused) == 0
    assert count_norms(net) == 1, "the original is untouched"
    torch.testing.assert_close(fused(image)[0], net(image)[0], rtol=1e-5, atol=1e-5)


def test_keeps_the_original_where_neighbours_do_not_follow_each_other() -> None:
    net = Net(swapped=True).eval()
    assert count_norms(fuse(net)) == 1


def test_the_bundled_backbone_is_folded_whole_and_differs_by_rounding_only() -> None:
    plain = build_backbone("tf_efficientnet_lite0", "bundled", (8, 16, 32), 8, fused=False)
    fast = build_backbone("tf_efficientnet_lite0", "bundled", (8, 16, 32), 8)
    assert count_norms(plain) > 40
    assert count_norms(fast) == 0
    grey = torch.randint(0, 256, (4, 1, 256, 256), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for stride, x in plain(grey).items():
        difference = (x.float() - fast(grey)[stride].float()).abs().max()
        # float16 holds 11 bits; the folding itself must stay below that.
        assert difference <= max(TOLERANCE, 2**-10) * x.float().abs().max()
