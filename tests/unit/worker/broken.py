"""An application that fails when it is loaded."""

raise RuntimeError("not\ntoday")
