"""`swag-ray serve`: checks all it is given, then Ray's replicas behind one HTTP process, until it is told to end."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from swag_ray import __version__
from swag_ray.errors import InputError, reason_of
from swag_ray.serve.token import VARIABLE, fresh_token, given_token

if TYPE_CHECKING:
    from uvicorn import Server

    from swag_ray.cluster.serving import Replicas
    from swag_ray.detector.site import Site
    from swag_ray.serve.app import Rules

PACKAGES = (
    "starlette",
    "uvicorn",
    "python_multipart",
    "prometheus_client",
    "fastapi",
)  # of the extra
DRAIN_SECONDS = 10  # for requests that are being answered when the service is told to end


@dataclass(frozen=True)
class Settings:
    """What the command line says.

    Attributes:
        host, port: to listen at; port 0 takes a free one.
        replicas: how many answer; None: one a core, or four a GPU.
        site: SITE.json; its p-values decide what is flagged.
        rate: share of normals to flag; None: the run's.
        token_file: holds the token; None: SWAG_RAY_TOKEN, or on loopback a fresh one.
        max_mb: size of the largest image.
        address: of a cluster to join.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    replicas: int | None = None
    site: Path | None = None
    rate: float | None = None
    token_file: Path | None = None
    max_mb: float = 64.0
    address: str | None = None


def serve(run_dir: str | Path, settings: Settings, say: Callable[[str], None], log: Callable[[str], None]) -> int:
    """Serves a run's detector until SIGTERM, Ctrl-C or a closed terminal (SIGHUP).

    Args:
        run_dir: run directory, or a copy of its bundle; a path or s3://.
        say: takes the lines for whoever started it.
        log: takes those of the service's log.

    Returns:
        The signal that ended it.

    Raises:
        InputError: what is wrong with the settings or the bundle, most of it before Ray starts; nothing listens then.
    """
    _check_installed()
    _check(settings)
    token = given_token(settings.token_file)
    with _listener(settings.host, settings.port) as listener:
        loopback = ipaddress.ip_address(listener.getsockname()[0]).is_loopback
        if token is None and not loopback:
            raise InputError(
                f"serve: --host {settings.host} is open to others, and there is no token",
                f"set {VARIABLE} or give --token-file",
            )
        parts, about, missing = _prepared(run_dir, settings)
        _, site, rate = parts
        name = _name(about["detector"], site, rate, listener.getsockname()[:2])
        with _replicas(parts, name, settings) as replicas:
            from swag_ray.cluster.serving import Unanswered
            from swag_ray.serve.app import Rules

            rules = Rules(
                about, missing, token or fresh_token(), most=int(settings.max_mb * 1e6), unanswered=Unanswered
            )
            with _in_words(settings.host, settings.port):
                listener.listen()  # who reads what follows may ask at once
            shown = rules.token if token is None else None
            for line in _welcome(about, listener, replicas.wanted, loopback=loopback, fresh=shown):
                say(line)
            return _listen(rules, replicas, listener, log)


def _check_installed() -> None:
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise InputError(
            f"serve: {', '.join(missing)} not installed", "install the extra: pip install 'swag-ray[serve]'"
        )


def _check(settings: Settings) -> None:
    if settings.rate is not None and not 0 < settings.rate < 1:
        raise InputError(f"--rate: {settings.rate:g} is no share of normals", "give one between 0 and 1, such as 0.05")
    if settings.replicas is not None and settings.replicas < 1:
        raise InputError("--replicas: there is one at least")
    if not 0 < settings.max_mb <= 2000:
        raise InputError(f"--max-mb: {settings.max_mb:g} is no size of an image", "give one up to 2000, such as 64")
    if not 0 <= settings.port < 65536:
        raise InputError(f"--port: {settings.port} is no port", "give one up to 65535")


