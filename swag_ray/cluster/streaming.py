"""Streams pieces of work through a pool of Ray Data actors: few are under way at a time, and what they give comes back
in any order.

`stream_rows` is the pool, for an actor class that makes rows; `stream_chunks` has actors do any work on chunks.
"""

from __future__ import annotations

import pickle
import threading
import uuid
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import Any, TypeAlias, cast

import numpy as np

from swag_ray.cluster.attempts import LOOK_SECONDS, StartWatch, counted, forget_all
from swag_ray.cluster.capacity import Bundle, actor_options
from swag_ray.cluster.own_gpus import keep_to_own_gpus
from swag_ray.cluster.session import Session
from swag_ray.errors import InputError, StorageError
from swag_ray.system.allocator import keep_freed_memory
from swag_ray.system.device import FEWER, shortage
from swag_ray.system.threads import keep_to_one_thread

LOOP_SECONDS = 5.0  # for Ray Data's loop to notice that it has ended
LOCATIONS = "ActorLocationTracker"  # namespace of the actor that tells Ray Data's loop on which nodes its others run

Work: TypeAlias = Callable[[Any], Any]
Chunk: TypeAlias = tuple[int, str, Any]  # its number, its name for people, what the work is given


def stream_chunks(
    make: Callable[[Any], Work], shared: Any, chunks: Sequence[Chunk], session: Session
) -> Generator[tuple[int, Any]]:
    """Yields (number, result) of every chunk as they come, in any order.

    A chunk whose actor dies is done again, by another or by the same actor started anew, but not without end.

    Args:
        make: called once in each actor with `shared`; returns the work. Importable there.
        shared: goes to the object store once.
        chunks: each is small, and so are its results: they pass through this process.
        session: the Ray to work on; it says how many actors there are and what each of them gets.

    Raises:
        InputError: of the work, or a chunk killed its actors too often, or actors cannot start.
    """
    import ray

    stream = f"stream {uuid.uuid4().hex}"
    reference = ray.put(shared)  # kept until the end: an actor that is started again asks for it
    with closing(stream_rows(ChunkActor, (stream, make, [reference]), _Items(chunks), session, stream)) as rows:
        for row in rows:
            yield int(row["number"]), pickle.loads(row["result"])


class _Items(Sequence[dict[str, Any]]):
    """Chunks as an actor is handed them, each made when it is asked for."""

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        self.chunks = chunks

    def __len__(self) -> int:
        return len(self.chunks)

    def __getitem__(self, place: Any) -> Any:
        number, name, chunk = self.chunks[place]
        # As bytes: a column of Arrow's would hold neither a path nor a name of another encoding.
        return {"number": number, "name": name, "chunk": pickle.dumps(chunk)}


