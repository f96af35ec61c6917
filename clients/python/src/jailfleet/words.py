"""The words of a result that this version knows: outcomes, and the codes of errors."""

from __future__ import annotations

#: The run came to an end that is the program's own.
RAN = ("exited", "signaled", "cpu_limit", "wall_limit", "memory_limit", "output_limit")
#: No word about the program.
DID_NOT_RUN = ("rejected", "expired", "cancelled", "worker_lost", "engine_fault")
#: What a word reads as that only a newer worker knows. No worker says it.
OTHER = "other"
CODES = frozenset(
    (
        "no_globals",
        "result_too_large",
        "stage_failed",
        "jail_lost",
        "cpu_withheld",
        "memory_withheld",
        "slot_fault",
        "worker_stopping",
        "worker_lost",
        "too_many_deliveries",
        "deadline_passed",
        "cancelled",
        "unrouted",
        "not_json",
        "too_large",
        "too_deep",
        "wrong_version",
        "unsupported_minor",
        "wrong_type",
        "unknown_field",
        "missing_field",
        "duplicate_field",
        "bad_base64",
        "bad_id",
        "id_mismatch",
        "bad_name",
        "bad_lane",
        "bad_label",
        "unknown_runtime",
        "unknown_profile",
        "bad_path",
        "duplicate_path",
        "bad_limit",
        "above_ceiling",
        "limits_too_small",
        "files_too_large",
        "bad_env",
        "bad_argv",
        "bad_reply_to",
        "wrong_queue",
        "bad_deadline",
        "bad_globals",
        "bad_python_path",
        "no_code",
        "bad_program",
        "grade_unsupported",
        "globals_unsupported",
    )
)

#: Why an artifact is left out.
LEFT_OUT = frozenset(
    (
        "missing",
        "link",
        "not_a_regular_file",
        "not_a_folder",
        "several_names",
        "unreadable",
        "too_large",
        "too_many",
        "too_deep",
        "bad_name",
        "empty",
        "no_run",
        "lost",
        "result_too_large",
    )
)
