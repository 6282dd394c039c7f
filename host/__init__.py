"""The host's driver: an engine at a serial port, on a board or in simulation."""
