"""Archives as they come from strangers: well meant, damaged, and meant badly."""

import gzip
import io
import stat
import tarfile
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fsr.archives import unpack_images
from fsr.images import SUFFIXES

KINDS = ("set.zip", "set.tar", "set.tar.gz", "set.tgz")
PLENTY = 1 << 24


def pack(path: Path, members) -> Path:
    """An archive of (name, bytes) pairs, or of zip and tar infos made by hand; `path`'s suffix chooses its kind."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
            for name, body in members:
                opened.writestr(name, body)
    else:
        with tarfile.open(path, "w" if path.suffix == ".tar" else "w:gz") as opened:
            for name, body in members:
                info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
                info.size = len(body) if info.isreg() else 0
                opened.addfile(info, io.BytesIO(body))
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def assert_refused(archive: Path, message: str, **limits) -> str:
    """It raises one line with the archive's name, and nothing is left anywhere."""
    before = contents(archive.parent)
    with pytest.raises(ValueError, match=message) as caught:
        unpack_images(archive, archive.parent / "into" / "folder", **{"limit_bytes": PLENTY} | limits)
    assert str(archive) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert contents(archive.parent) == before
    assert not (archive.parent / "into").exists() or not any((archive.parent / "into").iterdir())
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_images_are_written_under_their_paths_and_the_rest_is_left_out(tmp_path, kind):
    images = {"HR/b.png": b"b", "HR/a.JPG": b"a", "c d.webp": b"", "LR/deep/er/ä.tif": b"d"}
    rest = {"README.txt": b"no", "HR/labels.mat": b"no", "png": b"no"}
    litter = {
        "__MACOSX/HR/._b.png": b"no",
        "__MACOSX/HR/b.png": b"no",
        "HR/._b.png": b"no",
        ".DS_Store": b"no",
        "HR/.hidden.png": b"no",
    }
    archive = pack(tmp_path / kind, (images | rest | litter).items())
    found = unpack_images(archive, tmp_path / "set", limit_bytes=PLENTY)
    assert found == sorted(tmp_path / "set" / name for name in images)
    assert contents(tmp_path / "set") == images
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(["set", kind])


@pytest.mark.parametrize("kind", KINDS)
def test_folders_of_an_archive_are_no_trouble(tmp_path, kind):
    for name in ("set/HR.png", "set/LR"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "set/HR.png/a.png").write_bytes(b"a")
    if kind.endswith("zip"):
        with zipfile.ZipFile(tmp_path / kind, "w") as opened:
            for path in sorted((tmp_path / "set").rglob("*")):
                opened.write(path, path.relative_to(tmp_path))
    else:
        with tarfile.open(tmp_path / kind, "w:gz" if kind.endswith("gz") else "w") as opened:
            opened.add(tmp_path / "set", "./set")
    found = unpack_images(tmp_path / kind, tmp_path / "out", limit_bytes=PLENTY)
    assert found == [tmp_path / "out/set/HR.png/a.png"]


names = st.lists(
    st.text(st.characters(exclude_categories=["C"], exclude_characters="/\\:."), min_size=1, max_size=8),
    min_size=1,
    max_size=3,
).map(lambda parts: "/".join(parts) + ".png")


@settings(deadline=None, max_examples=25)
@given(st.dictionaries(names, st.binary(max_size=2000), min_size=1, max_size=6), st.sampled_from(KINDS))
def test_what_is_packed_is_what_is_unpacked(images, kind):
    keys = {str(PurePosixPath(name)).casefold() for name in images}
    assume(len(keys) == len(images))
    with tempfile.TemporaryDirectory() as folder:
        archive = pack(Path(folder, kind), images.items())
        try:
            unpack_images(archive, Path(folder, "set"), limit_bytes=PLENTY)
        except ValueError as error:
            assume("would be one file" not in str(error))  # forms of Unicode the keys above do not fold
            raise
        assert contents(Path(folder, "set")) == images


