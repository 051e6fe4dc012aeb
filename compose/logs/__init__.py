"""Reads and follows the output of containers through the engine, so that each line comes exactly once."""
