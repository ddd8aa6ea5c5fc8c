from __future__ import annotations

import pytest

from pipeline.errors import StoreError
from pipeline.learn.tracking.record import RUN, read_record, write_record
from tests.support.tracked import RECORD


def test_a_record_comes_back_as_it_was(tmp_path):
    known = RECORD.model_copy(update={"run_id": "f" * 32})
    write_record(tmp_path, known)
    assert read_record(tmp_path) == known


@pytest.mark.parametrize("text", ["", "{", '{"name": "a"}', '{"run": 1}'])
def test_a_broken_record_is_refused(tmp_path, text):
    (tmp_path / RUN).write_text(text)
    with pytest.raises(StoreError, match=r"run\.json is broken .* run `train` again"):
        read_record(tmp_path)


def test_a_missing_record_is_refused(tmp_path):
    with pytest.raises(StoreError, match=r"run\.json does not exist; run `train` first"):
        read_record(tmp_path)
