"""Every limit by the name its error gives, with its value: what `GetServerInfo` tells and the guide lists."""

from dataclasses import asdict

from holdfast_server.definition.diagnostics import ENTRIES_MAX
from holdfast_server.definition.yaml_values import ALIASES_MAX, VALUES_MAX
from holdfast_server.engine.cel import EXPRESSION_BYTES_MAX, RESULT_CHARS_MAX, RESULT_VALUES_MAX
from holdfast_server.engine.cel_context import CONTEXT_CHARS_MAX, CONTEXT_VALUES_MAX
from holdfast_server.engine.cel_work import COLLECTED_MAX, ITERATIONS_MAX, LOOKED_AT_MAX
from holdfast_server.engine.compile import EDGES_MAX, STEPS_MAX
from holdfast_server.engine.faults import FAULTS_MAX
from holdfast_server.engine.json_values import JSON_DEPTH_MAX
from holdfast_server.engine.schema_work import PATTERNS_MAX, WORK_MAX
from holdfast_server.engine.schemas import SCHEMA_BYTES_MAX
from holdfast_server.engine.state import REMEMBERED_REQUESTS
from holdfast_server.matching.settings import MatchingSettings
from holdfast_server.rpc.validation import Limits
from holdfast_server.runtime.results import RESULT_LIMITS
from holdfast_server.runtime.runtime import RuntimeSettings

__all__ = ["limits_in_force"]


def limits_in_force(limits: Limits, runtime: RuntimeSettings, matching: MatchingSettings) -> dict[str, int]:
    """The limits of a server with these settings."""
    engine = runtime.engine
    return {
        **asdict(limits),
        **RESULT_LIMITS,
        # What decides whether a definition or a history can be read again is the same everywhere.
        "json_depth": JSON_DEPTH_MAX,
        "definition_values": VALUES_MAX,
        "definition_aliases": ALIASES_MAX,
        "definition_entries": ENTRIES_MAX,
        "definition_faults": FAULTS_MAX,
        "definition_steps": STEPS_MAX,
        "step_edges": EDGES_MAX,
        "schema_bytes": SCHEMA_BYTES_MAX,
        "schema_pattern_parts": PATTERNS_MAX,
        "schema_work": WORK_MAX,
        "expression_bytes": EXPRESSION_BYTES_MAX,
        "expression_iterations": ITERATIONS_MAX,
        "expression_values": CONTEXT_VALUES_MAX,
        "expression_chars": CONTEXT_CHARS_MAX,
        "expression_chars_looked_at": LOOKED_AT_MAX,
        "expression_values_copied": COLLECTED_MAX,
        "expression_result_values": RESULT_VALUES_MAX,
        "expression_result_chars": RESULT_CHARS_MAX,
        "remembered_requests": REMEMBERED_REQUESTS,
        # What a server takes from outside is a setting, or follows from one.
        "payload_inline_bytes": engine.inline_bytes,
        "unconsumed_signals": engine.unconsumed_signals,
        "gate_body_bytes": engine.gate_body_bytes,
        "history_bytes": engine.history_bytes,
        "history_warning_bytes": runtime.history_warning_bytes,
        "uncommitted_transitions": runtime.uncommitted_transitions,
        "uncommitted_bytes": runtime.uncommitted_bytes,
        "hot_runs": runtime.hot_runs,
        "waits": runtime.waits,
        "workers": matching.workers,
        "worker_queues": matching.worker_queues,
        "parked_polls": matching.parked_polls,
        "answer_tasks": matching.answer_tasks,
        "answer_bytes": matching.answer_bytes,
        "heartbeat_details_bytes": matching.details_bytes,
    }
