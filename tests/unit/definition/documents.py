"""Documents that tests start from, and the shortest way to what is said about them."""

import json
from typing import Any

from holdfast.v1.workflow_service_pb2 import DocumentFormat
from holdfast_server.definition import ParsedDocument, parse
from holdfast_server.engine.plan import Plan

YAML = DocumentFormat.DOCUMENT_FORMAT_YAML
JSON = DocumentFormat.DOCUMENT_FORMAT_JSON

REPORT = """\
name: research-report
description: Writes a report.
input_schema:
  type: object
  required: [question]
  properties: {question: {type: string}, folder: {type: string}}
steps:
  - name: plan
    task: {handler: plan_queries}
    input: {question: "${input.question}"}
    output_schema: {type: object, properties: {queries: {type: array}, score: {type: number}}}
  - name: search
    after: [{step: plan}]
    task: {handler: search_folder, queue: tools}
    input: "${steps.plan.output}"
    retry: {max_attempts: 3, initial_interval: 500ms, backoff: 1.5, max_interval: 10s, jitter: 0, non_retryable: [Bad]}
    timeouts: {schedule_to_start: 1h, start_to_close: 5m, schedule_to_close: 24h, heartbeat: 30s}
    on_error:
      - {match: [RateLimited, Timeout.*], fallback: {handler: search_small, retry: {max_attempts: 1}}}
      - {match: [SchemaViolation], value: {hits: []}}
      - {match: [Odd], fail: {}}
      - {match: ["*"], review: {title: "${run.id} failed", deadline: 7d}}
  - name: approve
    after: [{step: search, when: "size(steps.search.output.hits) > 0"}]
    gate:
      title: "Publish on ${input.question}?"
      body: "${steps.search.output.summary}"
      action: {name: publish, args: {to: web}, args_schema: {type: object}, risk: HIGH}
      decisions: [APPROVE, REJECT, EDIT]
      response_schema: {type: object}
      approvers: {roles: [editor], exclude_starter: true}
      quorum: 2
      veto: false
      deadline: 24h
      on_deadline: ESCALATE
      escalation: {approvers: {principals: [boss]}, deadline: 1h}
  - name: publish
    after: [{step: approve, when: "steps.approve.output.resolution == 'APPROVED'"}]
    task: {handler: publish}
  - name: go
    wait: {signal: go, when: payload.ok, timeout: 1h}
  - name: pause
    after: [{step: go}]
    sleep: {for: 90s}
  - name: until
    after: [{step: go}]
    sleep: {until: "${steps.go.output.at}"}
  - name: any
    after: [{step: pause}, {step: until}]
    join: {mode: FIRST, cancel_others: true}
    compute: {}
    input: 7
  - name: clean
    after: [{step: plan, on: FINISHED}]
    cleanup: true
    task: {handler: clean}
on_failure: FINISH_OTHERS
output: "${steps.publish.output}"
queries:
  - {name: stage, expression: "steps.plan.state", schema: {type: string}}
signals:
  - {name: go, schema: {type: object, properties: {ok: {type: boolean}}}}
timeout: 7d
attributes: {team: "${input.folder}"}
retention: 30d
"""


def json_of(**fields: Any) -> str:
    """A small document with these fields."""
    return json.dumps({"name": "small", "steps": [{"name": "a", "compute": {}}]} | fields)


def steps(*given: dict[str, Any], **fields: Any) -> ParsedDocument:
    """A document with these steps, parsed; a step without a kind is a compute."""
    kinds = {"task", "gate", "wait", "sleep", "compute"}
    full = [step if kinds & step.keys() else step | {"compute": {}} for step in given]
    return parse(json_of(steps=full, **fields), JSON)


def plan_of(parsed: ParsedDocument) -> Plan:
    """The plan of a document that has no fault."""
    assert parsed.diagnostics == ()
    assert parsed.plan is not None
    return parsed.plan


def said(parsed: ParsedDocument) -> list[tuple[str, str]]:
    """(path, message) of every diagnostic."""
    return [(one.path, one.message) for one in parsed.diagnostics]
