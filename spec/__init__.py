"""What everyone agrees on: number formats, networks, placements, stage lists, targets, programs and costs.

Plain Python and numpy. Nothing here knows torch, Amaranth or a simulator; everything above derives its
widths, shapes and latencies from here.
"""
