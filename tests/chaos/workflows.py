"""The workflows that are run while everything breaks. Each has a script of the same name in `scripts`."""

__all__ = ["DEFINITIONS"]

RETRY = "retry: {max_attempts: 1000000, initial_interval: 10ms, max_interval: 100ms}"
"""An attempt that is lost is used up, and much is lost here."""

CHAIN = """
name: chain
steps:
  - {name: a, task: {handler: echo}, input: "${input}", RETRY}
  - {name: b, after: [{step: a}], task: {handler: echo_in_thread}, input: "${steps.a.output}", RETRY}
  - {name: c, after: [{step: b}], task: {handler: echo}, input: "${steps.b.output}", RETRY}
output: "${steps.c.output}"
"""

DIAMOND = """
name: diamond
steps:
  - {name: split, task: {handler: echo}, input: "${input}", RETRY}
  - {name: left, after: [{step: split}], task: {handler: echo}, input: "${steps.split.output + 1}", RETRY}
  - {name: right, after: [{step: split}], task: {handler: slow}, input: "${steps.split.output + 2}", RETRY}
  - {name: never, after: [{step: split, when: "steps.split.output < 0"}], task: {handler: echo}, RETRY}
  - name: join
    after: [{step: left}, {step: right}, {step: never}]
    task: {handler: echo}
    input: ["${steps.left.output}", "${steps.right.output}"]
    RETRY
output: "${steps.join.output}"
"""

RACE = """
name: race
steps:
  - {name: quick, task: {handler: echo}, input: quick, RETRY}
  - {name: slow, task: {handler: slow}, input: slow, RETRY}
  - {name: endless, task: {handler: patient}, RETRY}
  - name: first
    after: [{step: quick}, {step: slow}, {step: endless}]
    join: {mode: FIRST, cancel_others: true}
    compute: {}
    input: "${has(steps.quick.output) ? steps.quick.output : steps.slow.output}"
output: "${steps.first.output}"
"""

FLAKY = """
name: flaky
steps:
  - {name: a, task: {handler: flaky}, input: "${input}", RETRY}
  - {name: b, after: [{step: a}], task: {handler: slow_in_thread}, input: "${steps.a.output}", RETRY}
output: "${steps.b.output}"
"""

HANG = """
name: hang
steps:
  - {name: a, task: {handler: hang_once}, input: "${input}", timeouts: {start_to_close: 500ms}, RETRY}
output: "${steps.a.output}"
"""

GATE = """
name: gate
steps:
  - {name: draft, task: {handler: echo}, input: "${input}", RETRY}
  - name: approve
    after: [{step: draft}]
    gate: {title: "Publish ${steps.draft.output}?"}
    input: "${steps.draft.output}"
  - name: publish
    after: [{step: approve, when: "steps.approve.output.resolution == 'APPROVED'"}]
    task: {handler: echo}
    input: "${steps.approve.output.payload}"
    RETRY
output: {said: "${steps.approve.output.resolution}", published: "${steps.publish.output}"}
"""

SIGNALS = """
name: signals
steps:
  - {name: early, wait: {signal: early}}
  - {name: a, after: [{step: early}], task: {handler: slow}, input: "${steps.early.output}", RETRY}
  - {name: late, after: [{step: a}], wait: {signal: late}}
  - {name: b, after: [{step: late}], task: {handler: echo}, input: "${steps.late.output}", RETRY}
output: ["${steps.a.output}", "${steps.b.output}"]
"""

SLEEP = """
name: sleep
steps:
  - {name: a, task: {handler: echo}, input: "${input}", RETRY}
  - {name: pause, after: [{step: a}], sleep: {for: 300ms}}
  - {name: b, after: [{step: pause}], task: {handler: echo}, input: "${steps.a.output}", RETRY}
output: "${steps.b.output}"
"""

LARGE = """
name: large
steps:
  - {name: a, task: {handler: swell}, input: "${input}", RETRY}
  - {name: b, after: [{step: a}], task: {handler: swell}, input: "${steps.a.output}", RETRY}
  - {name: c, after: [{step: b}], task: {handler: echo}, input: "${steps.b.output.number}", RETRY}
output: "${steps.b.output}"
"""

PAUSE = """
name: pause
steps:
  - {name: a, task: {handler: slow}, input: "${input}", RETRY}
  - {name: b, after: [{step: a}], task: {handler: slow}, input: "${steps.a.output}", RETRY}
  - {name: c, after: [{step: b}], task: {handler: echo}, input: "${steps.b.output}", RETRY}
output: "${steps.c.output}"
"""

CANCEL = """
name: cancel
steps:
  - {name: a, task: {handler: echo}, input: "${input}", RETRY}
  - {name: endless, after: [{step: a}], task: {handler: patient}, RETRY}
  - {name: tidy, after: [{step: a}, {step: endless, on: FINISHED}], cleanup: true, task: {handler: echo}, RETRY}
"""

RETRIED = """
name: retried
steps:
  - {name: a, task: {handler: echo}, input: "${input}", RETRY}
  - {name: b, after: [{step: a}], task: {handler: fatal_once}, input: "${steps.a.output}", RETRY}
  - {name: c, after: [{step: b}], task: {handler: echo}, input: "${steps.b.output}", RETRY}
output: "${steps.c.output}"
"""

NAP = """
name: nap
steps:
  - {name: a, task: {handler: slow}, input: "${input}", RETRY}
  - {name: pause, after: [{step: a}], sleep: {for: 2h}}
  - {name: b, after: [{step: pause}], task: {handler: echo}, input: "${steps.a.output}", RETRY}
output: "${steps.b.output}"
"""

DEADLINE = """
name: deadline
steps:
  - {name: approve, gate: {title: "Soon?", deadline: 3h, on_deadline: REJECT}}
output: "${steps.approve.output.resolution}"
"""

BACKOFF = """
name: backoff
steps:
  - name: a
    task: {handler: flaky}
    input: "${input}"
    retry: {max_attempts: 3, initial_interval: 1h, jitter: 0}
output: "${steps.a.output}"
"""
"""Fails twice on purpose: an attempt that is lost besides would be one too many."""

OVERTIME = """
name: overtime
timeout: 4h
steps:
  - {name: never, wait: {signal: never}}
"""

PATIENCE = """
name: patience
steps:
  - {name: never, wait: {signal: never, timeout: 90m}}
  - name: tell
    after: [{step: never, on: FAILED}]
    compute: {}
    input: "${steps.never.failure.type}"
output: "${steps.tell.output}"
"""

DEFINITIONS = tuple(
    text.replace("RETRY", RETRY)
    for text in (
        *(CHAIN, DIAMOND, RACE, FLAKY, HANG, GATE, SIGNALS, SLEEP, LARGE, PAUSE, CANCEL, RETRIED),
        *(NAP, DEADLINE, BACKOFF, OVERTIME, PATIENCE),
    )
)
