"""Streams to and from containers: attach, logs, exec."""
