"""`python -m runtime.rootless`: start this user's engine in namespaces of its own."""

from runtime.rootless.host import run

if __name__ == "__main__":
    run()
