"""``python -m longcut``."""

from longcut.processes import main

if __name__ == "__main__":  # worker processes import this file as well
    main()
