"""Sets from every source there is, over a real local server where the source is public."""

import errno
import functools
import hashlib
import io
import os
import shutil
import tarfile
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants
from PIL import Image
from serving import Fault, Server
from tiny_flux import save_tiny_flux

from fsr import generate as generation
from fsr import sources
from fsr.config import Generate
from fsr.datasets import content_sha256, manifest_files, read_registry
from fsr.files import read_json, sha256_of_file

HUB_FILE = "/datasets/eugenesiow/Set5/resolve/main/data/Set5_HR.tar.gz"
SET5 = tuple(f"Set5_HR/{name}.png" for name in ("baby", "bird", "butterfly"))
DIV2K = ("DIV2K_valid_HR/0801.png", "DIV2K_valid_HR/0802.png")
BSDS500 = (
    *(f"BSR/BSDS500/data/images/{file}.png" for file in ("train/2092", "train/302003", "test/2018", "val/3096")),
    "BSR/bench/data/images/2018.png",
)


@pytest.fixture(autouse=True)
def _here_alone(monkeypatch):
    """No mirror, no proxy, and no pauses between attempts."""
    monkeypatch.delenv("FSR_MIRROR", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(sources, "download", functools.partial(sources.download, pause=0.001, timeout=5.0))
    monkeypatch.setattr(time, "sleep", lambda _: None)


@pytest.fixture
def server():
    with Server() as running:
        yield running


@pytest.fixture
def hub(server, monkeypatch, tmp_path):
    """The server as the hub's client sees the hub, and an empty cache."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    return server


@pytest.fixture
def registry(root):
    return read_registry(root / "data/datasets.csv")


@pytest.fixture
def place(tmp_path) -> dict[str, Path]:
    """Where the set goes, and where downloads are kept."""
    return {"manifest": tmp_path / "raw/set/manifest.json", "work": tmp_path / "work"}


def png(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def pictures(names: tuple[str, ...]) -> dict[str, bytes]:
    return {name: png(index) for index, name in enumerate(names)}


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, body in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body)
    return folder


def tar_gz(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as opened:
        for name, body in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            opened.addfile(info, io.BytesIO(body))
    return buffer.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        for name, body in files.items():
            opened.writestr(name, body)
    return buffer.getvalue()


def content_of(folder: Path, files: dict[str, bytes]) -> str:
    return content_sha256([write(folder, files) / name for name in files])[0]


def served(server, dataset, path, archive, *faults, vouched=True, **changes):
    """The set as if this archive on the server were it."""
    known = {"sha256": hashlib.sha256(archive).hexdigest(), "bytes": len(archive)} if vouched else {}
    url = server.put(path, archive, *faults)
    return replace(dataset, source="http", location=(url,), **known, **{"content": "", "images": 3} | changes)


def one_line(caught) -> str:
    assert "\n" not in str(caught.value)
    return str(caught.value)


def assert_in_place(place, names: tuple[str, ...], source: str = "download") -> dict:
    """These images are in place, from this source, and no unpacked copy is left."""
    manifest = read_json(place["manifest"])
    assert (manifest["available"], manifest["source"], manifest["reason"]) == (True, source, "")
    assert {file.stem for file in manifest_files(place["manifest"])} == set(names)
    assert [file for file in place["work"].rglob("*") if file.suffix == ".png" or "unpack" in file.name] == []
    return manifest


@pytest.mark.parametrize(
    ("name", "pack", "file", "members", "kept"),
    [
        ("Set5", tar_gz, "/Set5_HR.tar.gz", SET5, ("baby", "bird", "butterfly")),
        ("DIV2K_valid", zipped, "/DIV2K_valid_HR.zip", DIV2K, ("0801", "0802")),
        ("BSDS500", tar_gz, "/BSR_bsds500.tgz", BSDS500, ("2018", "2092")),
    ],
)
def test_a_public_set_is_fetched_over_a_cut_connection_unpacked_checked_and_tidied_up(
    registry, params, place, server, tmp_path, name, pack, file, members, kept
):
    files = pictures(members)
    archive = pack(files | {"README.txt": b"read me", "LR/x.mat": b"no image"})
    wanted = {member: body for member, body in files.items() if Path(member).stem in kept and "bench" not in member}
    content = content_of(tmp_path / "reference", wanted)
    half = Fault(cut=len(archive) // 2)
    dataset = served(server, registry[name], file, archive, half, content=content, images=len(kept))
    sources.obtain(dataset, **place, data=params.data)
    assert [request.start for request in server.asked(file)] == [0, len(archive) // 2]
    manifest = assert_in_place(place, kept)
    assert manifest["verified"]
    assert {file.name: file.read_bytes() for file in manifest_files(place["manifest"])} == {
        Path(member).name: body for member, body in wanted.items()
    }


def test_a_set_is_fetched_from_the_hub_and_kept_in_its_cache(registry, params, place, hub, tmp_path):
    files = pictures(SET5)
    archive = tar_gz(files)
    hub.put_hub_file("eugenesiow/Set5", "data/Set5_HR.tar.gz", archive, etag=hashlib.sha256(archive).hexdigest())
    dataset = replace(registry["Set5"], images=3, content=content_of(tmp_path / "reference", files))
    for _ in range(2):
        sources.obtain(dataset, **place, data=params.data)
        assert assert_in_place(place, ("baby", "bird", "butterfly"))["verified"]
        place["manifest"].unlink()
    assert sum(request.method == "GET" for request in hub.asked(HUB_FILE)) == 1


def test_an_archive_is_kept_and_used_again_even_without_a_network(registry, params, place):
    with Server() as server:
        dataset = served(server, registry["Set5"], "/HR.tar.gz", tar_gz(pictures(SET5)))
        sources.obtain(dataset, **place, data=params.data)
    shutil.rmtree(place["manifest"].parent)
    sources.obtain(dataset, **place, data=params.data)
    assert_in_place(place, ("baby", "bird", "butterfly"))


@pytest.mark.parametrize("vouched", [True, False])
def test_archives_of_one_name_are_not_taken_for_each_other(registry, params, place, server, vouched):
    one = served(server, registry["Set5"], "/1/HR.zip", zipped(pictures(("a.png", "b.png", "c.png"))), vouched=vouched)
    two = served(server, registry["Set14"], "/2/HR.zip", zipped(pictures(("d.png", "e.png", "f.png"))), vouched=vouched)
    for dataset, names in ((one, "abc"), (two, "def"), (one, "abc")):
        sources.obtain(dataset, **place, data=params.data)
        assert_in_place(place, tuple(names))
    assert len(server.requests) == 2


def test_what_a_killed_run_unpacked_does_not_disturb(registry, params, place, server):
    dataset = served(server, registry["Set5"], "/HR.tar.gz", tar_gz(pictures(SET5)))
    for folder in (sources.unpacking_folder(dataset, place["work"]), place["work"] / "Set5/.unpacked.unpacking"):
        write(folder, {"Set5_HR/baby.png": b"half", "Set5_HR/stray.png": png(9), "original/other.png": png(9)})
    sources.obtain(dataset, **place, data=params.data)
    assert_in_place(place, ("baby", "bird", "butterfly"))


def test_a_wrong_byte_in_a_registered_archive_is_refused(registry, params, place, server):
    archive = tar_gz(pictures(SET5))
    dataset = served(server, registry["Set5"], "/HR.tar.gz", archive)
    server.put("/HR.tar.gz", archive[:100] + bytes([archive[100] ^ 1]) + archive[101:])
    with pytest.raises(ValueError, match=f"is not the file expected: SHA-256 .*, expected {dataset.sha256}") as caught:
        sources.obtain(dataset, **place, data=params.data)
    assert "fetch the file by hand to" in one_line(caught)
    assert not place["manifest"].exists()


def test_other_images_in_an_archive_nobody_vouches_for_are_refused_until_it_is_deleted(
    registry, params, place, server, tmp_path
):
    files = pictures(SET5)
    content = content_of(tmp_path / "reference", files)
    wrong = tar_gz(files | {SET5[0]: png(9)})
    dataset = served(server, registry["Set5"], "/HR.tar.gz", wrong, vouched=False, content=content)
    server.put("/HR.tar.gz", tar_gz(files), Fault(body=wrong))
    for _ in range(2):
        with pytest.raises(
            ValueError, match="does not have the registered content .*; delete that file and run"
        ) as caught:
            sources.obtain(dataset, **place, data=params.data)
        assert not place["manifest"].exists()
    archive = Path(one_line(caught).partition(" in ")[2].partition(" does not ")[0])
    archive.unlink()
    sources.obtain(dataset, **place, data=params.data)
    assert_in_place(place, ("baby", "bird", "butterfly"))


@pytest.mark.parametrize("pack", [tar_gz, zipped])
def test_an_archive_that_would_write_elsewhere_is_refused_whole(registry, params, place, server, tmp_path, pack):
    archive = pack(pictures((*SET5, "../../../evil.png")))
    dataset = served(server, registry["Set5"], "/HR.archive", archive)
    with pytest.raises(ValueError, match="a path that leads out of its folder") as caught:
        sources.obtain(dataset, **place, data=params.data)
    assert "'../../../evil.png'" in one_line(caught)
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["HR.archive"]


def test_an_archive_without_the_set_says_what_to_do(registry, params, place, server):
    dataset = served(server, registry["Set5"], "/HR.tar.gz", tar_gz({"Set14/HR/baboon.png": png(0)}))
    with pytest.raises(ValueError, match=r"HR.tar.gz holds no images of Set5 in a known layout; .*data\.folders\.Set5"):
        sources.obtain(dataset, **place, data=params.data)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (Fault(404), "is not there (status 404)"),
        (Fault(403), "may not be read (status 403)"),
        (Fault(503), "the server answers 503"),
        (None, "no connection to the server"),
    ],
)
def test_a_source_that_does_not_give_the_set_is_one_line_that_says_how_to_obtain_it(
    registry, params, place, server, fault, told
):
    with Server() as stopped:
        pass
    dataset = served(server if fault else stopped, registry["DIV2K_valid"], "/HR.zip", zipped(pictures(DIV2K)))
    if fault:
        server.always["/HR.zip"] = fault
    with pytest.raises(FileNotFoundError) as caught:
        sources.obtain(dataset, **place, data=params.data)
    message = one_line(caught)
    assert message.startswith(dataset.location[0])
    for words in (
        told,
        f"to {place['work']}",
        dataset.by_hand,
        "data.folders.DIV2K_valid",
        "FSR_MIRROR",
        "data.mirror",
    ):
        assert words in message


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (Fault(404, {"X-Error-Code": "EntryNotFound"}), "the repository has no such file"),
        (Fault(403, {"X-Error-Code": "GatedRepo"}), "is gated; accept its terms"),
        (Fault(503), "no hub within reach"),
    ],
)
def test_a_hub_that_does_not_give_the_set_is_one_line_that_says_how_to_obtain_it(
    registry, params, place, hub, fault, told
):
    hub.always[HUB_FILE] = fault
    with pytest.raises(FileNotFoundError) as caught:
        sources.obtain(registry["Set5"], **place, data=params.data)
    message = one_line(caught)
    for words in ("Set5_HR.tar.gz of dataset eugenesiow/Set5", told, registry["Set5"].by_hand, "data.folders.Set5"):
        assert words in message


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="this system has no device that is always full")
def test_a_full_disk_is_not_taken_for_a_set_that_cannot_be_had(registry, params, place, server):
    dataset = served(server, registry["Set5"], "/HR.tar.gz", tar_gz(pictures(SET5)))
    (place["work"] / "Set5").mkdir(parents=True)
    (place["work"] / "Set5/HR.tar.gz.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="the disk is full; free some space and run again") as caught:
        sources.obtain(dataset, **place, data=params.data)
    assert caught.value.errno == errno.ENOSPC
    assert "not at hand" not in one_line(caught)


def test_a_full_disk_while_unpacking_or_copying_is_passed_on(registry, params, place, server, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    dataset = served(server, registry["Set5"], "/HR.tar.gz", tar_gz(pictures(SET5)))
    for module in ("fsr.archives", "fsr.datasets"):
        with monkeypatch.context() as patched:
            patched.setattr(f"{module}.write_atomically", full)
            with pytest.raises(OSError, match="No space left on device") as caught:
                sources.obtain(dataset, **place, data=params.data)
        assert caught.value.errno == errno.ENOSPC
        assert not place["manifest"].exists()
    sources.obtain(dataset, **place, data=params.data)
    assert_in_place(place, ("baby", "bird", "butterfly"))


def test_a_folder_for_downloads_that_cannot_be_written_is_not_the_sources_fault(
    registry, params, place, server, monkeypatch
):
    dataset = served(server, registry["Set5"], "/HR.tar.gz", tar_gz(pictures(SET5)))
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PermissionError, match="cannot write .*: the folder is not writable; change") as caught:
        sources.obtain(dataset, **place, data=params.data)
    assert "not at hand" not in one_line(caught)
    assert server.requests == []


def test_the_first_place_that_has_the_set_is_taken_and_named(registry, params, place, server, tmp_path, monkeypatch):
    names = ("baby", "bird", "butterfly")
    files = pictures(tuple(f"{name}.png" for name in names))
    packages = write(tmp_path / "packages", {"fsrtestset/__init__.py": b""})
    write(packages / "fsrtestset", files)
    monkeypatch.syspath_prepend(packages)
    mirror = tmp_path / "mirror"
    write(mirror / "datasets/Set5/HR", files)
    listed = (f"{sha256_of_file(mirror / f'datasets/Set5/HR/{name}')}  ./datasets/Set5/HR/{name}\n" for name in files)
    write(mirror, {"MANIFEST.sha256": "".join(listed).encode()})
    public = served(server, registry["Set5"], "/HR.tar.gz", tar_gz(pictures(SET5)))
    packaged = replace(public, source="package", location=tuple(f"fsrtestset/{name}" for name in files))
    folders, nowhere = {"Set5": str(write(tmp_path / "mine", files))}, str(tmp_path / "nowhere")
    for dataset, changes, source in (
        (packaged, {"folders": folders, "mirror": nowhere}, "folder"),
        (public, {"folders": folders, "mirror": nowhere}, "folder"),
        (packaged, {"mirror": nowhere}, "package"),
        (public, {"mirror": str(mirror)}, "mirror"),
        (public, {}, "download"),
    ):
        assert server.requests == [], "nothing is fetched that is at hand"
        sources.obtain(dataset, **place, data=params.data.model_copy(update=changes))
        assert_in_place(place, names, source)
        shutil.rmtree(place["manifest"].parent)
    monkeypatch.setenv("FSR_MIRROR", str(mirror))
    sources.obtain(public, **place, data=params.data)
    assert_in_place(place, names, "mirror")


def test_a_folder_or_mirror_that_is_wrong_is_an_error_and_no_reason_to_fetch(registry, params, place, server, tmp_path):
    dataset = served(server, registry["Set5"], "/HR.tar.gz", tar_gz(pictures(SET5)))
    write(tmp_path / "mirror/datasets/Set5/HR", {"baby.png": png(0)})
    for changes, kind, told in (
        ({"folders": {"Set5": str(tmp_path / "nowhere")}}, FileNotFoundError, "no images of Set5 in .*nowhere"),
        ({"mirror": str(tmp_path / "nowhere")}, FileNotFoundError, "the mirror .*nowhere is not a folder"),
        ({"mirror": str(tmp_path / "mirror")}, FileNotFoundError, "the mirror has no .*MANIFEST.sha256"),
        ({"folders": {"Set5": str(tmp_path / "mirror/datasets")}}, ValueError, "has 1 images, not 3"),
    ):
        for optional in ([], ["Set5"]):
            data = params.data.model_copy(update=changes | {"optional": optional})
            with pytest.raises(kind, match=told):
                sources.obtain(dataset, **place, data=data)
    assert server.requests == []
    assert not place["manifest"].exists()


@pytest.mark.parametrize("name", ["Manga109", "OpenImagesHR"])
def test_a_set_that_may_not_be_fetched_never_is(registry, params, place, server, name):
    url = server.put("/set.zip", zipped(pictures(SET5)))
    with pytest.raises(FileNotFoundError) as caught:
        sources.obtain(replace(registry[name], location=(url,)), **place, data=params.data)
    message = one_line(caught)
    assert message.startswith(f"dataset {name} is not at hand and is never fetched: {registry[name].by_hand}")
    for words in (f"set data.folders.{name} to its folder", "FSR_MIRROR", "data.mirror"):
        assert words in message
    assert server.requests == []
    assert not place["manifest"].exists()


@pytest.mark.parametrize("name", ["Manga109", "FLUX179", "Set5"])
def test_an_optional_set_that_is_not_at_hand_is_noted_and_never_fetched(registry, params, place, hub, name):
    sources.obtain(registry[name], **place, data=params.data.model_copy(update={"optional": [name]}))
    manifest = read_json(place["manifest"])
    assert (manifest["name"], manifest["available"]) == (name, False)
    assert manifest["reason"].startswith(f"dataset {name} is not at hand")
    assert registry[name].by_hand in manifest["reason"]
    assert manifest_files(place["manifest"]) == []
    assert hub.requests == []


def test_an_optional_set_is_taken_as_soon_as_it_is_at_hand(registry, params, place, tmp_path):
    data = params.data.model_copy(update={"optional": ["Manga109"]})
    sources.obtain(registry["Manga109"], **place, data=data)
    assert not read_json(place["manifest"])["available"]
    folder = write(tmp_path / "mine", pictures(tuple(f"Manga109/GTmod12/{index:03d}.png" for index in range(109))))
    data = data.model_copy(update={"folders": {"Manga109": str(folder)}})
    sources.obtain(registry["Manga109"], **place, data=data)
    manifest = assert_in_place(place, tuple(f"{index:03d}" for index in range(109)), "folder")
    assert (manifest["variant"], manifest["verified"]) == ("GTmod12", False)
    (folder / "Manga109/GTmod12/007.png").unlink()
    with pytest.raises(ValueError, match="dataset Manga109 in .* has 108 images, not 109"):
        sources.obtain(registry["Manga109"], **place, data=data)


def test_images_named_in_the_parameters_are_left_out(registry, params, place, tmp_path):
    files = pictures(("HR/a.png", "HR/b.png", "HR/c.png"))
    dataset = replace(registry["DIV2K_train"], images=3)
    folders = {"DIV2K_train": str(write(tmp_path / "mine", files))}
    data = params.data.model_copy(update={"folders": folders, "exclude": {"DIV2K_train": ["b"], "BSDS500": ["a"]}})
    sources.obtain(dataset, **place, data=data)
    assert assert_in_place(place, ("a", "c"), "folder")["excluded"] == ["b"]
    data = data.model_copy(update={"exclude": {"DIV2K_train": ["b", "x"]}})
    with pytest.raises(ValueError, match="data.exclude names 'x', which is no image of DIV2K_train; correct it"):
        sources.obtain(dataset, **place, data=data)


def test_a_set_at_hand_is_checked_before_its_files_are_handed_out(registry, tmp_path):
    files = sources.checked_files(registry["Embedded5"], None)
    assert [file.stem for file in files] == ["astronaut", "chelsea", "coffee", "flower", "rocket"]
    with pytest.raises(ValueError, match="Embedded5 .* does not have the registered content"):
        sources.checked_files(replace(registry["Embedded5"], content="0" * 64), None)
    with pytest.raises(FileNotFoundError, match=r"^dataset Set5 is not at hand: Unpack .* set data\.folders\.Set5"):
        sources.checked_files(registry["Set5"], str(tmp_path))


@pytest.fixture(scope="module")
def flux(tmp_path_factory) -> Path:
    """The tiny pipeline, saved."""
    folder = tmp_path_factory.mktemp("flux")
    save_tiny_flux(folder)
    return folder


@pytest.fixture
def generated(registry, params, flux, tmp_path):
    """A function that generates FLUX179, of own prompts (lines) or the published ones (None)."""

    def run(place, prompts: list[str] | None, **changes) -> None:
        own = tmp_path / "prompts.txt"
        own.write_text("\n".join(prompts or []))
        section = Generate(
            model=str(flux),
            revision=None,
            prompts=str(own) if prompts else None,
            size=32,
            steps=1,
            guidance=3.5,
            dtype="float32",
            offload="none",
        )
        dataset = replace(registry["FLUX179"], **changes)
        sources.generate(dataset, params.model_copy(update={"generate": section}), **place)

    return run


def generated_files(manifest: Path) -> dict[str, bytes]:
    files = (file for file in manifest.parent.rglob("*") if file.is_file())
    return {file.relative_to(manifest.parent).as_posix(): file.read_bytes() for file in files}


def test_a_set_is_generated_whole_and_an_interruption_costs_one_image(place, tmp_path, generated, monkeypatch):
    make, made = generation.generate_image, []

    def interrupted(pipeline, params, prompt, noise):
        made.append(prompt.name)
        if len(made) == 2:
            raise KeyboardInterrupt
        return make(pipeline, params, prompt, noise)

    monkeypatch.setattr(generation, "generate_image", interrupted)
    with pytest.raises(KeyboardInterrupt):
        generated(place, ["a cat", "a dog"])
    assert not place["manifest"].exists()
    generated(place, ["a cat", "a dog"])
    assert made == ["0000", "0001", "0001"]

    manifest = read_json(place["manifest"])
    state = {"name": "FLUX179", "available": True, "source": "generated", "variant": "own prompts", "verified": False}
    assert {key: manifest[key] for key in state} == state
    files = generated_files(place["manifest"])
    parts = ("{}.png", "latents/{}.safetensors", "prompts/{}.txt")
    names = {part.format(name) for part in parts for name in ("0000", "0001")}
    assert files.keys() == names | {"manifest.json", "generation.json"}
    assert files["prompts/0001.txt"] == b"a dog\n"
    for image in read_json(place["manifest"].parent / "generation.json")["images"]:
        assert hashlib.sha256(files[f"{image['name']}.png"]).hexdigest() == image["png_sha256"]
        assert hashlib.sha256(files[f"latents/{image['name']}.safetensors"]).hexdigest() == image["latent_sha256"]

    straight = {"manifest": tmp_path / "straight/manifest.json", "work": tmp_path / "straight_work"}
    generated(straight, ["a cat", "a dog"])
    assert generated_files(straight["manifest"]) == files

    fewer = place | {"manifest": tmp_path / "fewer/manifest.json"}
    generated(fewer, ["a cat"])
    assert generated_files(fewer["manifest"]).keys() == {
        *(part.format("0000") for part in parts),
        "manifest.json",
        "generation.json",
    }
    assert made[3:] == ["0000", "0001"], "the images of the straight run; what is there is not made again"


def test_the_published_prompts_are_fetched_once_and_counted(place, generated, server, monkeypatch):
    rows = "name,method,prompt\nimg_0000000,bicubic_x2,a cat\nimg_0000000,LUA_x2,a cat\nimg_0000003,RF_x2,a dog\n"
    monkeypatch.setattr(sources, "PUBLISHED_PROMPTS_URL", server.put("/per_image.csv", rows.encode()))
    with pytest.raises(ValueError, match=f"^{server.url}/per_image.csv has 2 prompts, not 179; it changed") as caught:
        generated(place, None)
    one_line(caught)
    assert not place["manifest"].exists()
    generated(place, None, images=2)
    assert {file.stem for file in manifest_files(place["manifest"])} == {"img_0000000", "img_0000003"}
    manifest = read_json(place["manifest"])
    assert (manifest["source"], manifest["variant"]) == ("generated", "")
    assert len(server.requests) == 1


def test_prompts_that_cannot_be_fetched_are_one_line(place, generated, server, monkeypatch):
    monkeypatch.setattr(sources, "PUBLISHED_PROMPTS_URL", f"{server.url}/gone.csv")
    with pytest.raises(
        FileNotFoundError, match=f"^{server.url}/gone.csv is not there .*fetch the file by hand to"
    ) as caught:
        generated(place, None)
    one_line(caught)
