"""How it runs: planning, memory map, program encoding, and a machine in numpy that executes the program."""