OUTSIDE = [
    "../up.png",
    "HR/../../up.png",
    "HR/..",
    "/tmp/absolute.png",
    "//server/share.png",
    "C:/drive.png",
    "c:drive.png",
    "..\\up.png",
    "HR\\..\\..\\up.png",
    "\\absolute.png",
]


@pytest.mark.parametrize("kind", KINDS[:3])
@pytest.mark.parametrize("name", OUTSIDE)
def test_a_path_that_leads_out_refuses_the_whole_archive(tmp_path, kind, name):
    archive = pack(tmp_path / kind, [("HR/a.png", b"a"), (name, b"evil"), ("HR/b.png", b"b")])
    assert repr(name) in assert_refused(archive, "a path that leads out of its folder, .*from a source you trust")


@pytest.mark.parametrize("kind", KINDS[:3])
@pytest.mark.parametrize("name", ["../up.txt", "__MACOSX/../../._up.png"])
def test_a_path_that_leads_out_counts_even_of_a_file_nobody_wants(tmp_path, kind, name):
    assert_refused(pack(tmp_path / kind, [("a.png", b"a"), (name, b"evil")]), "a path that leads out of its folder")


@pytest.mark.parametrize("name", ["a\nb.png", "a\x1b[2J.png", "\x7f.png"])
def test_control_characters_in_a_name_are_refused(tmp_path, name):
    assert_refused(pack(tmp_path / "set.tar", [(name, b"a")]), "characters no file should have")
    assert_refused(pack(tmp_path / "set.zip", [(name, b"a")]), "characters no file should have")


@pytest.mark.parametrize(
    ("name", "refusal"),
    [("a.pngX../../b.png", "leads out of its folder"), ("a.pngX.txt", "characters no"), ("Xa.png", "characters no")],
)
def test_a_name_that_ends_early_is_refused(tmp_path, name, refusal):
    archive = pack(tmp_path / "set.zip", [(name, b"a")])
    archive.write_bytes(archive.read_bytes().replace(name.encode(), name.replace("X", "\0").encode()))
    assert_refused(archive, refusal)


def test_a_name_of_no_known_encoding_is_refused(tmp_path):
    with tarfile.open(tmp_path / "set.tar", "w", format=tarfile.GNU_FORMAT, encoding="latin-1") as opened:
        opened.addfile(tarfile.TarInfo("\xe4.png"))
    assert_refused(tmp_path / "set.tar", "characters no file should have")


@pytest.mark.parametrize("kind", KINDS[1:3])
@pytest.mark.parametrize(
    "type_", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
@pytest.mark.parametrize("target", ["/etc/passwd", "a.png", "../../x"])
def test_links_and_devices_refuse_a_tar(tmp_path, kind, type_, target):
    info = tarfile.TarInfo("HR/link.png")
    info.type, info.linkname = type_, target
    archive = pack(tmp_path / kind, [("a.png", b"a"), (info, b""), ("HR/link.png/b.png", b"b")])
    assert_refused(archive, "a link or device, 'HR/link.png'")


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK])
@pytest.mark.parametrize("name", ["link.png", "link/"])
def test_links_and_devices_refuse_a_zip(tmp_path, mode, name):
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (mode | 0o777) << 16
    assert_refused(pack(tmp_path / "set.zip", [("a.png", b"a"), (info, b"/etc")]), f"a link or device, '{name}'")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", KINDS[:3])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("HR/a.png", "HR/a.png"),
        ("HR/a.png", "HR/A.PNG"),
        ("HR/a.png", "hr/a.png"),
        ("HR/a.png", "./HR//a.png"),
        ("\u00e4.png", "a\u0308.png"),
        ("stra\u00dfe.png", "STRASSE.png"),
        ("a.png", "a.png/b.png"),
        ("a.png/b.png", "A.png"),
    ],
)
def test_members_that_would_be_one_file_are_refused(tmp_path, kind, first, second):
    assert_refused(pack(tmp_path / kind, [(first, b"1"), (second, b"2")]), "two members that would be one file")


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_are_counted_as_they_come_out(tmp_path, kind):
    archive = pack(tmp_path / kind, [(f"{number}.png", bytes(1000)) for number in range(10)])
    assert len(unpack_images(archive, tmp_path / "fits", limit_bytes=10_000)) == 10
    for limit in (9_999, 1_000, 0):
        assert_refused(
            archive, f"unpacks to more than {limit} bytes; raise the limit if you trust it", limit_bytes=limit
        )


