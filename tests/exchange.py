"""An exchange between host and device, byte by byte: the numbers of fdht.spec.protocol's text, written down once more.

Gateware, driver and tests take the protocol from one place; only this file tells when they all move together. It
changes with the protocol's version, by hand.
"""

TARGET_ID, BUILD_ID = 0x11223344, 0x12345678
CYCLES, STALLS, SATURATIONS = 0x01020304, 0x0A0B, 0x0D

IMAGE, STATE, FRAMES = (0x1234, 0xABCD, 0x7D7E), (256, -1), ((1, 2, 0x7E, 4), (5, 6, 7, 8))
"""What is loaded, h and c of the one unit, and the inputs of two steps."""

HIDDEN, CELL, LOGITS = -2, 300, (5, -6)
"""The results."""

SESSION = (
    (
        "IDENTIFY, number 0, after a flag",
        "7e7e011bdf05a57e",
        "7e0100000003040302010b0a00000d000000443322117856341200000000c4767f7d5d7e",
    ),
    ("STATUS", "7e10e9ffb5cf7e", "7e1000000003040302010b0a00000d000000443322117856341200000000e522b0987e"),
    ("RESET", "7e174a6ad1517e", "7e17100d86ed597e"),
    ("STATUS", "7e2045cf6ce97e", "7e2010000003040302010b0a00000d0000004433221178563412000000007b62c7d37e"),
    ("IMAGE: 1234 abcd 7d7e", "7e223412cdab7d5e7d5d31ab878e7e", "7e2220177405dd7e"),
    ("STATUS", "7e3021dfdbf47e", "7e3020000003040302010b0a00000d000000443322117856341259fd0bfa6cff6acd7e"),
    ("RESET", "7e37824abf6a7e", "7e3730678207f77e"),
    ("STATUS", "7e401daedea47e", "7e4030000003040302010b0a00000d000000443322117856341259fd0bfa2581acf07e"),
    ("START: 2 steps, use_state", "7e43020001004e2c636a7e", "7e43489bc78ae27e"),
    ("STATE: 256, -1", "7e550001ffff6ecf35897e", "7e55582862a5e37e"),
    (
        "X: 1 2 126 4 5 6 7 8; the engine takes nothing: refused, WAIT",
        "7e6401027d5e0405060708b58dd20a7e",
        "7e6c5d1d1b4b9d7e",
    ),
    ("READ: nothing yet", "7e66e02bd3767e", "7e66e02bd3767e"),
    ("X again, under the next number", "7e7401027d5e0405060708c4cf12a67e", "7e747031df8f5a7e"),
    ("READ: h -2, c 300, logits 5 and -6", "7e8698c9d9d67e", "7e8604feff052c0102050006faffd891c2367e"),
    ("STATUS", "7e5079be69b97e", "7e5080000003040302010b0a00000d000000443322117856341259fd0bfad0f07a817e"),
)
"""What was asked, the host's bytes, the device's: a driver finds an engine, loads it and runs a clip."""

REFUSALS = (
    ("IMAGE with a wrong CRC: refused, DAMAGED", "7e923412cdab7d5e7d5d91e4f2007e", "7e9a81d9c3c8507e"),
    ("X without a run: refused, IDLE", "7e9401027d5e04050607082f4e249c7e", "7e9c8373059ce87e"),
    ("IMAGE under the number after the next: refused, SEQUENCE", "7ea23412cdab7d5e7d5dc34191067e", "7eaa84a501e4ff7e"),
    ("IMAGE of 3 bytes: refused, LENGTH", "7e923412cda1754e887e", "7e9a867a56acce7e"),
    ("START: 1 step, every_h, keep", "7e93010006003e6a62be7e", "7e939850d061e57e"),
    ("IMAGE during a run: refused, BUSY", "7ea23412cdab7d5e7d5dc34191067e", "7eaa9ac63ceb057e"),
    ("RESET", "7ea7c6d9b09a7e", "7ea7a0399b49767e"),
    ("the same RESET: answered, not done again", "7ea7c6d9b09a7e", "7ea7a0399b49767e"),
    (
        "STATUS: 1 error, collision",
        "7e60d58eb09f7e",
        "7e60a0010103040302010b0a00000d000000443322117856341259fd0bfae87f7c6e7e",
    ),
)
"""What may go wrong, after SESSION."""
