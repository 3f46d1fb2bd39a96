"""Run directories on `s3://`: worked on in a folder here, sent there when they are whole.

A run is claimed, checked and written as any other, in a local folder that stands for the address; the address alone
says what a run is and whether it is complete. `config.yaml` goes to a new one first, as the claim, and `metrics.json`
last. An address has no lock: before a run is sent, `config.yaml` there is read again, and where another run has taken
the address meanwhile, nothing of that is touched. Two machines that run the same config end with the same files.
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

from swag_ray.config import Config, load_config, to_yaml
from swag_ray.errors import InputError, StorageError
from swag_ray.record.directory import FolderBusy, claim_held, held, locked
from swag_ray.record.files import (
    CARD_FILE,
    CARD_TEXT_FILE,
    CHANGES_FILE,
    CONFIG_FILE,
    DETECTOR_FOLDER,
    METRICS_FILE,
    PLOTS_FOLDER,
    POOL_FILE,
    PROFILE_FILE,
    REPORT_FILE,
    explain_write_errors,
    write_bytes,
)
from swag_ray.record.run_directory import check_run_directory, difference, run_directory, with_controls_there
from swag_ray.store.stages import digest
from swag_ray.store.store import Store
from swag_ray.system.files import make_folders

LOCAL_COPIES = "~/.cache/swag-ray/runs"

OWN_FOLDERS = (DETECTOR_FOLDER, PLOTS_FOLDER)  # what is there and not in the run as it ended is of an earlier one


def is_remote(place: str | Path) -> bool:
    """Whether this is an address; a Path has lost one of its slashes."""
    return bool(re.match(r"[a-z0-9]+://|s3:/", str(place)))


@dataclass(frozen=True)
class RunFolder:
    """Where a run works.

    Attributes:
        path: the folder.
        config: what to carry out there.
        remote: the address that the folder stands for, None where it is the run directory itself.
        before: what claimed the address when it was looked at, None where nothing did.
    """

    path: Path
    config: Config
    remote: Store | None = None
    before: bytes | None = None

    @property
    def shown(self) -> str:
        """The run directory, as the user gave it."""
        return str(self.path) if self.remote is None else plain_address(self.remote)

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Says whose the folder is, while the block works. A finished run keeps its own claim until it is replaced.

        Raises:
            InputError: another run has taken the address.
            StorageError: it cannot be written; what was computed is in the store.
        """
        if (self.path / METRICS_FILE).exists():
            yield
            return
        with claim_held(self.path, CONFIG_FILE, to_yaml(self.config)):
            if self.remote is None:
                yield
                return
            self._refuse_if_overtaken(self.remote)
            send(self.remote, self.path, CONFIG_FILE)
            try:
                self._refuse_if_overtaken(self.remote)
                yield
            except StorageError:
                raise
            except InputError:
                # As in a local folder: whoever mends the config must not find it taken.
                if self.before is None and _read(self.remote, CONFIG_FILE) == to_yaml(self.config).encode():
                    self.remote.delete(self.remote.path(CONFIG_FILE))
                raise

    def send_results(self) -> None:
        """Puts all that the folder holds to the address, if it stands for one, the figures last.

        Raises:
            InputError: another run has taken the address; nothing there is touched.
            StorageError: it cannot be written.
        """
        remote = self.remote
        if remote is None:
            return
        self._refuse_if_overtaken(remote)
        # Without figures and report nothing there looks complete; changes are those of a run that may have had none.
        for name in (METRICS_FILE, REPORT_FILE, CHANGES_FILE):
            remote.delete(remote.path(name))
        names = {p.relative_to(self.path).as_posix() for p in self.path.rglob("*") if p.is_file()}
        for folder in OWN_FOLDERS:
            for info in remote.files(folder):
                if posixpath.relpath(info.path, remote.base) not in names:
                    remote.delete(info.path)
        for name in sorted(names - {METRICS_FILE}):
            send(remote, self.path, name)
        send(remote, self.path, METRICS_FILE)

    def send_report(self) -> None:
        """Puts page, plots and model cards to the address, if the folder stands for one."""
        if self.remote is not None:
            send_report(self.remote, self.path)

    def _refuse_if_overtaken(self, remote: Store) -> None:
        there = _read(remote, CONFIG_FILE)
        if there is None or there in (self.before, to_yaml(self.config).encode()):
            return
        with tempfile.TemporaryDirectory(prefix="swag-ray-") as name:
            (Path(name) / CONFIG_FILE).write_bytes(there)
            try:
                field = difference(load_config(Path(name) / CONFIG_FILE), self.config)
            except InputError:
                field = f"its {CONFIG_FILE} cannot be read"
        if field:
            raise InputError(
                f"--out: another run has taken '{plain_address(remote)}' meanwhile ({field})",
                "choose another address; what was computed is in the store",
            )


