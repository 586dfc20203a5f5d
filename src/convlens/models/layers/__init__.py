"""Layers that the networks share, each in a file of its own."""
