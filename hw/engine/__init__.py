"""The engine: one file per box of its block diagram (see the README of hw)."""
