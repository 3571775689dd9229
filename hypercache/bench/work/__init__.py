"""The works: each module makes the steps of one kind of work."""
