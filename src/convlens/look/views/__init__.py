"""The views, each `view(classifier, …) -> View`, in the form that `convlens.look` exports them.

`of_image` looks at what a network makes of given images, `of_network` at a network alone, `of_data`
at what needs a data set; `given` reads what they are given.
"""