@contextmanager
def _listener(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that has the place, and takes no connection yet."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except UnicodeError as error:  # of a label that is empty or too long
        raise InputError(f"--host: '{host}' is no name of a host", "give this machine's, or an address") from error
    except OSError as error:
        raise InputError(f"--host: '{host}' is no address of this machine ({reason_of(error)})") from error
    with socket.socket(family, kind, protocol) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with _in_words(host, port):
            listener.bind(place)
        yield listener


@contextmanager
def _in_words(host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"serve: cannot listen at {host}, port {port} ({reason_of(error)})", "choose another --port or --host"
        ) from error


def _prepared(run_dir: str | Path, settings: Settings) -> tuple[tuple[Any, ...], dict[str, Any], dict[str, str]]:
    """What replicas are made of, what `GET /` says, and what the bundle is too old for."""
    from swag_ray.detector.bundle import bundle_files, check_unchanged, digest_of, load_detector
    from swag_ray.detector.site import load_site
    from swag_ray.record.files import CARD_FILE
    from swag_ray.score.scorer import detector_folder

    with detector_folder(run_dir) as folder:
        digest, detector = digest_of(folder), load_detector(folder)
        files = bundle_files(folder)
        check_unchanged(folder, digest)
        card = _card(folder / CARD_FILE)
    site = load_site(settings.site, digest) if settings.site is not None else None
    rate = detector.rate if settings.rate is None else settings.rate
    missing = {
        name: f"the detector's bundle keeps no {what}; run again"
        for name, kept, what in (
            ("heatmap", detector.heat, "scale of heatmaps"), ("nearest", detector.trusted, "trusted images"),
        )
        if kept is None
    }  # fmt: skip
    about = {
        "detector": digest, "name": detector.name, "rate": rate, "site": None if site is None else site.kind,
        "heatmaps": detector.heat is not None, "nearest": detector.trusted is not None,
        "frames": detector.spec.frames, "max_mb": settings.max_mb, "version": __version__,
        "card": card,
    }  # fmt: skip
    return (files, site, rate), about, missing


def _card(path: Path) -> Any:
    """The bundle's model card without where its images lay; None where it has none, or one that cannot be read: no
    score depends on it.
    """
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        card["trained_on"].pop("places", None)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    return card


def _name(detector: str, site: Site | None, rate: float, listens: tuple[str, int]) -> str:
    """Names a service on its cluster by where it listens and by all that its answers depend on: one that is started
    again takes its own replicas over, and nobody else's.
    """
    answers = json.dumps([None if site is None else asdict(site), rate])
    digest = hashlib.sha256(answers.encode()).hexdigest()[:16]
    return "-".join(map(str, ("swag-ray", detector, digest, socket.gethostname(), *listens)))


@contextmanager
def _replicas(parts: tuple[Any, ...], name: str, settings: Settings) -> Iterator[Replicas]:
    from swag_ray.cluster.serving import replicas
    from swag_ray.serve.answer import answering

    with ExitStack() as stack:
        try:
            started = replicas(answering, parts, name=name, count=settings.replicas, address=settings.address)
            found = stack.enter_context(started)
        except InputError as error:  # it calls them by the field of a run's config
            words = (text.replace("cluster.actors", "--replicas") for text in (error.problem, error.advice))
            raise InputError(*words) from error
        yield found


def _welcome(
    about: dict[str, Any], listener: socket.socket, replicas: int, *, loopback: bool, fresh: str | None
) -> Iterator[str]:
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    count = f"{replicas} replica" + "s" * (replicas > 1)
    yield f"detector {about['detector']} of '{about['name']}' at {url}, {count}; Ctrl-C ends it"
    if not loopback:
        yield "without encryption: let no network that others use reach it but through a proxy with TLS"
    if fresh is not None:
        yield f"export {VARIABLE}={fresh}  # of this session alone"
    yield f'curl -H "Authorization: Bearer ${VARIABLE}" --data-binary @IMAGE {url}/score'


def _listen(rules: Rules, replicas: Replicas, listener: socket.socket, log: Callable[[str], None]) -> int:
    """Takes requests until a signal, answers those that are there, and returns the signal."""
    import uvicorn

    from swag_ray.serve.app import application

    config = uvicorn.Config(
        application(rules, replicas, log), http="h11", ws="none", lifespan="off", log_config=None, access_log=False,
        server_header=False, timeout_graceful_shutdown=DRAIN_SECONDS, proxy_headers=False,
    )  # fmt: skip
    server = uvicorn.Server(config)
    with _signals_noted(server) as noted:
        server.run(sockets=[listener])
    return noted[0] if noted else signal.SIGTERM


@contextmanager
def _signals_noted(server: Server) -> Iterator[list[int]]:
    """Notes the signals that end a server: those before it minds them, and those that it then sends on."""
    noted: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        noted.append(number)
        server.should_exit = True

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
        numbers.append(signal.SIGHUP)
    ours = threading.current_thread() is threading.main_thread()  # signals come to no other
    before = {number: signal.signal(number, note) for number in numbers if ours}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
