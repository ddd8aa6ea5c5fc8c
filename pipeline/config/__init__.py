"""One YAML file -> one frozen, strict record: a module a file of `conf/`.

What may change a result stands in the conf of its stage; what may not, in `compute`.
"""
