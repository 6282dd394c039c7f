"""Blocks of the parts, as their vendors name them: one file per family, used by fdht.hw.technology alone."""
