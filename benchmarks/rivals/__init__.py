"""The same work done by others, measured beside mesh in the same run."""
