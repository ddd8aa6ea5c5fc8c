"""One YAML file, one record; whatever is wrong ends in one sentence with file, key, value, remedy."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.config.classes import ClassesConf
from pipeline.config.compute import ComputeConf
from pipeline.config.evaluate import EvaluateConf
from pipeline.config.fetch import FetchConf
from pipeline.config.predict import PredictConf
from pipeline.config.reading import load
from pipeline.config.record import Conf
from pipeline.config.sources import SceneConf
from pipeline.config.split import SplitConf
from pipeline.config.tile import TileConf
from pipeline.config.train import TrainConf
from pipeline.errors import ConfigError

FILES: dict[str, type[Conf]] = {
    "fetch": FetchConf,
    "tile": TileConf,
    "classes": ClassesConf,
    "split": SplitConf,
    "train": TrainConf,
    "evaluate": EvaluateConf,
    "predict": PredictConf,
    "compute": ComputeConf,
}
CONF = Path(__file__).parents[2] / "conf"
SCENE = "{id: a, path: p, datetime: '2017-02-16T10:21:01Z'}"


def sentence(tmp_path: Path, model: type[Conf], text: str) -> str:
    """What is said behind the name of a file that holds this text."""
    path = tmp_path / "x.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(path, model)
    message = str(caught.value)
    assert message.startswith(str(path))
    return message.removeprefix(str(path)).lstrip(": ")


@pytest.mark.parametrize("name", FILES)
def test_every_file_in_conf_fits_its_record(name: str) -> None:
    load(CONF / f"{name}.yaml", FILES[name])


def test_every_file_in_conf_has_its_record() -> None:
    assert {path.stem for path in CONF.glob("*.yaml")} == set(FILES)


def test_yaml_is_read_as_dvc_reads_it(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("lr: 1e-2\nbands: [B02]\n")
    conf = load(tmp_path / "x.yaml", TrainConf)
    assert (conf.lr, conf.bands) == (0.01, ["B02"])


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("# nothing yet\n")
    assert load(tmp_path / "x.yaml", SplitConf) == SplitConf()


def test_records_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        SplitConf().seed = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("model", "text", "expected"),
    [
        pytest.param(
            SplitConf,
            "sed: 1",
            "key 'sed' is unknown; the keys there are seed, block_m,",
            id="key",
        ),
        pytest.param(
            TrainConf,
            "network: {convolutions: [{filter: 6}]}",
            "key 'network.convolutions[0].filter' is unknown; the keys there are filters,",
            id="key within a union",
        ),
        pytest.param(FetchConf, "map: train", "key 'train' is missing; add it.", id="missing"),
        pytest.param(
            PredictConf,
            "model: {uri: 'models:/lenscape/3'}",
            "key 'model.weights_sha256' is missing; add it.",
            id="missing within a union",
        ),
        pytest.param(
            TrainConf,
            "epochs: '30'",
            "key 'epochs' is '30', but it must be a valid integer; correct the value.",
            id="type",
        ),
        pytest.param(
            TrainConf,
            "epochs: 2.5",
            "key 'epochs' is 2.5, but it must be a valid integer; correct the value.",
            id="type of number",
        ),
        pytest.param(
            TrainConf,
            "augment: {flips: 1}",
            "key 'augment.flips' is 1, but it must be a valid boolean; correct the value.",
            id="nested type",
        ),
        pytest.param(
            TrainConf,
            "bands: 5",
            "key 'bands' is 5, but it must be 'all', 'rgb' or '10m' or a valid list; correct the",
            id="no member of a union",
        ),
        pytest.param(
            TrainConf,
            "bands: [B02, 4]",
            "key 'bands[1]' is 4, but it must be a valid string; put it in quotes.",
            id="item of a list in a union",
        ),
        pytest.param(
            TrainConf,
            "bands: []",
            "key 'bands' is [], but it must be 'all', 'rgb' or '10m' or a list with at least 1",
            id="empty list",
        ),
        pytest.param(
            TrainConf,
            "network: {convolutions: [{filters: 0}]}",
            "key 'network.convolutions[0].filters' is 0, but it must be greater than 0; correct the",
            id="value within a union",
        ),
        pytest.param(
            TrainConf,
            "lr: .inf",
            "key 'lr' is inf, but it must be a finite number; correct",
            id="inf",
        ),
        pytest.param(
            ClassesConf,
            "{credit: c, classes: [{name: a, color: red}, {name: b, color: '#00ff00'}]}",
            "key 'classes[0].color' is 'red', but it must be a colour as '#rrggbb'; correct the value.",
            id="pattern",
        ),
        pytest.param(
            PredictConf,
            "model: {uri: 'models:/lenscape@champion', weights_sha256: a}",
            "key 'model.uri' is 'models:/lenscape@champion', but it must be 'models:/<name>/<version>'"
            " (`lenscape pin` turns an alias into it); correct the value.",
            id="alias",
        ),
        pytest.param(
            FetchConf,
            "train: [{id: a, path: p, datetime: 2017-02-16T10:21:01Z}]",
            "key 'train[0].datetime' is 2017-02-16T10:21:01Z; put it in quotes.",
            id="timestamp",
        ),
        pytest.param(
            FetchConf,
            "train: [{id: a, path: p, datetime: 2017-02-30}]",
            "key 'train[0].datetime' is 2017-02-30; put it in quotes.",
            id="no day, without quotes",
        ),
        pytest.param(
            FetchConf,
            "train: [{id: a, path: p, datetime: 2017-02-16T25:00:00Z}]",
            "key 'train[0].datetime' is 2017-02-16T25:00:00Z; put it in quotes.",
            id="no hour, without quotes",
        ),
        pytest.param(
            FetchConf,
            "train: [{id: a, path: p, datetime: 25:00:00Z}]",
            "key 'train[0].datetime': '25:00:00Z' is no time; write it as",
            id="an hour alone",
        ),
        pytest.param(
            FetchConf,
            "train: [{id: a, path: p, datetime: '9999-12-31T23:59:59-12:00'}]",
            "key 'train[0].datetime': '9999-12-31T23:59:59-12:00' is no time of a scene; correct the",
            id="the end of time",
        ),
        pytest.param(
            FetchConf,
            "train: []\nmap: !!bool maybe",
            "is no valid YAML: line 2, column 6: 'maybe' is no bool; correct it there.",
            id="tag",
        ),
        pytest.param(
            SplitConf, "seed: " + "9" * 5000, "is no valid YAML: line 1, column 7: '999", id="digits"
        ),
        pytest.param(
            SplitConf,
            "seed: 0x" + "f" * 5000,
            "key 'seed' is a number of more than 64 bits; correct the value.",
            id="hexadecimal digits",
        ),
        pytest.param(
            FetchConf,
            "map: &a [*a]",
            "key 'map[0][0]' holds itself, or more than 100,000 values or 32 levels of them; write it",
            id="an alias that holds itself",
        ),
        pytest.param(
            FetchConf,
            "a: &a [x, x, x, x, x, x, x, x, x]\n"
            + "".join(
                f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n"
                for a, b in zip("abcdefgh", "bcdefghi", strict=True)
            ),
            "key 'f[0][3]' holds itself, or more than 100,000 values",
            id="nine levels of nine aliases",
        ),
        pytest.param(SplitConf, "[" * 3000, "is no valid YAML: RecursionError: maximum", id="levels"),
        pytest.param(
            TileConf,
            "labels: [{path: a.gpkg, attribute: c, valid_from: spring}]",
            "key 'labels[0].valid_from': 'spring' is no day; write it as '2021-05-06'.",
            id="a day that is none",
        ),
        pytest.param(
            TileConf,
            "labels: [{path: a.gpkg, attribute: c, valid_from: '2021-05-06', valid_to: '2021-05-05'}]",
            "key 'labels[0]': valid_to 2021-05-05 lies before valid_from 2021-05-06",
            id="days that change places",
        ),
        pytest.param(
            TileConf,
            "labels: [{path: a.csv, attribute: c, x: lon}]",
            "key 'labels[0]': of the columns x and y one is missing; name both or none",
            id="one coordinate of two",
        ),
        pytest.param(
            FetchConf,
            'train: [{id: a, path: "a\\0"}]',
            "key 'train[0].path' holds the character U+0000, which no file can have; take it out.",
            id="a character that is none",
        ),
        pytest.param(
            FetchConf,
            'train: [{id: a, path: p, "a\\nb": 1}]',
            "key 'train[0].a b' is unknown; the keys there are",
            id="a key of two lines",
        ),
        pytest.param(
            FetchConf,
            "train: [{id: a, path: p, datetime: '2017-02-16T10:21:01'}]",
            "key 'train[0].datetime': '2017-02-16T10:21:01' has no time zone; write it as "
            "'2017-02-16T10:21:01Z' where it is UTC.",
            id="time zone",
        ),
        pytest.param(
            FetchConf,
            "train: [{id: a, path: p, datetime: yesterday}]",
            "key 'train[0].datetime': 'yesterday' is no time; write it as '2017-02-16T10:21:01Z'.",
            id="no time",
        ),
        pytest.param(
            FetchConf,
            f"train: [{SCENE}, {SCENE}]",
            "scene id 'a' stands twice; give each",
            id="id twice",
        ),
        pytest.param(
            ClassesConf,
            "{credit: c, classes: [{name: a, color: '#000000'}, {name: a, color: '#00ff00'}]}",
            "class name 'a' stands twice; each may stand once.",
            id="class twice",
        ),
        pytest.param(
            ClassesConf,
            "{credit: c, ignore: [b], classes: [{name: a, color: '#000000'}, "
            "{name: b, color: '#0000ff'}]}",
            "label value 'b' stands twice; each may stand once.",
            id="value both used and ignored",
        ),
        pytest.param(
            TileConf,
            "{labels: [{path: p, attribute: a}], patch_px: 16, cell_px: 7, stride_px: 7}",
            "patch_px 16 must exceed cell_px 7 by an even number, or equal it, so that the cell is",
            id="cell off centre",
        ),
        pytest.param(
            TileConf,
            "{labels: [{path: p, attribute: a}], stride_px: 3}",
            "stride_px 3 must divide cell_px 8.",
            id="stride",
        ),
        pytest.param(SplitConf, "folds: 1", "key 'folds' is 1, but it must be", id="folds"),
        pytest.param(
            SplitConf,
            "lists: official",
            "lists and folds exclude each other; state `folds: null` with lists, or leave lists out",
            id="lists",
        ),
        pytest.param(
            SplitConf,
            "{folds: null, validation: 0.6, test: 0.4}",
            "validation + test must be below 1, or nothing is left to train on.",
            id="no training part",
        ),
        pytest.param(
            SplitConf,
            "- seed",
            "is ['seed'], but it must be keys with their values; correct the value.",
            id="list",
        ),
        pytest.param(
            SplitConf,
            "seed: 1\nseed: 2",
            'is no valid YAML: line 2, column 1: found duplicate key "seed"',
            id="key twice",
        ),
        pytest.param(SplitConf, "a: [1", "is no valid YAML: line 1, column 6: expected ','", id="YAML"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, model: type[Conf], text: str, expected: str) -> None:
    message = sentence(tmp_path, model, text)
    assert message.startswith(expected)
    assert message.endswith(".")
    assert "\n" not in message


def test_the_defaults_of_train_are_those_of_its_file() -> None:
    assert load(CONF / "train.yaml", TrainConf) == TrainConf()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml does not exist; create it or name another"):
        load(tmp_path / "nowhere.yaml", SplitConf)


def test_a_folder_and_other_encodings_are_no_conf(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("credit: Müller".encode("latin-1"))
    for path in (tmp_path, tmp_path / "latin.yaml"):
        with pytest.raises(ConfigError, match="must be a UTF-8 text file"):
            load(path, ClassesConf)


def test_long_values_are_shortened(tmp_path: Path) -> None:
    message = sentence(tmp_path, TrainConf, f"network: {'x' * 200}")
    assert "..." in message
    assert len(message) < 250


def test_map_names_the_scenes_to_train_on_or_its_own(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"train: [{SCENE}]\nmap: train\n")
    same = load(path, FetchConf)
    assert same.map_scenes == same.train
    path.write_text(f"train: [{SCENE}]\nmap: [{SCENE.replace('id: a', 'id: b')}]\n")
    assert [scene.id for scene in load(path, FetchConf).map_scenes] == ["b"]


def test_times_keep_their_zone() -> None:
    scene = SceneConf(id="a", path="p", datetime="2017-02-16T12:21:01+02:00")  # type: ignore[arg-type]
    assert scene.datetime == datetime(2017, 2, 16, 10, 21, 1, tzinfo=UTC)


def test_a_class_means_its_name_unless_it_says_other_values(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(
        "credit: c\nclasses:\n"
        "  - {name: forest, color: '#006600'}\n"
        "  - {name: water, color: '#0000ff', values: [lake, 41]}\n"
    )
    first, second = load(tmp_path / "x.yaml", ClassesConf).classes
    assert (first.label_values, second.label_values) == (["forest"], ["lake", 41])
