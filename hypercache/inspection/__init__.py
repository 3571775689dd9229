"""Look into a log as it is: damaged or whole, at rest or beside a writer.

Nothing is locked and not a byte is changed. A log is read frame by frame, so memory
does not grow with it. The verdicts are those of docs/wal_format.md, "Torn or corrupt".
"""
