"""Observe: what layers get and make, on calibration inputs."""
