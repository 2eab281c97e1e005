"""python -m gateway.picker"""

import sys

from gateway.picker.cli import main

if __name__ == "__main__":
    sys.exit(main())
