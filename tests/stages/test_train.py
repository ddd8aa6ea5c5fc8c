from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import psutil
import pytest
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from pipeline.config.train import TrainConf
from pipeline.errors import ConfigError, NetworkError, SplitError, StoreError
from pipeline.files import sha256_of, sha256_of_value
from pipeline.learn.data.held_out import HeldOut
from pipeline.learn.inference.predictor import batched_logits, batched_probabilities
from pipeline.learn.network.classifier import PatchClassifier
from pipeline.learn.network.history import read_history
from pipeline.learn.stats.calibration import calibrate
from pipeline.learn.tracking.run import run_record
from pipeline.learn.tracking.tracking_uri import connect
from pipeline.learn.tracking.training_run import TrainingRun
from pipeline.split_folder import SplitFolder
from pipeline.stages.train import run
from pipeline.store import PatchStore
from tests.support.interrupts import interruptible
from tests.support.mlflow_servers import free_port
from tests.support.pages import BLOCK, HOWTO
from tests.support.projects import ROOT
from tests.support.stores import make_folds, make_split, make_store
from tests.support.tracked import mlflow_store

PAGE = HOWTO / "cluster.md"

# what MLflow and SQLAlchemy have to say to each other
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow")

OWN = """
epochs: 4
batch_size: 32
lr: 0.01
network:
  activation: tanh
  convolutions:
    - {filters: 8, kernel: 3, padding: 1, batch_norm: true, pool: {kind: average, size: 3, stride: 2}}
    - {filters: 12, kernel: 3, stride: 2}
  dense: [{units: 16, dropout: 0.1}]
"""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A store, its split into folds and into parts, and an MLflow store."""
    folder = tmp_path_factory.mktemp("train")
    store = make_store(folder / "patches", odd=0.2)
    make_folds(folder / "split", store, 2)
    make_split(folder / "parts", store)
    (folder / "compute.yaml").write_text("accelerator: cpu\n")
    with mlflow_store(folder), pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # where MLflow keeps the artifacts of such a store
        yield folder


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(inputs, conf, out=Path("models"), **changes):
    """Run the stage in the working directory; the conf is written beside the store."""
    path = inputs / "train.yaml"
    path.write_text(conf)
    given = {"store": inputs / "patches", "split": inputs / "split"} | changes
    run(path, given["store"], given["split"], out, inputs / "compute.yaml")
    return PatchClassifier.load(out)


@pytest.fixture(scope="module")
def trained(inputs):
    """The folder of a model of a network composed in YAML, and what was printed."""
    with redirect_stdout(StringIO()) as printed:
        train(inputs, OWN, inputs / "models")
    return inputs / "models", printed.getvalue()


def test_a_network_from_yaml_is_trained_and_written(trained):
    models, out = trained
    files = {path.relative_to(models).as_posix() for path in models.rglob("*") if path.is_file()}
    assert files == {
        "weights.safetensors",
        "model.json",
        "held_out.parquet",
        "history.csv",
        "item.json",
        "layers.txt",
        "run.json",
        "figures/curves.png",
        "figures/filters.png",
        "figures/layers.png",
        *(
            f"folds/{number}/{name}"
            for number in (1, 2)
            for name in ("weights.safetensors", "model.json", "history.csv")
        ),
    }
    layers = (models / "layers.txt").read_text()
    assert "8 of 3 x 3, padding 1, tanh" in layers
    assert (
        "400 training patches; in the 2 folds 160 to 200, each of which holds out other ground" in out
    )
    assert out.index(layers) < out.index("held-out ground, mean of the folds: balanced accuracy 0.")
    assert [row.epoch for row in read_history(models / "history.csv")] == [1, 2, 3, 4]


def test_the_hash_of_the_held_out_predictions_goes_with_the_model(trained, inputs):
    models, _ = trained
    meta = PatchClassifier.load(models).meta
    assert meta.held_out_sha256 == sha256_of(models / "held_out.parquet")
    names = [info.name for info in meta.classes]
    held_out = HeldOut.read(models / "held_out.parquet", meta.held_out_sha256, names)
    store = PatchStore.open(inputs / "patches")
    split = SplitFolder.open(inputs / "split", store)
    assert held_out.rows.tolist() == split.tested.tolist()
    for number in (0, 1):
        network = PatchClassifier.load(models / "folds" / str(number + 1))
        rows = split.rows("test", number)
        logits = batched_logits(network, store.chunks(rows))
        assert (held_out.logits[held_out.fold == number] == logits).all()
    truth = store.patches["label"][held_out.rows]
    assert meta.calibrated_by == calibrate(truth, held_out.logits, held_out.fold)
    assert meta.kept_epoch == 4


def test_each_fold_is_a_child_of_the_one_run(trained):
    client, run_id = connect(), run_record(trained[0]).run_id
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["kept_epoch"] == 4
    children = client.search_runs([run.info.experiment_id], f"tags.{MLFLOW_PARENT_RUN_ID} = '{run_id}'")
    assert sorted(child.info.run_name for child in children) == ["fold 1", "fold 2"]
    for child in children:
        points = client.get_metric_history(child.info.run_id, "val/balanced_accuracy")
        assert [point.step for point in points] == [1, 2, 3, 4]
        assert child.info.status == "FINISHED"


@pytest.mark.usefixtures("place")
def test_a_split_in_three_parts_chooses_the_epoch_by_validation(inputs, capsys):
    conf = OWN.replace("epochs: 4", "epochs: 8\npatience: 2\ntolerance: 0.0")
    classifier = train(inputs, conf, split=inputs / "parts")
    out = capsys.readouterr().out
    assert "240 training patches, 80 validation patches" in out
    history = read_history(Path("models/history.csv"))
    scores = [row.validation_balanced_accuracy for row in history]
    best = len(scores) - 1 - scores[::-1].index(max(scores))
    assert classifier.meta.kept_epoch == best + 1
    assert f"kept epoch {best + 1} of 8" in out
    assert classifier.meta.held_out_sha256 == ""
    assert not Path("models/held_out.parquet").exists()
    assert not Path("models/folds").exists()


class Cut(BaseException):
    """The training is cut off here."""


@pytest.mark.parametrize("split", ["split", "parts"])
def test_a_training_that_was_cut_off_goes_on_in_its_run(
    trained, inputs, place, monkeypatch, capsys, split
):
    """The conf is the same, whatever its comments, and so are all bytes."""
    data = {"split": inputs / split}
    if split == "split":
        shutil.copytree(trained[0], place / "whole")
    else:
        train(inputs, OWN, place / "whole", **data)
    original = TrainingRun.epoch

    def cutting(run, row):
        original(run, row)
        if row.epoch == 3:
            raise Cut

    before = {run.info.run_id for run in all_runs()}
    with monkeypatch.context() as patch:
        patch.setattr(TrainingRun, "epoch", cutting)
        with pytest.raises(Cut):
            train(inputs, OWN, **data)
    assert sorted(path.name for path in place.iterdir()) == [".models.unfinished", "whole"]
    capsys.readouterr()
    again = train(inputs, "# with a comment\n" + OWN, **data)
    assert "goes on with the training that was cut off" in capsys.readouterr().out
    assert again.meta == PatchClassifier.load(place / "whole").meta
    assert_the_same_folders(place / "whole", place / "models")
    assert sorted(path.name for path in place.iterdir()) == ["models", "whole"]
    folds = 2 if split == "split" else 0
    added = [run for run in all_runs() if run.info.run_id not in before]
    assert len(added) == 1 + folds
    assert {run.info.status for run in added} == {"FINISHED"}
    points = connect().get_metric_history(run_record(place / "models").run_id, "train/loss")
    assert [point.step for point in points] == [1, 2, 3, 4]


def all_runs():
    client = connect()
    experiment = client.get_experiment_by_name("lenscape")
    return client.search_runs([experiment.experiment_id])


def assert_the_same_folders(first, second):
    """All files are the same, but for the id of the run."""

    def bytes_of(folder):
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and path.name != "run.json"
        }

    assert bytes_of(first) == bytes_of(second)


@pytest.mark.parametrize("change", ["another conf", "another split", "another version"])
def test_the_state_of_another_training_is_not_gone_on_with(
    trained, inputs, place, monkeypatch, capsys, change
):
    rows = []

    def cutting(run, row):
        del run
        rows.append(row)
        if row.epoch == latest:
            raise Cut

    monkeypatch.setattr(TrainingRun, "epoch", cutting)
    conf = OWN.replace("lr: 0.01", "lr: 0.02") if change == "another conf" else OWN
    split = inputs / ("parts" if change == "another split" else "split")
    latest = 3
    with monkeypatch.context() as patch:
        if change == "another version":
            patch.setattr("pipeline.stages.train.__version__", "0.0.1")
        with pytest.raises(Cut):
            train(inputs, conf, split=split)
    known = place / ".models.unfinished" / "run_id"
    other = known.read_text()
    latest = 1
    with pytest.raises(Cut):
        train(inputs, OWN)
    assert "goes on" not in capsys.readouterr().out
    assert known.read_text() != other
    first = read_history(trained[0] / "history.csv")[0]
    assert rows[-1].train_loss == pytest.approx(first.train_loss, abs=1e-6)


def test_the_model_says_what_it_was_made_from(trained):
    meta = PatchClassifier.load(trained[0]).meta
    settings = TrainConf(epochs=4, batch_size=32, lr=0.01, network=meta.network)
    assert meta.hashes.conf == sha256_of_value(settings.model_dump(mode="json"))
    assert meta.bands == ["B02", "B03", "B04", "B08"]
    assert meta.preset == "own"


@pytest.mark.usefixtures("place")
def test_a_choice_of_bands_is_trained_on(inputs):
    conf = "bands: rgb\nnetwork: lenet5\nepochs: 1\nbatch_size: 32\n"
    classifier = train(inputs, conf)
    assert classifier.meta.bands == ["B04", "B03", "B02"]
    assert classifier.meta.preset == "lenet5"
    pixels = np.load(inputs / "patches" / "pixels.npy")[:10, :3]
    assert batched_probabilities(classifier, [pixels]).shape == (10, 3)


@pytest.mark.usefixtures("place")
def test_a_perceptron_is_trained_and_drawn_like_the_others(inputs):
    classifier = train(inputs, "network: {dense: [{units: 6}]}\nepochs: 1\nbatch_size: 32\n")
    assert classifier.meta.preset == "own"
    assert Path("models/figures/filters.png").stat().st_size > 0


@pytest.mark.parametrize(
    ("conf", "error", "message"),
    [
        ("bands: [B02, B11]", ConfigError, r"train\.yaml: key 'bands': band B11 is not in the data"),
        (
            "network: {convolutions: [{filters: 4, kernel: 17}]}",
            NetworkError,
            "convolution 1 does not fit",
        ),
        ("network: resnet", ConfigError, r"train\.yaml: key 'network' is 'resnet'"),
        ("lr: fast", ConfigError, r"train\.yaml: key 'lr' is 'fast'"),
    ],
)
def test_what_cannot_be_trained_is_refused_and_nothing_is_written(inputs, place, conf, error, message):
    with pytest.raises(error, match=message):
        train(inputs, conf)
    assert list(place.iterdir()) == []


def test_a_model_stays_where_a_later_training_fails(trained, inputs, place):
    shutil.copytree(trained[0], place / "models")
    before = {path: path.read_bytes() for path in place.rglob("*.*")}
    with pytest.raises(ConfigError, match="diverged"):
        train(inputs, OWN.replace("0.01", "1.0e+30"))
    assert {path: path.read_bytes() for path in place.rglob("*.*")} == before


def test_a_split_of_another_store_is_refused(inputs, place):
    make_store(place / "patches", seed=1)
    with pytest.raises(StoreError, match="splits another store"):
        train(inputs, OWN, store=place / "patches")


def test_a_split_without_validation_is_refused(inputs, place):
    store = make_store(place / "patches")
    make_split(place / "split", store, ["train"] * len(store))
    with pytest.raises(SplitError, match=r"validation part .* has no patches"):
        train(inputs, OWN, store=place / "patches", split=place / "split")


def test_a_missing_store_is_named(inputs, place):
    with pytest.raises(StoreError, match=r"meta\.json does not exist; run `tile` first"):
        train(inputs, OWN, store=place / "nowhere")


KILLED = """
import os, signal, sys, time
from pathlib import Path

