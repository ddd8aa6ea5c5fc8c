"""The forms that an entry of `conf/fetch.yaml` may have: a module a kind of source."""
