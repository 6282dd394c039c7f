"""The version of fdht: the one place where it stands."""

VERSION = "0.1.0"
