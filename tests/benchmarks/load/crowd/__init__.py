"""A crowd of devices in one process, each with a socket of its own."""
