"""Loads Compose files: from files and an environment to the canonical project (Compose Specification).

Pure but for reading files.
"""

from compose.loading.loader import load
from compose.loading.model import LoadedService, LoadOptions, Project, SourceLocation, Variable

__all__ = ["LoadOptions", "LoadedService", "Project", "SourceLocation", "Variable", "load"]
