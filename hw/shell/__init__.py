"""What surrounds the engine: the host link, serial ports, AXI, the camera example, a board's whole system."""
