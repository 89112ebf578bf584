"""The version of ForgeMesh; to ask the installed package for it would cost each process a tenth of its start."""

VERSION = "0.1.0"
