"""Loads Compose files: from files and an environment to the canonical project (Compose Specification).

Pure but for reading files.
"""

from compose.loading.loader import load
from compose.loading.model import LoadOptions, Place, Project, Service, Variable

__all__ = ["LoadOptions", "Place", "Project", "Service", "Variable", "load"]