def test_a_bomb_is_stopped_before_it_fills_the_disk(tmp_path, monkeypatch):
    largest = 0
    replace = Path.replace

    def watch(self, target):
        nonlocal largest
        largest = max(largest, self.stat().st_size)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watch)
    bomb = pack(tmp_path / "bomb.zip", [("a.png", bytes(50_000_000))])
    assert bomb.stat().st_size < 100_000
    assert_refused(bomb, "unpacks to more than 1000000 bytes", limit_bytes=1_000_000)
    assert largest == 0


def test_a_zip_that_declares_less_than_it_holds_is_no_way_around_the_limit(tmp_path):
    archive = pack(tmp_path / "set.zip", [("a.png", bytes(100_000))])
    data = archive.read_bytes()
    archive.write_bytes(data.replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    assert_refused(archive, "damaged", limit_bytes=1000)


IMAGES = [(f"HR/{number}.png", bytes(range(256)) * (number + 1)) for number in range(4)]


@pytest.mark.parametrize("kind", KINDS[:3])
def test_a_truncated_archive_is_found_wherever_it_ends(tmp_path, kind):
    data = pack(tmp_path / kind, IMAGES).read_bytes()
    end = len(data) if kind != "set.tar" else len(data.rstrip(b"\0")) + 512  # of two zero blocks, one says as much
    assert end % 512 == 0 or kind != "set.tar"
    for length in {*range(0, end, 331), *range(0, end, 512), end - 1, 1, 5}:
        (tmp_path / kind).write_bytes(data[:length])
        assert_refused(tmp_path / kind, "damaged, truncated, or neither zip nor tar .*; delete it and fetch it again")


@settings(deadline=None, max_examples=80)
@given(st.sampled_from(KINDS[:3]), st.data())
def test_damage_is_one_line_or_no_matter(kind, data):
    with tempfile.TemporaryDirectory() as folder:
        archive = pack(Path(folder, kind), IMAGES)
        whole = bytearray(archive.read_bytes())
        for _ in range(data.draw(st.integers(1, 3))):
            whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
        archive.write_bytes(whole)
        try:
            found = unpack_images(archive, Path(folder, "set"), limit_bytes=PLENTY)
        except ValueError as error:
            assert str(archive) in str(error)
            assert "\n" not in str(error)
            assert [file.name for file in Path(folder).iterdir()] == [kind]
        else:
            if kind != "set.tar":  # which has no sum of what it holds
                assert {file.read_bytes() for file in found} <= {body for _, body in IMAGES}


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path):
    archive = pack(tmp_path / "set.tar", IMAGES)
    data = bytearray(archive.read_bytes())
    data[1024 + 148] ^= 1  # the checksum of the second member's header
    archive.write_bytes(data)
    assert_refused(archive, "damaged")


@pytest.mark.parametrize("offset", [0, 1 << 31, (1 << 32) - 2])
def test_a_table_of_contents_that_points_nowhere_is_found(tmp_path, offset):
    archive = pack(tmp_path / "set.zip", IMAGES)
    data = bytearray(archive.read_bytes())
    place = data.rindex(b"PK\5\6") + 16
    data[place : place + 4] = offset.to_bytes(4, "little")
    archive.write_bytes(data)
    assert_refused(archive, "damaged")


def test_a_wrong_sum_at_the_end_of_gzip_is_found(tmp_path):
    archive = pack(tmp_path / "set.tgz", IMAGES)
    data = bytearray(archive.read_bytes())
    data[-6] ^= 1
    archive.write_bytes(data)
    assert_refused(archive, "damaged")


