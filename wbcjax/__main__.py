"""`python -m wbcjax`: the `wbcjax` command where its folder is on no path."""

from wbcjax.cli import main

if __name__ == "__main__":
    main()
