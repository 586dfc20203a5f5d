"""The command line. Only here are options spelled with dashes; nothing imports this package."""

from convlens.cli.main import main

__all__ = ["main"]
