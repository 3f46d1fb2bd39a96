"""timm comes without torch's compiler; who wants it later in the same process has the real one."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
from swag_ray.features.timm_import import import_timm
timm = import_timm()
import torch, torchvision
assert not {"torch._dynamo", "torch._dynamo.utils", "sympy"} & sys.modules.keys()
boxes = torch.tensor([[0.0, 0.0, 0.0, 4.0, 4.0]])
aligned = torchvision.ops.roi_align(torch.ones(1, 1, 8, 8), boxes, 2)
assert torch.equal(aligned, torch.ones(1, 1, 2, 2)) and "torch._dynamo" not in sys.modules
from timm.layers import _fx
assert _fx.has_fx_feature_extraction
# What asked the stand-in has torch's own functions behind it.
supported = sys.modules["torchvision.ops.roi_align"].is_compile_supported
compiled = torch.compile(lambda x: x + 1, backend="eager")(torch.ones(2))
assert torch.equal(compiled, torch.full((2,), 2.0)) and torch._dynamo.__file__
from torch._dynamo.utils import is_compile_supported
assert supported("cpu") == is_compile_supported("cpu")
assert import_timm() is timm and type(sys.modules["torch._dynamo"]).__name__ == "module"
"""

EARLIER = """
import sys
import torch._dynamo as real
from swag_ray.features.timm_import import import_timm
import_timm()
assert sys.modules["torch._dynamo"] is real is sys.modules["torch"]._dynamo
assert sys.modules["torchvision.ops.roi_align"].is_compile_supported is real.utils.is_compile_supported
"""

DISABLED = """
import sys
import torch
from swag_ray.features import timm_import
with timm_import._without_compiler():
    stand_in = sys.modules["torch._dynamo"]
    later = torch.compiler.disable(lambda x: x + 1)
    assert "sympy" not in sys.modules
    counted = stand_in.utils.counters  # whatever else is asked of it is the compiler's own
    assert sys.modules["torch._dynamo"] is not stand_in
from torch._dynamo.utils import counters
assert counted is counters
assert torch.equal(torch.compile(lambda x: later(x) * 2, backend="eager")(torch.ones(1)), torch.full((1,), 4.0))
"""


def run(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr


def test_the_compiler_is_imported_by_who_needs_it_and_is_the_real_one() -> None:
    run(CODE)


def test_where_it_is_already_nothing_stands_in_for_it() -> None:
    run(EARLIER)


def test_what_was_put_off_works_under_the_compiler() -> None:
    run(DISABLED)
