"""Plans of folders: a train and test pair, class folders, or trusted images beside unknown ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from swag_ray.errors import InputError
from swag_ray.images.folders import NESTED_GROUPS, patient_folder
from swag_ray.images.image_file import require_text
from swag_ray.images.layout import MAX_DEPTH, USUAL, check_folder, class_folders, left_out, nested_images
from swag_ray.images.places import Place, below, common_root
from swag_ray.init.patients import Film, count_patients, guess_group
from swag_ray.init.plan import (
    POOL,
    SEED,
    Guess,
    Plan,
    normal_options,
    run_name,
    sounds,
    the_normal,
    unclear,
)
from swag_ray.init.reading import guess_reading

VALIDATION = ("val", "valid", "validation", "dev")  # names of a part that is tested on where there is no test part
TEST_FRACTION = 0.2
COUNTED = 5_000  # images up to which their bytes are asked for
TWO_PATHS = "`swag-ray init TRUSTED UNKNOWN` with two folders"
TABLE = "a CSV with the columns path and role (seed, pool, test)"
Files = list[tuple[Place, str]]


@dataclass(frozen=True)
class _Set:
    """The folder that a set of images starts at: which of its sub-folders are what."""

    folder: Place
    train: str | None = None
    test: str | None = None


def plan_folder(root: Place, normal: str | None) -> Plan:
    """Plans a single folder.

    Raises:
        InputError: it holds no image, or cannot be guessed; the line names the choices.
    """
    check_folder(root, "init", "give a folder of images or a table of them")
    found = _find_set(root, normal)
    if found is None:
        raise _hopeless(root)
    folder = found.folder
    if found.train is not None and found.test is not None:
        return _divided(root, found, class_folders(folder), normal)
    folders = class_folders(folder)
    pools = [name for name in folders if sounds(name, POOL)]
    if pools:
        return _seeds_and_pool(folder, folders, None, normal)
    return _classes(root, folder, None, normal, [])


def plan_parts(places: Sequence[Place], normal: str | None, tested: Place | None = None) -> Plan:
    """Plans a folder of trusted images and one of unknown ones, by their names or in this order.

    Args:
        places: the two, and perhaps a third of test images.
        tested: folder of test images, where it is not among them.

    Raises:
        InputError: a folder without images, or one within another.
    """
    for place in places:
        check_folder(place, "init", "give folders of images")
    seed, pool, *others = places
    parts = [{name: sounds(place.name, words) for name, words in USUAL.items()} for place in (seed, pool)]
    if any(parts[0].values()) and any(parts[1].values()):
        if seed.parent == pool.parent and not others and parts[0] != parts[1]:
            return plan_folder(seed.parent, normal)
        raise unclear(f"{seed.name} and {pool.name} sound like parts of one set", ["the folder that holds both", TABLE])
    why = "the first of the folders given", "the second of them"
    if _trusted(seed.name, normal):
        why = f"{seed.name} sounds trusted", f"the other is {pool.name}"
    elif _trusted(pool.name, normal) or (sounds(seed.name, POOL) and not sounds(pool.name, POOL)):
        seed, pool = pool, seed
        why = f"{seed.name} sounds trusted, or the other unknown", f"the other is {pool.name}"
    test = others[0] if others else tested
    roots = [place for place in (seed, pool, test) if place is not None]
    _check_apart(roots)
    images = {place: _images(place) for place in roots}
    guesses = [
        Guess(
            "dataset.kind", "unlabelled", "a folder of images that are trusted and one of images nothing is known of"
        ),
        Guess("dataset.seed_root", str(seed), f"trusted, all of it normal: {why[0]}; {len(images[seed]):,} images"),
        Guess("dataset.pool_root", str(pool), f"unknown: {why[1]}; {len(images[pool]):,} images"),
    ]
    if test is not None:
        guesses += _test_guesses(test, normal, len(images[test]))
    seeds, films = _films(seed, images[seed]), _films(pool, images[pool])
    group = guess_group([*seeds, *films])
    guesses += guess_reading([*seeds, *films])
    patients = count_patients(seeds, _text(group))
    name = run_name([common_root(roots, "init"), seed])
    files = [file for found in images.values() for file in found]
    return Plan(name, (*guesses, group), len(files), len(seeds), patients, drawn=False, bytes=bytes_of(files))


def bytes_of(files: Files) -> int | None:
    """Returns the bytes of images on this machine's disks; None where there are too many to ask, or they are on s3."""
    if len(files) > COUNTED or not all(isinstance(place, Path) for place, _ in files):
        return None
    try:
        return sum(Path(str(place), name).stat().st_size for place, name in files)
    except OSError:  # gone meanwhile, or closed: who reads it says so
        return None


