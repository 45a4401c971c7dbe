"""Whether DVC's objects are what their names say: python workflow/cache.py check [--remote NAME].

An object is named by the MD5 of its bytes. DVC takes a read-only file of its cache at its name and hands it out unread;
likewise what a remote holds, unless the remote's `verify` is set. This reads every object and changes none.
"""

import argparse
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterator

from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc_data.hashfile.db import HashFileDB
from tqdm import tqdm

OBJECT = re.compile(r"[0-9a-f]{32}(\.dir)?")
IN_CACHE = "delete {files}, then run `dvc pull` and `dvc checkout --relink`, or `dvc repro`"
ON_REMOTE = "delete {files}, then run `dvc push` where the cache is whole"


def is_whole(store: HashFileDB, name: str) -> bool:
    """Whether an object's bytes have the MD5 it is named by."""
    digest = hashlib.md5(usedforsecurity=False)
    with store.fs.open(store.oid_to_path(name), "rb") as handle:
        while chunk := handle.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest() == name.removesuffix(".dir")


def find_damaged(store: HashFileDB) -> list[str]:
    """Names of the objects whose bytes are others, in order; what an interrupted transfer left has no object's name."""
    names = sorted(name for name in store.all() if OBJECT.fullmatch(name))
    return [name for name in tqdm(names, unit="object", desc="hashed", disable=None) if not is_whole(store, name)]


def read_listing(stores: tuple[HashFileDB, ...], name: str) -> list[dict[str, str]]:
    """`md5` and `relpath` of a folder's files, from the first store that holds the folder's listing whole."""
    for store in stores:
        if store.exists(name) and is_whole(store, name):
            with store.fs.open(store.oid_to_path(name), "rb") as handle:
                return json.loads(handle.read())
    return []


def tracked(repo: Repo, *stores: HashFileDB) -> Iterator[tuple[str, str, str]]:
    """What dvc.lock tracks: an object, the path it stands for, the listing that names it ('' for an output's own)."""
    for out in repo.index.outs:
        name = out.hash_info.value or ""
        yield name, f"{out} (the list of its files)" if name.endswith(".dir") else str(out), ""
        for file in read_listing(stores, name) if name.endswith(".dir") else ():
            yield file["md5"], f"{out}/{file['relpath']}", name


def describe(repo: Repo, store: HashFileDB, damaged: list[str]) -> Iterator[str]:
    """One line for each damaged object: the paths it stands for, the files to delete and what makes them again."""
    cache = repo.cache.local
    paths, listings = defaultdict(list), defaultdict(set)
    for name, path, listing in tracked(repo, store, cache):
        paths[name].append(path)
        listings[name].update({listing} - {""})
    for name in damaged:
        # A remote that holds a folder's listing is taken to hold its files: DVC would not send them again.
        bad = [name] if store is cache else [name, *sorted(listings[name])]
        files = [store.fs.unstrip_protocol(store.oid_to_path(item)) for item in bad]
        remedy = (IN_CACHE if store is cache else ON_REMOTE).format(files=" and ".join(files))
        yield f"damaged: {', '.join(paths[name]) or 'no path of this commit'}; {remedy}"


def main() -> int:
    """0 where every object is whole, 1 where one is not, 2 where they could not be read."""
    parser = argparse.ArgumentParser(description="Read every object of DVC's cache and name the damaged ones.")
    reading = parser.add_subparsers(required=True).add_parser("check", help="compare each object with its name")
    reading.add_argument("--remote", metavar="NAME", help="a remote's objects instead; they are all transferred")
    remote = parser.parse_args().remote
    try:
        with Repo() as repo:
            store = repo.cloud.get_remote_odb(remote, "check") if remote else repo.cache.local
            damaged = find_damaged(store)
            print(*(describe(repo, store, damaged) if damaged else ["every object is whole"]), sep="\n")
    except (DvcException, OSError) as error:
        parser.exit(2, f"cache.py: {error}\n")
    return 1 if damaged else 0


if __name__ == "__main__":
    raise SystemExit(main())
