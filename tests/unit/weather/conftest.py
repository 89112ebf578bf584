"""Makes the modules of the weather example importable, as its plugin hosts do."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "examples" / "weather" / "plugins"))
