"""What DVC notices of the files that it watches."""

from pathlib import Path

import pytest

from pipeline.watched import unwatched


@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        ("own/scenes/a", None),
        ("own/scenes", None),
        ("elsewhere/a", "lies outside of demo or own/scenes, where DVC would not notice"),
        ("own/scenes/../../elsewhere/a", "lies outside of demo or own/scenes"),
        ("own/scenes2", "lies outside of demo or own/scenes"),
        ("own/scenes/linked", "goes through a linked folder, where DVC would not notice"),
        ("own/scenes/linked/a", "goes through a linked folder"),
        ("own/scenes/demo", None),
    ],
)
def test_dvc_sees_real_folders_in_its_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, reason: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("own/scenes/a", "own/scenes2", "elsewhere/a", "demo"):
        Path(name).mkdir(parents=True)
    Path("own/scenes/linked").symlink_to(tmp_path / "elsewhere")
    Path("own/scenes/demo").symlink_to(tmp_path / "demo")
    found = unwatched(Path(folder), [Path("demo"), Path("own/scenes")])
    assert (found or "").startswith(reason or "")
    assert (found is None) == (reason is None)
    assert unwatched(tmp_path / folder, [Path("demo"), Path("own/scenes")]) == found
    assert unwatched(Path(folder), []) is None
    assert unwatched(Path(folder) / "file.tif", [Path("demo"), Path("own/scenes")]) == found
