"""The explorer: a local page on which to look at a trained network, and to compare two.

`inside` knows the runs, the data set and the uploaded images; `network` asks a network about one
image, `survey` about the whole data set, in the background; `site` tells what there is, and
`answers` turns a path into bytes. `server` hands these out by HTTP and `export` writes them as
files, so that both give one `page`; `serving` starts either.
"""
