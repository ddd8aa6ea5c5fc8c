"""What an error message must not show."""

import pytest

from pipeline.errors import SceneError, masked

SECRET = "Geh3im%2F"


@pytest.mark.parametrize(
    "text",
    [
        f"https://me:{SECRET}@host/path",
        f"postgresql+psycopg2://me:{SECRET}@db:5432/mlflow",
        f"https://{SECRET}@git.example.org/a.git",
        f"https://me:p@{SECRET}@host",
        f"https://a.blob.core.windows.net/c/b.tif?sv=2024&sig={SECRET}&se=2030",
        f"https://a.s3.amazonaws.com/b?X-Amz-Signature={SECRET}&X-Amz-Security-Token={SECRET}",
        f"https://host/api?api_key={SECRET}",
        f"https://host/v1?subscription-key={SECRET}#top",
        f"/vsicurl/https://host/b.tif?access_token={SECRET} failed",
        f"Server=db;Password={SECRET};Database=a",
    ],
)
def test_passwords_tokens_and_signatures_are_masked(text: str) -> None:
    assert SECRET not in masked(text)
    assert SECRET not in str(SceneError(f"{text} cannot be read; see {text}."))


@pytest.mark.parametrize(
    "text",
    [
        "models:/lenscape@champion",
        "sqlite:////home/me@work/mlflow.db",
        "https://host/a/b@2x.png?size=3",
        "me@gpu.example.org: no connection",
        "conf/tile.yaml: key 'labels' is 3",
        "data/own/labels/a&b=c?.gpkg",
    ],
)
def test_other_texts_stay(text: str) -> None:
    assert masked(text) == text
