"""The package's version, for those who build it and those who ask."""

VERSION = "0.1.0"
