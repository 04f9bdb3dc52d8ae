"""Receptive field analysis of convolutional networks."""