class ChunkActor:
    """An actor that does the same work on chunk after chunk, with one thread for arithmetic.

    Args:
        stream: names this stream among those of the job.
        make: makes the work.
        shared: reference of what it is made of, in a list: by itself Ray would hand on the value.
    """

    def __init__(self, stream: str, make: Callable[[Any], Work], shared: list[Any]) -> None:
        import ray

        keep_to_own_gpus()
        keep_to_one_thread()
        keep_freed_memory()
        self.stream = stream
        self.refused: InputError | None = None
        try:
            self.work = make(ray.get(shared[0]))
        except InputError as error:  # a constructor that raises is only started again
            self.refused = error

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Does the work on the one chunk of a batch."""
        (number,), (name,), (chunk,) = batch["number"], batch["name"], batch["chunk"]
        result, error = b"", self.refused
        if error is None:
            try:
                with counted(f"{self.stream} {number}", str(name), FEWER):
                    result = pickle.dumps(self.work(pickle.loads(chunk)))
            except InputError as found:
                error = found
            except (MemoryError, RuntimeError) as found:
                error = shortage(found, str(name))
        return {"number": np.array([number]), "result": np.array([result], object), **complaint_columns([error])}


def complaint_columns(errors: Sequence[InputError | None]) -> dict[str, Any]:
    """Returns what the user must mend as columns of a batch, which `stream_rows` raises again: text travels between
    actors, whatever else an exception holds on to.
    """
    return {
        "problem": np.array([error.problem if error else "" for error in errors]),
        "advice": np.array([error.advice if error else "" for error in errors]),
        "storage": np.array([isinstance(error, StorageError) for error in errors]),
    }


def stream_rows(
    actor: type[Any], arguments: tuple[Any, ...], items: Sequence[Any], session: Session, job: str, per_call: int = 1
) -> Generator[dict[str, Any]]:
    """Yields the rows that the actors of a pool make of items, in any order.

    Args:
        actor: class of the actors; called with a batch of items it returns columns, among them `complaint_columns`.
        arguments: of its constructor.
        items: what goes to the actors; made one by one when their turn comes.
        session: the Ray to work on.
        job: prefix of the keys under which the actors count their attempts.
        per_call: items of a batch.

    Raises:
        InputError: an actor's complaint, or actors cannot start.
    """
    import ray.data

    bundle = session.extractor_bundle
    calls = -(-len(items) // per_call)
    first = min(session.extractors, calls)
    # Of a list, Ray Data asks for its length and then for one item after the other, which go to the object store.
    rows = ray.data.from_items(cast(list[Any], items), override_num_blocks=calls).map_batches(
        actor,
        fn_constructor_args=arguments,
        batch_size=per_call,
        # Nodes that come later serve what is left, where nobody said how many may.
        compute=ray.data.ActorPoolStrategy(
            min_size=1, initial_size=first, max_size=calls if session.elastic else first
        ),
        **actor_options(bundle),
    )
    given_up: list[threading.Thread] = []
    rows.context.custom_execution_callback_classes = [_watching(bundle, given_up)]
    try:
        for row in rows.iter_rows():
            if row["problem"]:
                raise (StorageError if row["storage"] else InputError)(str(row["problem"]), str(row["advice"]))
            yield row
    finally:
        for loop in given_up:
            _end(loop)
        forget_all(job)


def _end(loop: threading.Thread) -> None:
    """Waits for Ray Data's loop: left alive it would ask a Ray that is no more, and Ray would then end our process
    before it has said anything. It may itself be waiting for an actor of Ray Data's that cannot start: it is ended.
    """
    import ray

    loop.join(LOOP_SECONDS)
    if not loop.is_alive():
        return
    for actor in ray.util.list_named_actors(all_namespaces=True):
        if actor["namespace"] == LOCATIONS:
            ray.kill(ray.get_actor(actor["name"], LOCATIONS))
    loop.join(LOOP_SECONDS)


def _watching(bundle: Bundle, given_up: list[threading.Thread]) -> type[Any]:
    """What ends the pipeline when its actors cannot start, and notes the thread that ran it. In a thread of its own,
    because Ray Data's loop may itself wait for a process that cannot start.
    """
    from ray.data._internal.execution.execution_callback import ExecutionCallback

    class Watching(ExecutionCallback):
        def before_execution_starts(self, executor: Any) -> None:
            self.ended = threading.Event()
            threading.Thread(target=self.watch, args=(executor,), daemon=True).start()

        def watch(self, executor: Any) -> None:
            watch = StartWatch(bundle)
            while not self.ended.wait(LOOK_SECONDS):
                try:
                    watch.look()
                except InputError as error:
                    given_up.append(executor)
                    _, output = executor._output_node
                    output.mark_finished(error)  # it comes out where the rows are read
                    return
                except Exception:  # Ray is going away, and so does what is watched
                    return

        def after_execution_succeeds(self, executor: Any) -> None:
            self.ended.set()

        def after_execution_fails(self, executor: Any, error: Exception) -> None:
            self.ended.set()

    return Watching
