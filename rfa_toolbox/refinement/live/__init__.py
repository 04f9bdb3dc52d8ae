"""Refinements on live models; a framework is imported when a model of it is given."""