import mlflow.pytorch, torch._inductor.decomposition, torch.export  # once, and not in each fork

from pipeline.stages.train import run

if __name__ == "__main__":
    here, moments = Path(sys.argv[1]), [float(moment) for moment in sys.argv[2:]]

    def forked(out):
        process = os.fork()
        if not process:
            inputs = (here / name for name in ("train.yaml", "patches", "split"))
            run(*inputs, here / out, here / "compute.yaml")
            os._exit(0)
        return process

    begun = time.monotonic()
    assert os.waitpid(forked("whole"), 0)[1] == 0
    took = time.monotonic() - begun
    for moment in moments:
        process = forked("models")
        time.sleep(moment * took)
        os.kill(process, signal.SIGKILL)
        if os.waitpid(process, 0)[1] == 0:  # it had come to its end
            break
    else:
        assert os.waitpid(forked("models"), 0)[1] == 0
"""


@pytest.mark.slow
def test_two_devices_train_in_one_run_be_they_of_one_machine_or_of_two(tmp_path):
    """Lightning starts the command again for the second one; on two machines a person does."""
    root = tmp_path / "project"
    shutil.copytree(ROOT / "conf", root / "conf")
    with mlflow_store(tmp_path):
        make_folds(root / "data/split", make_store(root / "data/patches", odd=0.2), 2)
        (root / "conf/train.yaml").write_text("epochs: 1\nbatch_size: 32\nnetwork: lenet5\n")
        compute = root / "conf/compute.yaml"
        compute.write_text("accelerator: cpu\ndevices: 2\n")
        train = f"{sys.executable} -m pipeline.cli train --compute conf/compute.yaml"
        assert trained_by([(train, {})], root) >= {"1"}, "one process has trained alone"
        (root / "models").rename(root / "of_one_machine")
        compute.write_text("accelerator: cpu\n")
        (command,) = (text for _, what, text in BLOCK.findall(PAGE.read_text()) if what == "node")
        where = {"FIRST_NODE": "127.0.0.1", "PORT": str(free_port()), "DEVICES": "1"}
        trained_by([(command, where | {"NODE": node}) for node in ("0", "1")], root)
        client = connect()
        runs = client.search_runs([client.get_experiment_by_name("lenscape").experiment_id])
        parents = [one.info.run_id for one in runs if MLFLOW_PARENT_RUN_ID not in one.data.tags]
        assert len(runs) == 6, "each the network that maps, and those of two folds"
        assert {one.info.status for one in runs} == {"FINISHED"}
        folders = root / "of_one_machine", root / "models"
        assert {run_record(folder).run_id for folder in folders} == set(parents)
        weights = [sha256_of(folder / "weights.safetensors") for folder in folders]
        assert weights[0] == weights[1], "each machine has trained alone"
        PatchClassifier.load(root / "models")


def trained_by(commands, root):
    """Run commands at the same time; the local ranks of the processes that they have started."""
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    own = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": programs}
    log, ranks = root.parent / "log", set()
    with ExitStack() as stack:
        stream = stack.enter_context(log.open("w"))
        running = [
            stack.enter_context(
                subprocess.Popen(
                    ["bash", "-euc", text], cwd=root, stdin=subprocess.DEVNULL, stdout=stream,
                    stderr=stream, env=os.environ | own | variables,
                )
            )
            for text, variables in commands
        ]  # fmt: skip
        while any(process.poll() is None for process in running):
            ranks |= {rank for process in running for rank in ranks_below(process.pid)}
            time.sleep(0.2)
        assert [process.returncode for process in running] == [0] * len(running), log.read_text()
    return ranks


def ranks_below(pid):
    """The local ranks of the processes that one has started."""
    try:
        found = [one.environ() for one in psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return set()
    return {rank for one in found if (rank := one.get("LOCAL_RANK")) is not None}


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_killed_at_random_moments_it_ends_with_the_same_bytes_and_one_run(tmp_path):
    moments = [random.uniform(0.1, 0.6) for _ in range(6)]
    with mlflow_store(tmp_path):
        make_folds(tmp_path / "split", make_store(tmp_path / "patches", odd=0.2), 2)
        (tmp_path / "train.yaml").write_text(OWN.replace("epochs: 4", "epochs: 20"))
        (tmp_path / "compute.yaml").write_text("accelerator: cpu\n")
        (tmp_path / "script.py").write_text(KILLED)
        root = Path(__file__).parents[2]
        # of one thread, or a process would begin with the imports of those that train beside it
        environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
        subprocess.run(
            [sys.executable, "script.py", ".", *map(str, moments)], check=True, cwd=tmp_path,
            timeout=400, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert_the_same_folders(tmp_path / "whole", tmp_path / "models")
        assert not list(tmp_path.glob(".models*")), moments
        ids = [run_record(tmp_path / name).run_id for name in ("whole", "models")]
        assert ids[0] != ids[1]
        children = {one: [] for one in ids}
        for one in all_runs():
            # killed before anybody wrote down its id: it is closed, and another one is opened
            if one.info.status == "KILLED":
                assert one.info.run_id not in ids
                assert MLFLOW_PARENT_RUN_ID not in one.data.tags
                continue
            assert one.info.status == "FINISHED", moments
            if one.info.run_id not in ids:
                children[one.data.tags[MLFLOW_PARENT_RUN_ID]].append(one.info.run_name)
        assert {tuple(sorted(names)) for names in children.values()} == {("fold 1", "fold 2")}
        points = connect().get_metric_history(ids[1], "train/loss")
        assert [point.step for point in points] == list(range(1, 21))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "status", "said"),
    [
        (signal.SIGTERM, 143, ""),
        # Ctrl-C reaches all processes of a terminal
        (
            signal.SIGINT,
            130,
            "lenscape: interrupted; nothing half-written is left. To go on, run it again.",
        ),
    ],
)
def test_a_training_that_is_asked_to_end_leaves_no_process(tmp_path, kind, status, said):
    with mlflow_store(tmp_path):
        make_folds(tmp_path / "split", make_store(tmp_path / "patches"), 2)
        (tmp_path / "train.yaml").write_text(OWN.replace("epochs: 4", "epochs: 5000"))
        (tmp_path / "compute.yaml").write_text("accelerator: cpu\n")
        paths = ("--conf=train.yaml", "--store=patches", "--split=split", "--compute=compute.yaml")
        with (tmp_path / "stderr").open("w") as printed:
            training = subprocess.Popen(
                [*interruptible("pipeline.cli:main"), "train", *paths, "--out=models"], cwd=tmp_path,
                stdout=subprocess.DEVNULL, stderr=printed, start_new_session=True,
                env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "2"},
            )  # fmt: skip
        states = [tmp_path / ".models.unfinished" / name for name in ("network.ckpt", "fold_1.ckpt")]
        latest = time.monotonic() + 180
        while not all(state.exists() for state in states):
            assert training.poll() is None, "it ended by itself"
            assert time.monotonic() < latest, "it does not train"
            time.sleep(0.1)
        processes = psutil.Process(training.pid).children(recursive=True)
        assert processes, "one trains beside it"
        if kind == signal.SIGINT:
            os.killpg(training.pid, kind)
        else:
            training.send_signal(kind)
        assert training.wait(60) == status
        _, alive = psutil.wait_procs(processes, 10)
        assert not alive
        assert all(state.exists() for state in states), "it can go on"
        assert {path.name for path in tmp_path.glob(".*")} == {".models.unfinished"}
        assert "Traceback" not in (tmp_path / "stderr").read_text()
        assert (tmp_path / "stderr").read_text().rstrip().endswith(said)
