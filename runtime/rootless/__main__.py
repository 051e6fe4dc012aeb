"""`python -m runtime.rootless`: start a user's engine in its namespaces."""

from runtime.rootless.host import run

if __name__ == "__main__":
    run()
