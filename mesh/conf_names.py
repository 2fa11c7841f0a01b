"""Celery's names of settings that have no effect here, each with the reason, and its names of old."""

from __future__ import annotations

NO_BROKER = "there is no broker"
NO_BACKEND = "results are kept by the mesh, without a backend"
NO_BEAT = "there is no beat process"
COMMAND_LINE = "an option or a setting of `mesh worker`"
MEASURED = "the mesh measures it by itself"
EVENTS = "events are of the mesh"

_NAMES: dict[str, str] = {
    NO_BROKER: (
        "broker_url broker_read_url broker_write_url broker_channel_error_retry broker_connection_max_retries broker_connection_retry "
        "broker_connection_retry_on_startup broker_connection_timeout broker_failover_strategy broker_heartbeat broker_heartbeat_checkrate "
        "broker_login_method broker_native_delayed_delivery_queue_type broker_pool_limit broker_transport broker_transport_options "
        "broker_use_ssl broker_host broker_port broker_user broker_password broker_vhost task_protocol task_queue_ha_policy "
        "task_default_queue_type task_create_missing_queue_type task_create_missing_queue_exchange_type task_compression "
        "worker_detect_quorum_queues worker_cancel_long_running_tasks_on_connection_loss worker_enable_prefetch_count_reduction "
        "worker_deduplicate_successful_tasks"
    ),
    NO_BACKEND: (
        "result_backend result_backend_always_retry result_backend_base_sleep_between_retries_ms result_backend_max_retries "
        "result_backend_max_sleep_between_retries_ms result_backend_thread_safe result_backend_transport_options result_cache_max "
        "result_chord_join_timeout result_chord_ordered result_chord_retry_interval result_compression result_exchange "
        "result_exchange_type result_extended result_persistent cache_backend cache_backend_options "
        "database_create_tables_at_setup database_engine_options "
        "database_short_lived_sessions database_table_names database_table_schemas database_url"
    ),
    "results are kept for the mesh's result_expires_s (a day): mesh config set result_expires_s": "result_expires",
    NO_BEAT: (
        "beat_cron_starting_deadline beat_max_loop_interval beat_schedule_filename beat_scheduler beat_sync_every beat_logfile "
        "beat_log_level"
    ),
    "periodic tasks are not there yet": "beat_schedule",
    "rates are not limited yet": "task_default_rate_limit worker_disable_rate_limits",
    COMMAND_LINE: (
        "worker_autoscaler worker_concurrency worker_log_color worker_log_format worker_logfile worker_max_memory_per_child "
        "worker_max_tasks_per_child worker_pool worker_task_log_format worker_hijack_root_logger worker_redirect_stdouts "
        "worker_redirect_stdouts_level worker_pool_restarts"
    ),
    MEASURED: (
        "worker_prefetch_multiplier worker_disable_prefetch worker_eta_task_limit worker_lost_wait worker_pool_putlocks "
        "worker_proc_alive_timeout worker_timer worker_timer_precision"
    ),
    EVENTS: (
        "control_exchange control_queue_durable control_queue_exclusive control_queue_expires control_queue_ttl event_exchange "
        "event_queue_durable event_queue_exclusive event_queue_expires event_queue_prefix event_queue_ttl event_serializer "
        "task_send_sent_event worker_enable_remote_control worker_send_task_events worker_state_db"
    ),
    "every link of the mesh is encrypted, and its members are admitted by keys": (
        "security_cert_store security_certificate security_digest security_key security_key_password"
    ),
    "a worker that is told to stop lets its tasks end": "worker_soft_shutdown_timeout worker_enable_soft_shutdown_on_idle",
    "a worker is one program": "worker_agent worker_consumer worker_direct",
    "a task of a lost worker is always delivered again, at most max_deliveries times": "task_reject_on_worker_lost",
    "a task that failed has ended; retry is for what is to run again": "task_acks_on_failure_or_timeout",
    "what a task submits has the priority that it says": "task_inherit_parent_priority",
    "exceptions and tracebacks always travel": "task_remote_tracebacks",
    "error callbacks of a chord are called once, for its first failure": "task_allow_error_cb_on_chord_header",
    "tasks are kept on disks; a transient queue is declared with durable=False": "task_default_delivery_mode",
    "eager results are in the caller's hands": "task_store_eager_result",
}
NO_EFFECT: dict[str, str] = {name: reason for reason, names in _NAMES.items() for name in names.split()}
"""Name -> why it has none."""
BACKENDS = (
    "arangodb_ azureblockblob_ cassandra_ consul_ cosmosdbsql_ couchbase_ couchdb_ dynamodb_ elasticsearch_ filesystem_ gcs_ ironcache_ "
    "mongodb_ redis_ s3_"
)
"""Beginnings of the names that are about one kind of backend."""


