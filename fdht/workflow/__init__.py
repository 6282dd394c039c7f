"""The way of a model from data to a board, a module per step."""
