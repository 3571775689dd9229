"""The append-only log of the memory engine: segments that compaction rewrites."""
