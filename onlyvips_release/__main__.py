"""`python -m onlyvips_release` is the command."""

from onlyvips_release.cli.app import main

if __name__ == "__main__":
    main()
