"""Plain messages: the message API below the task API. ``Mesh.connection()`` and ``mesh.connect()`` are where a program begins."""
