"""python -m tada_studio"""

import sys

from tada_studio.cli import main

sys.exit(main())
