"""What `xlift init` writes."""

STUDY = """\
# yaml-language-server: $schema=manifest.schema.json   (xlift schema > manifest.schema.json)
schema: xlift/1
id: NAME
question: Does the gain from intermediate training change with model size?
data: {source: lab}                       # or: local, with --data DIR
models:                                   # parameters are computed from these shapes, never typed
  - {id: tiny,   make: {layers: 1, hidden: 48,  heads: 3}}
  - {id: small,  make: {layers: 2, hidden: 64,  heads: 4}}
  - {id: medium, make: {layers: 2, hidden: 96,  heads: 4}}
  - {id: large,  make: {layers: 3, hidden: 128, heads: 4}}
pretrain:
  recipe: {lr: 4e-3, batch: 32, steps: 600, max_length: 48, mask: 0.3, dropout: 0, head_dropout: 0}
recipe: {lr: 1e-3, batch: 32, epochs: 2, max_length: 64, dropout: 0, head_dropout: 0}
matrix:
  intermediate: [none, lab-span]
  target: [lab-pos, lab-pairs]
  seed: {count: 2, from: 1}
analysis:
  x: params_non_embedding
"""
