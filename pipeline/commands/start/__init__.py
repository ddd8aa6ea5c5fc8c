"""`lenscape start`: a thin layer over what `fetch`, `tile` and `split` do with the same files.

`command` is the entry point. `entries` and `scenes` look at scenes, `labels` and `classes` at labels,
`images` at EuroSAT; `plan` tries `sizes` until `split` works; `conf_files` puts files under `data/own/`
and writes the conf.
"""
