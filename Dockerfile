# lenscape in a container, ending in the demo: docker build -t lenscape . && docker run --rm lenscape
# CI does not build this image. With a GPU: docker run --gpus all (PyTorch brings its CUDA libraries).
FROM python:3.13-slim-bookworm

RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /lenscape

# The packages first: a change of the code does not install them anew.
COPY requirements.txt pyproject.toml README.md LICENSE Makefile .python-version ./
COPY .ci/setup .ci/setup
COPY pipeline/__init__.py pipeline/__init__.py
RUN make setup

# The repository with .git: DVC and the MLflow run ask it for the commit.
COPY . .
RUN make setup

CMD ["make", "demo"]
