"""torch's optimizers, without what takes a second of every start.

torch keeps its compiler out of an optimizer's methods, and imports the compiler to do that. Nothing
here is compiled, so these are the methods themselves.
"""

from inspect import unwrap

import torch

_without_grad = torch.no_grad()


class Optimizer(torch.optim.Optimizer):
    """What is written here derives from it, and so do the following."""

    add_param_group = unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = unwrap(torch.optim.Optimizer.zero_grad)
    state_dict = unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = unwrap(torch.optim.Optimizer.load_state_dict)


class Adam(Optimizer, torch.optim.Adam):
    """Kingma and Ba 2015."""

    step = _without_grad(unwrap(torch.optim.Adam.step))


class AdamW(Optimizer, torch.optim.AdamW):
    """Loshchilov and Hutter 2019."""

    step = _without_grad(unwrap(torch.optim.AdamW.step))


class SGD(Optimizer, torch.optim.SGD):
    """With momentum, also Nesterov's."""

    step = _without_grad(unwrap(torch.optim.SGD.step))
