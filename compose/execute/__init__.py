"""Carries plans out against an engine."""
