"""The helpers of the engine's tests are beside the folder above."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
