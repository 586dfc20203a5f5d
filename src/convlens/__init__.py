"""ConvLens trains small convolutional networks on a folder of images and shows what they learned.

One image goes from disk to loss through these, in order: `data.sources` finds it, `data.cache`
decodes it once to uint8, `data.batches` deals it into a seeded batch with a one-hot label,
`data.augment` turns the batch into normalized floats, `models` gives logits, `train.loop` minimizes
their cross-entropy and `evaluate` measures it. `train.checkpoint` is the run folder that remains;
`look` and `figures` show what was learned, and `report` hands it over.
"""

__version__ = "0.1.0"