def test_an_encrypted_zip_says_what_to_do(tmp_path):
    archive = pack(tmp_path / "set.zip", IMAGES)
    data = bytearray(archive.read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(signature) + offset] |= 1
    archive.write_bytes(data)
    assert_refused(archive, "is encrypted; unpack it by hand with its password")


def test_a_compression_nobody_can_undo_says_what_to_do(tmp_path):
    archive = pack(tmp_path / "set.zip", IMAGES)
    data = bytearray(archive.read_bytes())
    for signature, offset in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        data[data.index(signature) + offset] = 9  # Deflate64
    archive.write_bytes(data)
    assert_refused(archive, "cannot be unpacked .*; pack it again with deflate")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_unpacked_or_found_damaged(tmp_path, method):
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w", method) as opened:
        opened.writestr("a.png", IMAGES[3][1])
    found = unpack_images(archive, tmp_path / "set", limit_bytes=PLENTY)
    assert found[0].read_bytes() == IMAGES[3][1]
    data = bytearray(archive.read_bytes())
    data[45:49] = b"\xff\0\xff\1"
    archive.write_bytes(data)
    assert_refused(archive, "damaged")


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_without_images_is_refused(tmp_path, kind):
    assert_refused(pack(tmp_path / kind, [("a.txt", b"a"), ("._b.png", b"b")]), "holds no image .*check that it is the")
    assert_refused(pack(tmp_path / kind, []), "holds no image")


@pytest.mark.parametrize("body", [b"", b"<html>404</html>", gzip.compress(b"no tar", mtime=0), b"PK\3\4", b"\x1f\x8b"])
def test_what_is_no_archive_is_named(tmp_path, body):
    (tmp_path / "set.zip").write_bytes(body)
    assert_refused(tmp_path / "set.zip", "damaged, truncated, or neither zip nor tar")


def test_a_missing_archive_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"archive .*set\.zip is missing; fetch it again"):
        unpack_images(tmp_path / "set.zip", tmp_path / "set", limit_bytes=PLENTY)


def test_what_stands_in_the_folder_is_never_touched(tmp_path):
    archive = pack(tmp_path / "set.zip", IMAGES)
    (tmp_path / "set").mkdir()
    unpack_images(archive, tmp_path / "set", limit_bytes=PLENTY)
    with pytest.raises(FileExistsError, match=r"set is in the way of unpacking set\.zip; move it away"):
        unpack_images(archive, tmp_path / "set", limit_bytes=PLENTY)
    assert contents(tmp_path / "set") == dict(IMAGES)
    with pytest.raises(FileExistsError, match="in the way"):
        unpack_images(archive, archive, limit_bytes=PLENTY)


def test_what_a_killed_run_left_is_cleared_away(tmp_path):
    archive = pack(tmp_path / "set.zip", IMAGES)
    (tmp_path / ".set.unpacking").mkdir()
    (tmp_path / ".set.unpacking" / "stray.png").write_bytes(b"stray")
    unpack_images(archive, tmp_path / "set", limit_bytes=PLENTY)
    assert contents(tmp_path / "set") == dict(IMAGES)


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path, monkeypatch):
    archive = pack(tmp_path / "set.zip", IMAGES)

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="the disk is full; free some space and run again"):
        unpack_images(archive, tmp_path / "set", limit_bytes=PLENTY)
    assert list(tmp_path.iterdir()) == [archive]


def test_a_disk_that_refuses_a_name_is_no_fault_of_the_archive(tmp_path, monkeypatch):
    archive = pack(tmp_path / "set.zip", IMAGES)

    def refuse(self, target):
        raise OSError(22, "Invalid argument", str(target))

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="Invalid argument: .*0.png"):
        unpack_images(archive, tmp_path / "set", limit_bytes=PLENTY)


def test_every_suffix_an_image_may_have_is_unpacked(tmp_path):
    archive = pack(tmp_path / "set.zip", [(f"a{suffix}", b"a") for suffix in SUFFIXES])
    assert len(unpack_images(archive, tmp_path / "set", limit_bytes=PLENTY)) == len(SUFFIXES)
