"""The embedded corpus: tapes of synthetic voices and noise, and their index.

`python -m train_host.embedded` (`make corpus`) rebuilds it,
`train_host.corpus.read_embedded` reads it.
"""
