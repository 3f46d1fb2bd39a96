"""Run directories on `s3://`: worked on in a folder here, sent there when they are whole.

A run is claimed, checked and written as any other, in a local folder that stands for the address; the address alone
says what a run is and whether it is complete. `config.yaml` goes there first, as the claim, and `metrics.json` last.
Two machines that run the same config to one address end with the same files; nothing keeps a second one out.
"""

from __future__ import annotations

import posixpath
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pyarrow.fs import FileSelector

from swag_ray.errors import InputError, StorageError
from swag_ray.record.directory import locked
from swag_ray.record.files import (
    CONFIG_FILE,
    DETECTOR_FOLDER,
    METRICS_FILE,
    PLOTS_FOLDER,
    PROFILE_FILE,
    explain_write_errors,
)
from swag_ray.store.stages import digest
from swag_ray.store.store import Store

HERE = "~/.cache/swag-ray/runs"

OWN_FOLDERS = (DETECTOR_FOLDER, PLOTS_FOLDER)  # what is there and not in the run as it ended is of an earlier one


def is_remote(place: str | Path) -> bool:
    """Whether this is an address; a Path has lost one of its slashes."""
    return bool(re.match(r"[a-z0-9]+://|s3:/", str(place)))


@dataclass(frozen=True)
class RunFolder:
    """Where a run works.

    Attributes:
        path: the folder.
        remote: the address that it stands for, None where it is the run directory itself.
    """

    path: Path
    remote: Store | None = None

    @property
    def shown(self) -> str:
        """The run directory, as the user gave it."""
        return str(self.path) if self.remote is None else plain_address(self.remote)

    @contextmanager
    def uploaded(self) -> Iterator[None]:
        """Claim the address, and send the run there once the block is through.

        Raises:
            StorageError: the address cannot be written; what was computed is in the store.
        """
        if self.remote is None:
            yield
            return
        fresh = not self.remote.exists(self.remote.path(CONFIG_FILE))
        self.send(self.remote, CONFIG_FILE)
        try:
            yield
        except StorageError:
            raise
        except InputError:
            if fresh:  # as in a local folder: whoever mends the config must not find it taken
                self.remote.delete(self.remote.path(CONFIG_FILE))
            raise
        self._send_all(self.remote)

    def _send_all(self, remote: Store) -> None:
        remote.delete(remote.path(METRICS_FILE))  # without it, nothing there looks complete
        names = {p.relative_to(self.path).as_posix() for p in self.path.rglob("*") if p.is_file()}
        for folder in OWN_FOLDERS:
            for info in remote.files(folder):
                if posixpath.relpath(info.path, remote.base) not in names:
                    remote.delete(info.path)
        for name in sorted(names - {METRICS_FILE}):
            self.send(remote, name)
        self.send(remote, METRICS_FILE)

    def send(self, remote: Store, name: str) -> None:
        """Put one file of the folder there."""
        data = (self.path / name).read_bytes()
        try:
            remote.write_bytes(remote.path(name), data)
        except OSError as error:
            raise remote.storage_error(error) from error


@contextmanager
def run_folder(out: str | Path) -> Iterator[RunFolder]:
    """The folder to work in for a run directory that may be an address.

    Raises:
        InputError: no such bucket, or the address holds something else; nothing is touched then.
    """
    if not is_remote(out):
        yield RunFolder(Path(out))
        return
    remote = remote_store(out, "--out")
    here = Path(HERE).expanduser() / digest(plain_address(remote), remote.root)
    with _named(remote, here / "run", here):
        with explain_write_errors(here):
            here.mkdir(parents=True, exist_ok=True)
        with locked(here):
            with explain_write_errors(here):
                shutil.rmtree(here / "run", ignore_errors=True)  # the address says what there is, not what was here
                (here / "run").mkdir()
                found = _fetch(remote, here / "run", (CONFIG_FILE, PROFILE_FILE))
            if CONFIG_FILE not in found:
                _refuse_strangers(remote)
            yield RunFolder(here / "run", remote)


@contextmanager
def local_copy(place: str | Path, called: str, *wanted: str) -> Iterator[Path]:
    """A run directory to read: itself, or a passing copy of those of its files that are wanted (`plots/`: a folder).

    Raises:
        InputError: the address holds none of them, or cannot be read.
    """
    if not is_remote(place):
        yield Path(place)
        return
    remote = remote_store(place, called)
    with tempfile.TemporaryDirectory(prefix="swag-ray-") as name, _named(remote, Path(name)):
        with explain_write_errors(Path(name)):
            found = _fetch(remote, Path(name), wanted)
        if not found:
            more = f" and {len(wanted) - 3} more" if len(wanted) > 3 else ""
            names = ", ".join(wanted[:3]) + more
            raise InputError(f"{called}: '{plain_address(remote)}' holds no run (none of {names})")
        yield Path(name)


def remote_store(place: str | Path, called: str) -> Store:
    return Store(re.sub("^s3:/+", "s3://", str(place)), called)


def plain_address(remote: Store) -> str:
    return f"s3://{remote.base}"


def _fetch(remote: Store, folder: Path, wanted: tuple[str, ...]) -> list[str]:
    """Copy what is there of the wanted files and folders; their names."""
    names: list[str] = []
    for name in wanted:
        folder_of = remote.files(name.rstrip("/")) if name.endswith("/") else None
        names += [name] if folder_of is None else [posixpath.relpath(info.path, remote.base) for info in folder_of]
    found = []
    for name in names:
        try:
            data = remote.read_bytes(remote.path(name))
        except FileNotFoundError:
            continue
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
        found.append(name)
    return found


def _refuse_strangers(remote: Store) -> None:
    try:
        held = remote.fs.get_file_info(FileSelector(remote.base, allow_not_found=True))
    except OSError as error:
        raise remote.storage_error(error, "read") from error
    if held:
        name = min(info.base_name for info in held)
        raise InputError(
            f"--out: '{plain_address(remote)}' holds something else ('{name}')", "choose an empty or new one"
        )


@contextmanager
def _named(remote: Store, *folders: Path) -> Iterator[None]:
    """Complaints about the folder here name the address that it stands for; what fills a disk here is told as it is."""
    try:
        yield
    except StorageError:
        raise
    except InputError as error:
        problem, advice = error.problem, error.advice
        for folder in folders:
            problem, advice = (text.replace(str(folder), plain_address(remote)) for text in (problem, advice))
        raise InputError(problem, advice) from error
