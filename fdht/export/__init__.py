"""The engine as an IP block for other designs: its files and what an integrator needs beside them."""
