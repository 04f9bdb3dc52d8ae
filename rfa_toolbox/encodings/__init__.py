"""Encoders: from a model of a framework to a graph."""
