"""`lenscape project`: what it says where there is nothing to show."""

import pytest

from pipeline.commands.project import run
from pipeline.errors import SceneError
from pipeline.geo.maps.catalog import write_catalog


def test_what_is_missing_is_named_with_the_stage_that_makes_it(tmp_path):
    maps, errors, out = tmp_path / "maps", tmp_path / "errors.gpkg", tmp_path / "lenscape.qgs"
    with pytest.raises(SceneError, match=r"errors\.gpkg does not exist; run `evaluate` first"):
        run(maps, errors, tmp_path / "label_issues.gpkg", out)
    errors.write_bytes(b"no database")
    with pytest.raises(SceneError, match=r"maps holds no map .*; run `predict` first"):
        run(maps, errors, tmp_path / "label_issues.gpkg", out)
    maps.mkdir()
    write_catalog(maps, ["s.1"])
    with pytest.raises(SceneError, match=r"s\.1\.json is missing or no Item of a map"):
        run(maps, errors, tmp_path / "label_issues.gpkg", out)
    assert not out.exists()