def no_effect(name: str) -> str | None:
    """Why a setting of this name is accepted and does nothing; None for others."""
    if name.startswith(tuple(BACKENDS.split())):
        return NO_BACKEND
    return NO_EFFECT.get(name)


_SECTIONS = {
    "CELERY_DEFAULT_": "task_default_",
    "CELERY_RESULT_": "result_",
    "CELERY_TASK_RESULT_": "result_",
    "CELERY_EVENT_": "event_",
    "CELERY_SECURITY_": "security_",
    "CELERY_CASSANDRA_": "cassandra_",
    "CELERY_REDIS_": "redis_",
    "CELERY_MONGODB_": "mongodb_",
    "CELERY_TASK_": "task_",
    "CELERYD_": "worker_",
    "CELERYBEAT_": "beat_",
    "BROKER_": "broker_",
    "CELERY_": "task_",
}
_RENAMED = {
    "CELERY_ACCEPT_CONTENT": "accept_content",
    "CELERY_ENABLE_UTC": "enable_utc",
    "CELERY_TIMEZONE": "timezone",
    "CELERY_IMPORTS": "imports",
    "CELERY_INCLUDE": "include",
    "CELERY_TASK_RESULT_EXPIRES": "result_expires",
    "CELERY_ALWAYS_EAGER": "task_always_eager",
    "CELERY_EAGER_PROPAGATES_EXCEPTIONS": "task_eager_propagates",
    "CELERY_MESSAGE_COMPRESSION": "task_compression",
    "CELERY_STORE_ERRORS_EVEN_IF_IGNORED": "task_store_errors_even_if_ignored",
    "CELERY_SEND_EVENTS": "worker_send_task_events",
    "CELERY_SEND_TASK_SENT_EVENT": "task_send_sent_event",
    "CELERY_DISABLE_RATE_LIMITS": "worker_disable_rate_limits",
    "CELERY_CACHE_BACKEND": "cache_backend",
    "CELERY_BROKER_URL": "broker_url",
    "CELERY_MAX_CACHED_RESULTS": "result_cache_max",
    "CELERY_WORKER_DIRECT": "worker_direct",
    "CELERYD_TASK_TIME_LIMIT": "task_time_limit",
    "CELERYD_TASK_SOFT_TIME_LIMIT": "task_soft_time_limit",
    "CELERYD_MAX_TASKS_PER_CHILD": "worker_max_tasks_per_child",
    "CELERY_REDIRECT_STDOUTS": "worker_redirect_stdouts",
    "CELERY_REDIRECT_STDOUTS_LEVEL": "worker_redirect_stdouts_level",
}


def renamed(name: str) -> str | None:
    """Today's name of a setting of old Celery, in capitals; None for names that never were one."""
    if name in _RENAMED:
        return _RENAMED[name]
    start = next((start for start in _SECTIONS if name.startswith(start)), None)
    return _SECTIONS[start] + name[len(start) :].lower() if start is not None and name.isupper() else None
