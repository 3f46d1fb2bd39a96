"""Imports timm without torch's compiler, which takes a third of a command's seconds and which nobody here uses.

timm imports torchvision, and the two ask `torch._dynamo` for two functions as they are imported, to be called where
code is compiled. Meanwhile a module stands in for it that has these two alone: called, they import the compiler and ask
there. Whatever else is asked of the stand-in imports the compiler at once, and afterwards it is gone: who compiles in
this process later, here or in another's code, has the real one, and timm and torchvision as they always are.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from types import FunctionType, ModuleType
from typing import Any

PACKAGE, UTILS = "torch._dynamo", "torch._dynamo.utils"


def import_timm() -> Any:
    """Returns timm."""
    with _without_compiler():
        return importlib.import_module("timm")


@contextmanager
def _without_compiler() -> Iterator[None]:
    if not sys.modules.keys().isdisjoint({PACKAGE, "torchvision", "timm"}):  # it is here, or nobody asks for it
        yield
        return
    importlib.import_module("torch")  # itself imports the real one where it must
    stand_ins = {name: _StandIn(name) for name in (PACKAGE, UTILS) if PACKAGE not in sys.modules}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        _remove(stand_ins)


class _StandIn(ModuleType):
    """A module of the compiler that imports it when it is asked for something."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []  # as a package has it, so that its modules can be asked for

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # `inspect` asks every module for its file
            raise AttributeError(f"module '{self.__name__}' has no attribute '{name}'")
        later = {(UTILS, "is_compile_supported"): _is_compile_supported, (PACKAGE, "disable"): _disable}
        return later.get((self.__name__, name)) or getattr(_real(self.__name__), name)


def _is_compile_supported(*arguments: Any, **options: Any) -> Any:
    """Torch's function of this name, imported when it is called."""
    return _real(UTILS).is_compile_supported(*arguments, **options)


def _disable(fn: Any = None, *arguments: Any, **options: Any) -> Any:
    """Torch's `disable`: a function that is not compiled. It becomes one when it is first called."""
    if not isinstance(fn, FunctionType):
        return _real(PACKAGE).disable(fn, *arguments, **options)

    @wraps(fn)
    def not_compiled(*own: Any, **options_of_own: Any) -> Any:
        return _real(PACKAGE).disable(fn, *arguments, **options)(*own, **options_of_own)

    return not_compiled


def _real(name: str) -> Any:
    _remove({name: module for name in (PACKAGE, UTILS) if isinstance(module := sys.modules.get(name), _StandIn)})
    return importlib.import_module(name)


def _remove(stand_ins: dict[str, Any]) -> None:
    for name, module in stand_ins.items():
        if sys.modules.get(name) is module:
            del sys.modules[name]
