"""An application that ends the process that loads it."""

import os

os._exit(7)
