"""`python -m suan`: the same as the `suan` command."""

from suan.cli import main

if __name__ == "__main__":
    main()
