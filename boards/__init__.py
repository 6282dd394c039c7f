"""Boards: what is on them, the top of their designs, and the way to a bitstream."""

from fdht.boards.catalogue import BOARDS, find_board

__all__ = ["BOARDS", "find_board"]