def _find_set(root: Place, normal: str | None) -> _Set | None:
    """The shallowest folder, up to MAX_DEPTH below the root, whose sub-folders' names say what they are."""
    level = [root]
    for _ in range(MAX_DEPTH + 1):
        further: list[Place] = []
        found: list[_Set] = []
        for folder in level:
            folders = class_folders(folder)
            one = _recognised(folder, list(folders), normal)
            if one is not None:
                found.append(one)
            further += folders.values()
        if len(found) > 1:
            names = [str(one.folder) for one in found[:3]]
            raise unclear(f"{root} holds several image sets", [f"`swag-ray init {name}`" for name in names])
        if found:
            return found[0]
        level = further
    return None


def _recognised(folder: Place, names: Sequence[str], normal: str | None) -> _Set | None:
    parts = {
        part: [name for name in names if name.casefold() in words]
        for part, words in {**USUAL, "validation": VALIDATION}.items()
    }
    tests = parts["test"] or parts["validation"]
    if len(parts["train"]) > 1 or (parts["train"] and len(tests) > 1):
        first, second = (parts["train"] if len(parts["train"]) > 1 else tests)[:2]
        raise unclear(
            f"{folder} has {first} and {second}", ["the folder that holds one train and one test part", TABLE]
        )
    if parts["train"] and tests:
        return _Set(folder, parts["train"][0], tests[0])
    trusted = the_normal(names, normal, folder) or next((name for name in names if sounds(name, SEED)), None)
    return _Set(folder) if trusted is not None else None


def _divided(root: Place, found: _Set, folders: Mapping[str, Place], normal: str | None) -> Plan:
    assert found.train is not None and found.test is not None
    train, test = folders[found.train], folders[found.test]
    held = class_folders(train)
    if any(sounds(name, POOL) for name in held):
        return _seeds_and_pool(train, held, test, normal)
    guesses = [
        Guess(f"dataset.{part}", name, "what the folder is called")
        for part, name in (("train", found.train), ("test", found.test))
        if name.casefold() not in USUAL[part]
    ]
    return _classes(root, train, test, normal, guesses)


def _seeds_and_pool(folder: Place, folders: Mapping[str, Place], test: Place | None, normal: str | None) -> Plan:
    """Trusted and unknown images that lie side by side."""
    seeds = [name for name in folders if sounds(name, SEED)] or [
        name for name in [the_normal(folders, normal, folder)] if name is not None
    ]
    pools = [name for name in folders if sounds(name, POOL)]
    for names in (seeds, pools):
        if len(names) > 1:
            options = [
                f"`swag-ray init {folders[(seeds if names is pools else names)[0]]} {folders[pools[-1]]}`",
                TABLE,
            ]
            raise unclear(f"{folder} has both {names[0]} and {names[1]}", options)
    if not seeds:
        raise unclear(
            f"{folder} has {pools[0]}, and no folder that sounds trusted", [*normal_options([*folders]), TABLE]
        )
    tests = [path for name, path in folders.items() if name.casefold() in USUAL["test"]]
    plan = plan_parts([folders[seeds[0]], folders[pools[0]]], normal, test or (tests[0] if tests else None))
    used = {seeds[0], pools[0], *(path.name for path in tests)}
    others = {name: len(nested_images(path, Counter())) for name, path in folders.items() if name not in used}
    notes = [f"not used: {name} ({count:,} images)" for name, count in others.items() if count]
    return Plan(run_name([folder]), plan.guesses, plan.images, plan.normals, plan.patients, plan.drawn, plan.bytes,
                tuple(notes))  # fmt: skip


