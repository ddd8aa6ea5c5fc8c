"""`python -m pipeline.cli`, as the stages of `dvc.yaml` are called."""

from pipeline.cli import main

main()
