"""One YAML file -> one frozen, strict record; an error names the file, the key and the value.

YAML is parsed as DVC parses it (YAML 1.2), so that `1e-3` is a number on both sides.
What may change a result stands in the conf of its stage; what may not, in `ComputeConf`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from pipeline.errors import ConfigError

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]
Color = Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]
Share = Annotated[float, Field(ge=0, le=1)]
_PATTERNS = {
    r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$": "letters, digits, '_', '.' and '-', a letter or digit first",
    r"^#[0-9a-fA-F]{6}$": "a colour as '#rrggbb'",
    r"^\d\d\.\d\d$": "four digits as '05.09'",
    r"^models:/[^/@]+/\d+$": "'models:/<name>/<version>' (`lenscape pin` turns an alias into it)",
    r"^[0-9a-f]{64}$": "64 hexadecimal digits",
}
Positive = Annotated[int, Field(gt=0)]


def _moment(value: Any) -> Any:
    """A moment from its text."""
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError(f"{value!r} is no time; write it as '2017-02-16T10:21:01Z'") from None
    if moment.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone; write a Z behind it for UTC")
    return moment


Moment = Annotated[datetime, BeforeValidator(_moment)]


class Conf(BaseModel):
    """A frozen record without unknown keys and without silent conversion of types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class MaskConf(Conf):
    """A raster that says which pixels of a scene are not to be used."""

    path: str
    """Path of the raster, of one band, in the scene's CRS; any resolution."""
    invalid: list[int] = [1]
    """The values that mark a pixel as invalid."""


class SceneConf(Conf):
    """One scene: where its pixels lie and what its metadata do not say."""

    id: Name
    """Name of the scene, of its folder and of its class map."""
    path: str
    """A folder of one file per band, each named after its band (`..._B02.jp2`, `B8A.tif`)."""
    datetime: Moment
    """Time of acquisition, with its zone, in quotes (`"2017-02-16T10:21:01Z"`)."""
    scale: Annotated[float, Field(gt=0)] | None = None
    """Reflectance per DN (0.0001 for a quantification of 10,000); reflectance = DN * scale + offset."""
    offset: float | None = None
    """Reflectance at DN 0 (-0.1 for baseline 04.00 and later, 0 before)."""
    platform: str | None = None
    """Satellite, such as `sentinel-2a`."""
    level: Literal["L1C", "L2A"] | None = None
    """Processing level: top of atmosphere (L1C) or surface reflectance (L2A)."""
    baseline: Annotated[str, Field(pattern=r"^\d\d\.\d\d$")] | None = None
    """Processing baseline of the product, such as `05.09`; it is recorded, never used to guess."""
    mask: MaskConf | None = None
    """Pixels to leave out (cloud, shadow)."""


class FetchConf(Conf):
    """`conf/fetch.yaml`: the scenes to train on and the scenes to map."""

    train: Annotated[list[SceneConf], Field(min_length=1)]
    """Scenes with labels."""
    map: Literal["train"] | list[SceneConf] = "train"
    """Scenes to be mapped: a list of its own, or `train` for the same ones."""

    @model_validator(mode="after")
    def _ids_are_unique(self) -> FetchConf:
        for scenes in (self.train, self.map_scenes):
            ids = [scene.id for scene in scenes]
            if twice := sorted({i for i in ids if ids.count(i) > 1}):
                raise ValueError(f"scene id {twice[0]!r} stands twice; give each scene its own id")
        return self

    @property
    def map_scenes(self) -> list[SceneConf]:
        """The scenes to be mapped, whichever way they are stated."""
        return self.train if self.map == "train" else self.map


class LabelConf(Conf):
    """One source of labels."""

    path: str
    """A vector file that geopandas reads, with polygons."""
    attribute: str
    """The attribute that holds the class value."""
    layer: str | None = None
    """The layer, where the file has several."""
    scenes: list[Name] | None = None
    """The ids of the scenes that these labels describe; all of them where absent."""


