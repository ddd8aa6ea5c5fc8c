"""The six stages of the pipeline: thin, one module a stage, none knows another."""
