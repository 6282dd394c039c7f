"""Choosing a network for a problem."""

Modes = tuple[tuple[int, ...], tuple[int, ...]]
Ranks = int
Tree = str


def chosen_network(*a, **k):
    raise NotImplementedError


def chosen_stack(*a, **k):
    raise NotImplementedError