class TileConf(Conf):
    """`conf/tile.yaml`: how scenes and labels become patches."""

    labels: Annotated[list[LabelConf], Field(min_length=1)]
    bands: Literal["all", "rgb", "10m"] | Annotated[list[str], Field(min_length=1)] = "all"
    """The bands of the store; `all` are those that every scene has."""
    patch_px: Positive = 16
    """Side of a patch, what the network sees, in pixels of 10 m."""
    cell_px: Positive = 8
    """Side of a cell, what the class is claimed for, in pixels of 10 m."""
    stride_px: Positive = 8
    """Distance of training patches; it divides `cell_px`. Evaluation keeps to the cell grid."""
    min_purity: Annotated[float, Field(gt=0, le=1)] = 0.6
    """A cell has a class when that class covers at least this share of it."""
    min_valid: Share = 0.75
    """A cell is used, and later mapped, when at least this share of its band pixels is valid."""
    overlap: Literal["smallest", "unlabelled"] = "smallest"
    """Pixels under polygons of several classes: the smallest polygon wins, or they stay unlabelled."""
    max_per_class: Positive | None = None
    """At most this many patches a class, drawn by ground position."""
    max_per_scene: Positive | None = None
    """At most this many patches a scene, drawn by ground position."""
    seed: int = 0
    """Seed of the drawing."""

    @model_validator(mode="after")
    def _geometry_fits(self) -> TileConf:
        if self.patch_px < self.cell_px or (self.patch_px - self.cell_px) % 2:
            raise ValueError(
                f"patch_px {self.patch_px} must exceed cell_px {self.cell_px} by an even number, "
                "or equal it, so that the cell is its centre"
            )
        if self.cell_px % self.stride_px:
            raise ValueError(f"stride_px {self.stride_px} must divide cell_px {self.cell_px}")
        return self


class ClassConf(Conf):
    """One class of the class map; its value there is its place in the list, from 1."""

    name: Name
    """Machine name."""
    title: str | None = None
    """The name that people read, in any script; the machine name where absent."""
    color: Color
    """Colour in the class map, `#rrggbb`."""
    description: str = ""
    values: list[str | int] | None = None
    """The attribute values that mean this class; the machine name where absent."""

    @property
    def label_values(self) -> list[str | int]:
        """The attribute values that mean this class."""
        return [self.name] if self.values is None else self.values


class ClassesConf(Conf):
    """`conf/classes.yaml`: the classes, and whom to thank for the labels."""

    classes: Annotated[list[ClassConf], Field(min_length=2, max_length=254)]
    ignore: list[str | int] = []
    """Attribute values that are passed over; any other unlisted value is an error."""
    credit: str
    """The credit of the labels, written into every map made with them."""

    @model_validator(mode="after")
    def _names_and_values_are_unique(self) -> ClassesConf:
        names: list[str | int] = [c.name for c in self.classes]
        values = [v for c in self.classes for v in c.label_values] + list(self.ignore)
        for what, items in (("class name", names), ("label value", values)):
            if twice := sorted({str(i) for i in items if items.count(i) > 1}):
                raise ValueError(f"{what} {twice[0]!r} stands twice; each may stand once")
        return self


class SplitConf(Conf):
    """`conf/split.yaml`: which ground trains, which chooses and which tests."""

    seed: Annotated[int, Field(ge=0)] = 0
    """The first seed tried; seed + 1000, + 2000, ... follow until every class reaches every part."""
    block_m: Annotated[float, Field(gt=0)] = 1920.0
    """Side of a block of the spatial split, in metres."""
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the blocks that validate; in fold mode, of the blocks that remain."""
    test: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the blocks that test; not used in fold mode."""
    folds: Annotated[int, Field(ge=2)] | None = None
    """Number of folds; none for the three parts above."""
    fold: Annotated[int, Field(ge=0)] | None = None
    """The fold that tests, from 0."""

    @model_validator(mode="after")
    def _parts_fit(self) -> SplitConf:
        if (self.folds is None) != (self.fold is None):
            raise ValueError("folds and fold go together; state both or neither")
        if self.folds is not None and self.fold is not None and self.fold >= self.folds:
            raise ValueError(f"fold {self.fold} must be below folds {self.folds}; the first is 0")
        if self.folds is None and self.validation + self.test >= 1:
            raise ValueError("validation + test must be below 1, or nothing is left to train on")
        return self


class PoolConf(Conf):
    """Pooling after a convolution."""

    kind: Literal["max", "average"] = "max"
    size: Positive = 2
    """Side of the window, in pixels of its input."""
    stride: Positive | None = None
    """Step of the window; its size where absent."""


class ConvolutionConf(Conf):
    """One convolution with what follows it: batch norm, activation, pooling, dropout."""

    filters: Positive
    kernel: Positive = 3
    padding: Annotated[int, Field(ge=0)] = 0
    stride: Positive = 1
    batch_norm: bool = False
    pool: PoolConf | None = None
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