def _classes(root: Place, train: Place, test: Place | None, normal: str | None, named: list[Guess]) -> Plan:
    """Class folders, with or without a test part."""
    parts = [part for part in (train, test) if part is not None]
    held = [{name: nested_images(path, Counter()) for name, path in class_folders(part).items()} for part in parts]
    names = list(dict.fromkeys(name for classes in held for name in classes))
    empty = {name for classes in held for name, files in classes.items() if not files}
    called = the_normal([name for name in held[0] if name not in empty], normal, train)
    if called is None:
        if not any(held[0].values()):
            raise unclear(f"{train} has no class folders with images", [TWO_PATHS, TABLE])
        options = [*normal_options([name for name in held[0] if name not in empty]), TWO_PATHS]
        raise unclear(f"no class of {train} sounds normal", options)
    folded = {called.casefold(): called}
    for name in names:
        if name not in empty:
            folded.setdefault(name.casefold(), name)
    anomalies = list(folded.values())[1:]
    if not anomalies:
        raise unclear(f"{train} has normal images ({called}) and none beside them", [TWO_PATHS, TABLE])
    reason = "the given one" if normal is not None else "its name sounds normal"
    guesses = [
        Guess("dataset.kind", "folder", "class folders" + (f" in {train.name} and {test.name}" if test else "")),
        Guess("dataset.root", str(root), "the folder given"),
        *named,
        Guess("dataset.normal", called, f"{reason}; {len(held[0][called]):,} images to train on"),
        Guess("dataset.anomaly", anomalies, "every other class; remove those that are no anomalies"),
    ]
    if test is None:
        reason = "no test part was found: a fifth of each class, in whole groups, the same in every run"
        guesses.append(Guess("dataset.test_fraction", TEST_FRACTION, reason))
    films = {name: _films(class_folders(train)[name], files) for name, files in held[0].items()}
    training = [film for name in folded.values() for film in films.get(name, [])]
    group = guess_group(training)
    guesses += guess_reading(training)
    _check_nested(films, called, group, train)
    share = 1.0 if test is not None else 1 - TEST_FRACTION
    trusted = films[called]
    notes = [f"not used: {name} is empty" for name in sorted(empty)]
    files = [file for classes in held for name, found in classes.items() if name.casefold() in folded for file in found]
    patients = int(share * count_patients(trusted, _text(group)))
    name = run_name([root, train])
    return Plan(name, (*guesses, group), len(files), int(share * len(trusted)), patients, drawn=True,
                bytes=bytes_of(files), notes=tuple(notes))  # fmt: skip


def _check_nested(films: Mapping[str, list[Film]], normal: str, group: Guess, train: Place) -> None:
    """Class folders are searched for images below them only where these folders are patients."""
    nested = [film for film in films[normal] if film.folder is not None]
    if group.value not in NESTED_GROUPS and 2 * len(nested) > len(films[normal]):
        raise unclear(
            f"{train / normal} has its images in sub-folders, which look like no patients",
            ["moving them up", TABLE, TWO_PATHS],
        )


def _test_guesses(test: Place, normal: str | None, images: int) -> list[Guess]:
    """The test folder, and which of its class folders are what."""
    folders = class_folders(test)
    called = the_normal(folders, normal, test)
    guesses = [Guess("dataset.test_root", str(test), f"to test on; {images:,} images")]
    if called is None:
        return guesses
    guesses.append(Guess("dataset.normal", called, "the class of the test images whose name sounds normal"))
    others = [name for name in folders if name != called and nested_images(folders[name], Counter())]
    if others:
        guesses.append(Guess("dataset.anomaly", others, "every other class of the test images"))
    return guesses


def _trusted(name: str, normal: str | None) -> bool:
    return sounds(name, SEED) or the_normal([name], normal, name) is not None


def _check_apart(roots: Sequence[Place]) -> None:
    for root in roots:
        for holder in roots:
            try:
                within = root is not holder and below(holder, root) is not None
            except ValueError:
                continue
            if within:
                raise InputError(f"init: {root} lies in {holder}", "give folders apart from each other")


def _images(folder: Place) -> Files:
    tally: Counter[str] = Counter()
    files = nested_images(folder, tally, "init")
    if not files:
        seen = f"no image, only {held}" if (held := left_out(tally)) else "no image"
        raise InputError(f"init: {folder} holds {seen}", "give a folder of images or a table of them")
    return files


def _films(top: Place, files: Files) -> list[Film]:
    for folder, name in files:
        require_text(folder, name, "init")
    patients = {folder: patient_folder(top, folder) for folder in {folder for folder, _ in files}}
    return [Film(patients[folder], name, folder) for folder, name in files]


def _text(group: Guess) -> str | None:
    return group.value if isinstance(group.value, str) else None


def _hopeless(root: Place) -> InputError:
    """A folder that nothing says which images of are normal."""
    images = len(_images(root))
    names = [name for name, path in class_folders(root).items() if nested_images(path, Counter())]
    if len(names) < 2:
        return unclear(f"nothing says which of the {images:,} images in {root} are normal", [TWO_PATHS, TABLE])
    shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
    options = [*normal_options(names[:2]), TWO_PATHS, TABLE] if len(names) <= 20 else [TWO_PATHS, TABLE]
    return unclear(f"no folder of {root} sounds normal ({shown})", options)
