"""From a diagnosis to a better architecture."""
