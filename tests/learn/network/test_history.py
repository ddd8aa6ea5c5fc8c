from __future__ import annotations

import pytest

from pipeline.errors import StoreError
from pipeline.learn.network.history import Epoch, read_history, write_history

ROWS = [Epoch(1, 1.25, 1.5, 0.5, 0.25, 1e-3), Epoch(2, 0.75, 1.125, 0.625, 0.5, 1e-6)]


def test_a_history_comes_back(tmp_path):
    write_history(tmp_path / "history.csv", ROWS)
    assert read_history(tmp_path / "history.csv") == ROWS
    assert (
        (tmp_path / "history.csv")
        .read_text()
        .splitlines()[0]
        .startswith("epoch,train_loss,validation_")
    )


def test_a_missing_history_is_refused(tmp_path):
    with pytest.raises(StoreError, match=r"history\.csv does not exist; run `train` first"):
        read_history(tmp_path / "history.csv")


@pytest.mark.parametrize("content", ["epoch,train_loss\n1,2\n", "nonsense\nx\n"])
def test_a_broken_history_is_refused(tmp_path, content):
    (tmp_path / "history.csv").write_text(content)
    with pytest.raises(StoreError, match="is broken"):
        read_history(tmp_path / "history.csv")
