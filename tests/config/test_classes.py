"""`conf/classes.yaml`: what it may say, and the files in conf/examples that are ready to use."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config.classes import ClassesConf
from pipeline.config.reading import load
from pipeline.errors import ConfigError

EXAMPLES = Path(__file__).parents[2] / "conf" / "examples"
OF_LEVEL_1 = {1: 11, 2: 11, 3: 12, 4: 5, 5: 5}
"""How many of the 44 classes of CORINE each of its first digits has."""


def example(name: str) -> ClassesConf:
    return load(EXAMPLES / f"{name}.yaml", ClassesConf)


def test_every_example_is_read() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.yaml")} == {"worldcover", "corine"}
    for name in ("worldcover", "corine"):
        assert example(name).credit


def test_worldcover_has_its_eleven_codes() -> None:
    classes = example("worldcover").classes
    codes = [value for one in classes for value in one.label_values]
    assert codes == [10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100]
    assert [one.code for one in classes] == codes


def test_corine_has_both_of_its_numberings() -> None:
    """The place of a class of level 3 among all of them, and its code, whose first digit is level 1."""
    numbers, codes = [], []
    for place, one in enumerate(example("corine").classes, start=1):
        values = [int(value) for value in one.label_values]
        count = OF_LEVEL_1[place]
        assert one.code == place
        assert len(values) == 2 * count
        assert {code // 100 for code in values[count:]} == {place}
        numbers += values[:count]
        codes += values[count:]
    assert numbers == list(range(1, 45))
    assert codes == sorted(set(codes))


def test_a_value_means_one_class(tmp_path: Path) -> None:
    (tmp_path / "classes.yaml").write_text(
        "credit: c\nclasses:\n- {name: a, color: '#000000', values: [x]}\n"
        "- {name: b, color: '#ffffff', values: [y, x]}\n"
    )
    with pytest.raises(ConfigError, match="label value 'x' stands twice; each may stand once"):
        load(tmp_path / "classes.yaml", ClassesConf)


def test_without_values_a_class_is_meant_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "classes.yaml").write_text(
        "credit: c\nclasses:\n- {name: a, title: 森林, color: '#000000'}\n"
        "- {name: b, color: '#ffffff', values: [1, B], code: 311}\n"
    )
    first, second = load(tmp_path / "classes.yaml", ClassesConf).classes
    assert (first.label_values, first.title) == (["a"], "森林")
    assert (second.label_values, second.code) == ([1, "B"], 311)
