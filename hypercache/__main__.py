"""Run the command line: `python -m hypercache`."""

from hypercache.cli import main

if __name__ == "__main__":
    main(prog_name="hypercache")
