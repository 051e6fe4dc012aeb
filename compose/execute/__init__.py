"""Carries out plans through the engine's API."""
