"""The write-ahead log of the hybrid engine: segments that a checkpoint prunes."""
