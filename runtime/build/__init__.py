"""Dockerfile to image: parser, stage graph, cached steps."""
