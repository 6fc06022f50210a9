"""Measurements: time, bytes, and the machine they were taken on."""