class DenseConf(Conf):
    """One dense hidden layer with its activation and dropout."""

    units: Positive
    batch_norm: bool = False
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


class NetworkConf(Conf):
    """A network of the LeNet family; the output layer, one unit a class, is always added."""

    activation: Literal["sigmoid", "tanh", "relu"] = "relu"
    convolutions: Annotated[list[ConvolutionConf], Field(min_length=1)]
    dense: list[DenseConf] = []


class AugmentConf(Conf):
    """Random changes of training patches; none of them moves a patch to other ground."""

    flips: bool = True
    turns: bool = True
    """Quarter turns."""
    jitter: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Standard deviation of a random gain per patch and band."""


class TrainConf(Conf):
    """`conf/train.yaml`: the network and how it learns."""

    bands: Literal["all", "rgb", "10m"] | Annotated[list[str], Field(min_length=1)] = "all"
    """Input bands, out of those of the store."""
    network: Literal["modern", "lenet5"] | NetworkConf = "modern"
    """A preset, or a network composed here."""
    augment: AugmentConf = AugmentConf()
    class_weight_exponent: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Class weights by frequency: 0 none, 0.5 inverse square root, 1 inverse."""
    epochs: Positive = 30
    batch_size: Annotated[int, Field(ge=2)] = 256
    """Patches a step; at least 2, because batch norm learns from their spread."""
    lr: Annotated[float, Field(gt=0)] = 2e-3
    """The largest learning rate: it rises for a fifth of the steps, then falls to nothing."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of each label that is spread over all classes."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Decay, a step, of the running mean of the weights that is validated and kept; 0 for none."""
    patience: Positive = 10
    """Training stops after this many epochs in a row that are not kept (see `tolerance`)."""
    monitor: Literal["balanced_accuracy", "loss"] = "balanced_accuracy"
    """The validation score that chooses the epoch; never the overall accuracy."""
    tolerance: Annotated[float, Field(ge=0)] = 0.02
    """Of the epochs whose score lies within this of the best one, the last is kept."""
    seed: Annotated[int, Field(ge=0)] = 0


class EvaluateConf(Conf):
    """`conf/evaluate.yaml`: what the network is compared with."""

    baselines: list[Literal["majority", "logistic_regression"]] = ["majority", "logistic_regression"]
    """Fitted on the same training patches with the same class weights."""
    gallery: Annotated[int, Field(ge=0, le=100)] = 24
    """How many of the most confident mistakes the gallery shows."""


class RegisteredModelConf(Conf):
    """A version of the model registry, pinned by the hash of its weights (`lenscape pin`)."""

    uri: Annotated[str, Field(pattern=r"^models:/[^/@]+/\d+$")]
    """`models:/<name>/<version>`; an alias can move without DVC seeing it, so pin it."""
    weights_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class PredictConf(Conf):
    """`conf/predict.yaml`: which model maps."""

    model: Literal["trained"] | RegisteredModelConf = "trained"
    """The model that `train` has just made, or a registered one."""
    probabilities: bool = False
    """Whether to write the probabilities of all classes too, a band each."""


class ComputeConf(Conf):
    """`conf/compute.yaml`: where and how fast, never what; no DVC param."""

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: Literal["auto"] | Positive = "auto"
    precision: Literal["auto", "float32", "bf16"] = "auto"
    """Of training, and on CUDA of predict; `auto` is bf16 on CUDA and float32 elsewhere."""
    workers: Positive | None = None
    """Pieces of work at a time; the number of cores where absent."""
    memory_mb: Annotated[int, Field(ge=128)] = 1024
    """Memory for pixels in flight."""
    loaders: Annotated[int, Field(ge=0)] = 2
    """Threads that read batches ahead in training, each a batch; none ahead where 0."""
    scheduler: str | None = None
    """Address of a Dask scheduler (`tcp://host:8786`); this process where absent."""


def load_compute(path: Path | None) -> ComputeConf:
    """`conf/compute.yaml`, or its defaults where no file is named.

    Raises:
        ConfigError: as `load` does.
    """
    return ComputeConf() if path is None else load(path, ComputeConf)


