"""A Redis-compatible server over a store; docs/server.md is the authority.

Needs the extra `server`: pip install 'hypercache-engine[server]'.
"""
