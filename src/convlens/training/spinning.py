"""How the threads of an operator wait for each other; read by OpenMP when torch is imported."""

import os
import sys
from collections.abc import MutableMapping

# GNU's OpenMP, which torch's wheels for Linux bring: how often a thread looks before it sleeps.
SPINCOUNT = "GOMP_SPINCOUNT"
# Whoever has set one of these has chosen.
CHOICES = (SPINCOUNT, "OMP_WAIT_POLICY")


def sleep_at_once(environment: MutableMapping[str, str] = os.environ) -> None:
    """Have a thread that waits for the others sleep, instead of holding its core.

    By itself it looks some 300,000 times first. On a quiet machine that costs nothing and gains
    little; beside other programs it keeps the core from the very thread it waits for, which there
    takes up to two thirds of the speed (docs/speed.md). Processes started later inherit it. Nothing
    happens where the user has chosen, and in a process that has imported torch already, for which
    it comes too late.
    """
    loaded = environment is os.environ and "torch" in sys.modules
    if not loaded and not any(name in environment for name in CHOICES):
        environment[SPINCOUNT] = "0"