def load[C: Conf](path: Path, model: type[C]) -> C:
    """Read a YAML file into its record.

    Raises:
        ConfigError: when the file is missing, is no YAML, or does not fit the record; the message
            names the file, the key and the value.
    """
    try:
        raw = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist; create it or name another file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); it must be a UTF-8 text file.") from error
    except YAMLError as error:
        raise ConfigError(f"{path} is no valid YAML: {_where(error)}; correct it there.") from error
    return parse({} if raw is None else raw, model, str(path))


def parse[C: Conf](raw: Any, model: type[C], where: str) -> C:
    """The record that parsed YAML describes; `where` it stands begins the message of an error.

    Raises:
        ConfigError: when it does not fit the record.
    """
    for key, value in _leaves(raw):
        if isinstance(value, date):  # DVC stops at a YAML timestamp: it cannot write it to dvc.lock
            raise ConfigError(f"{where}: key '{_dotted(key)}' is {_shown(value)}; put it in quotes.")
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(_sentence(where, error, model, raw)) from None


def _where(error: YAMLError) -> str:
    if isinstance(error, MarkedYAMLError) and error.problem and error.problem_mark:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {' '.join(error.problem.split())}"
    return " ".join(str(error).split())


type _Key = tuple[int | str, ...]


def _leaves(raw: Any, key: _Key = ()) -> Iterator[tuple[_Key, Any]]:
    """The values of a parsed file that hold no others, with their places."""
    if isinstance(raw, dict | list):
        for part, value in raw.items() if isinstance(raw, dict) else enumerate(raw):
            yield from _leaves(value, (*key, part))
    else:
        yield key, raw


def _sentence(where: str, error: ValidationError, model: type[Conf], raw: Any) -> str:
    """What is wrong, of several complaints the deepest: in a union, the form that was meant.

    An unknown key goes before a missing one, because it is often that one misspelt.
    """
    located = [(_key(problem, raw), problem) for problem in error.errors()]
    meant = [(key, problem) for key, problem in located if key[:1] == located[0][0][:1]]
    place, _ = max(meant, key=lambda found: (len(found[0]), found[1]["type"] == "extra_forbidden"))
    problems = [problem for key, problem in meant if key == place]
    first, key = problems[0], _dotted(place)
    at = f"{where}: key '{key}'" if key else where
    match first["type"]:
        case "extra_forbidden":
            return f"{at} is unknown; the keys there are {', '.join(_keys_beside(place, model))}."
        case "missing":
            return f"{at} is missing; add it."
        case "value_error":
            return f"{at}: {first['ctx']['error']}."
        case _:
            needed = " or ".join(dict.fromkeys(_needed(problem) for problem in problems))
            text = needed == "a valid string" and isinstance(first["input"], int | float)
            remedy = "put it in quotes" if text else "correct the value"
            return f"{at} is {_shown(first['input'])}, but it must be {needed}; {remedy}."


def _key(problem: ErrorDetails, raw: Any) -> _Key:
    """The place of a problem in the file: its location without pydantic's names of union members."""
    key: list[int | str] = []
    for depth, part in enumerate(problem["loc"], start=1):
        if part in raw if isinstance(raw, dict) else isinstance(raw, list) and isinstance(part, int):
            raw = raw[part]
        elif problem["type"] != "missing" or depth < len(problem["loc"]):
            continue
        key.append(part)
    return tuple(key)


def _dotted(key: _Key) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key).lstrip(".")


def _keys_beside(key: _Key, model: type[Conf]) -> Iterator[str]:
    """The keys of the record that holds `key`."""
    for part in key[:-1]:
        if isinstance(part, str):
            model = _record_in(model.model_fields[part].annotation) or model
    return iter(model.model_fields)


def _record_in(annotation: Any) -> type[Conf] | None:
    """The record among the types that an annotation is made of."""
    if isinstance(annotation, type) and issubclass(annotation, Conf):
        return annotation
    return next(filter(None, map(_record_in, get_args(annotation))), None)


def _needed(problem: ErrorDetails) -> str:
    if problem["type"] == "string_pattern_mismatch":
        return _PATTERNS[problem["ctx"]["pattern"]]
    if problem["type"] in ("model_type", "model_attributes_type", "dict_type"):
        return "keys with their values"
    words = problem["msg"].replace(" after validation", "")
    return words.removeprefix("Input should be ").replace("List should have", "a list with")


def _shown(value: Any) -> str:
    text = repr(value) if not isinstance(value, date) else value.isoformat()
    return text if len(text) <= 80 else text[:77] + "..."
