"""`python -m qtarget_inspect`: the same as the console script `qtarget-inspect`."""

from qtarget_inspect.cli.app import main

if __name__ == "__main__":
    main()
