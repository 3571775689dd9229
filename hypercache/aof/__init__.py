"""The append-only log: a base, increments, and the manifest that names them."""