def send(remote: Store, folder: Path, name: str) -> None:
    """Puts one file of a folder to the address.

    Raises:
        StorageError: it cannot be written there.
    """
    data = (folder / name).read_bytes()
    try:
        remote.write_bytes(remote.path(name), data)
    except OSError as error:
        raise remote.storage_error(error) from error


def send_report(remote: Store, folder: Path) -> None:
    """Puts a run's page, plots and model cards to the address."""
    places = (folder, folder / DETECTOR_FOLDER)
    cards = [path for at in places for name in (CARD_FILE, CARD_TEXT_FILE) if (path := at / name).exists()]
    for path in (*sorted((folder / PLOTS_FOLDER).glob("*.svg")), *cards, folder / REPORT_FILE):
        send(remote, folder, path.relative_to(folder).as_posix())


@contextmanager
def run_folder(out: str | Path | None, config: Config, overwrite: bool = False) -> Iterator[RunFolder]:
    """The folder to work in for a run directory that may be an address, held alone on this machine.

    Args:
        out: None for the first folder of runs/NAME, runs/NAME-2, ... that the config may have.
        overwrite: a run of another config may be replaced.

    Raises:
        InputError: no such bucket, or the place holds something else; nothing is touched then.
    """
    if out is None or not is_remote(out):
        with run_directory(None if out is None else Path(out), config, overwrite) as directory:
            yield RunFolder(directory, config if overwrite else with_controls_there(directory, config))
        return
    remote = remote_store(out, "--out")
    here = Path(LOCAL_COPIES).expanduser() / digest(plain_address(remote), remote.root)
    copy = here / "run"
    with _named(remote, copy, here), held(here):
        _remove_left_copies(here.parent)
        try:
            with explain_write_errors(here):
                shutil.rmtree(copy, ignore_errors=True)  # the address says what there is, not what was here
                make_folders(copy)
                kept = (CONFIG_FILE, METRICS_FILE, PROFILE_FILE, POOL_FILE, CHANGES_FILE)
                found = _fetch(remote, copy, kept)
            if CONFIG_FILE not in found:
                _refuse_strangers(remote)
            check_run_directory(copy, config, overwrite)
            before = (copy / CONFIG_FILE).read_bytes() if CONFIG_FILE in found else None
            wanted = config if overwrite else with_controls_there(copy, config)
            yield RunFolder(copy, wanted, remote, before)
        finally:
            shutil.rmtree(copy, ignore_errors=True)  # it holds X-rays, and all of it is there by now or worth nothing


def _remove_left_copies(folder: Path) -> None:
    """Removes the copies of runs that were killed: those in which nobody is at work."""
    for left in folder.glob("*/run"):
        try:
            with locked(left.parent):
                shutil.rmtree(left, ignore_errors=True)
        except (FolderBusy, StorageError):
            continue


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
    """Returns the s3:// folder of a run as a store; `called` is the option that named it."""
    return Store(re.sub("^s3:/+", "s3://", str(place)), called)


def plain_address(remote: Store) -> str:
    """Returns a folder's address without server and credentials."""
    return f"s3://{remote.base}"


def _read(remote: Store, name: str) -> bytes | None:
    try:
        return remote.read_bytes(remote.path(name))
    except FileNotFoundError:
        return None


def _fetch(remote: Store, folder: Path, wanted: tuple[str, ...]) -> list[str]:
    """Copy what is there of the wanted files and folders; their names."""
    names: list[str] = []
    for name in wanted:
        folder_of = remote.files(name.rstrip("/")) if name.endswith("/") else None
        names += [name] if folder_of is None else [_name_of(remote, info.path) for info in folder_of]
    found = []
    for name in names:
        data = _read(remote, name)
        if data is None:
            continue
        make_folders((folder / name).parent)
        write_bytes(folder / name, data)
        found.append(name)
    return found


def _name_of(remote: Store, path: str) -> str:
    """The name of a listed object as a path in a folder here. A bucket's names are whatever somebody wrote."""
    if ".." in path.split("/"):
        raise InputError(
            f"{remote.called}: '{plain_address(remote)}' holds an object whose name leads out of it ('{path}')",
            "remove that object; no run writes such a name",
        )
    return posixpath.relpath(path, remote.base)


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
