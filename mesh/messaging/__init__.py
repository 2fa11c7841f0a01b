"""Messages below the task API: exchanges, queues, publishing and consuming."""
