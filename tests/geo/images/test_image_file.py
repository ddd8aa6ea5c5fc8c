"""Images in folders and zips: found in order, read, refused."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from pipeline.errors import SceneError
from pipeline.geo.images.image_file import ImageReader, find_images

NAMES = ["a/a_1.tif", "a/a_2.tif", "a/a_10.tif", "b/b_1.TIF"]


def put(folder: Path, names: list[str]) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def pack(path: Path, names: list[str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, name.encode())
    return path


def test_images_come_by_class_and_number_wherever_they_lie(tmp_path: Path) -> None:
    folder = put(tmp_path / "images", [f"deep/down/{name}" for name in NAMES[::-1]])
    put(folder, ["readme.txt", "top.tif", "deep/a/notes.txt"])
    found = find_images(folder)
    assert [image.name for image in found] == ["a_1", "a_2", "a_10", "b_1"]
    assert [image.label for image in found] == ["a", "a", "a", "b"]


def test_a_zip_is_read_without_being_unpacked(tmp_path: Path) -> None:
    path = pack(tmp_path / "with space.zip", ["x/" + name for name in NAMES])
    found = find_images(path)
    assert found[2].path == f"{path}!/x/a/a_10.tif"
    with ImageReader() as reader:
        assert [reader.read(image.path, 99) for image in found] == [
            f"x/{name}".encode() for name in NAMES
        ]
        assert reader.read(found[0].path, 3) == b"x/a"
    assert sorted(tmp_path.iterdir()) == [path]


def test_a_folder_is_read_alike(tmp_path: Path) -> None:
    found = find_images(put(tmp_path / "images", NAMES))
    with ImageReader() as reader:
        assert [reader.read(image.path, 99) for image in found] == [name.encode() for name in NAMES]


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["readme.txt", "top.tif"], "holds no folders of GeoTIFFs, one a class"),
        (["a/x_1.tif", "b/x_1.tif"], "has two images named x_1, .*a/x_1.tif and .*b/x_1.tif"),
    ],
)
def test_folders_and_zips_without_such_images_are_refused(
    tmp_path: Path, names: list[str], says: str
) -> None:
    for place in (put(tmp_path / "images", names), pack(tmp_path / "images.zip", names)):
        with pytest.raises(SceneError, match=says):
            find_images(place)


def test_other_places_are_refused(tmp_path: Path) -> None:
    (tmp_path / "images.tar").write_bytes(b"x")
    (tmp_path / "images.zip").write_bytes(b"PK but no zip")
    pack(tmp_path / "out.zip", ["../a/a_1.tif"])
    for name, says in (
        ("nothing", "does not exist"),
        ("images.tar", "neither a folder nor a file named .zip"),
        ("images.zip", "is no whole zip"),
        ("out.zip", r"holds \.\./a/a_1\.tif, which is no path in it"),
    ):
        with pytest.raises(SceneError, match=says):
            find_images(tmp_path / name)


def test_a_zip_that_is_damaged_inside_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/a_1.tif", bytes(range(256)) * 40)
    content = bytearray(path.read_bytes())
    content[60:90] = bytes(30)
    path.write_bytes(content)
    (image,) = find_images(path)
    with (
        ImageReader() as reader,
        pytest.raises(SceneError, match=r"images\.zip is damaged where it holds"),
    ):
        reader.read(image.path, 20_000)


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    path = pack(tmp_path / "images.zip", ["a/a_1.tif"])
    content = bytearray(path.read_bytes())
    # bit 0 of the flags, in the local header and in the directory (APPNOTE 4.4.4)
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    (image,) = find_images(path)
    with ImageReader() as reader, pytest.raises(SceneError, match=r"images\.zip is encrypted"):
        reader.read(image.path, 99)


def test_what_is_gone_is_said_to_be(tmp_path: Path) -> None:
    path = pack(tmp_path / "images.zip", NAMES)
    with ImageReader() as reader:
        for gone in (f"{path}!/a/none.tif", f"{tmp_path}/a.tif", f"{tmp_path}/b.zip!/a.tif"):
            with pytest.raises(SceneError, match="any more; run `fetch` again"):
                reader.read(gone, 9)


def test_what_macos_packs_beside_images_is_passed_over(tmp_path: Path) -> None:
    beside = [f"__MACOSX/{name.replace('/', '/._')}" for name in NAMES]
    path = pack(tmp_path / "IMAGES.ZIP", [*NAMES, *beside, "a/._a_1.tif"])
    assert [image.name for image in find_images(path)] == ["a_1", "a_2", "a_10", "b_1"]
    with ImageReader() as reader:
        assert reader.read(find_images(path)[0].path, 99) == b"a/a_1.tif"
