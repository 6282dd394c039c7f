"""Building, running and watching the gateware in an RTL simulator."""
