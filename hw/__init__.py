"""The gateware, one file per block of the diagram in the folder's README."""
