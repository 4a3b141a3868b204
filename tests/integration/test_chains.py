"""Runs through a real server and a real worker process: what goes in comes out, whatever it is."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast import Client
from holdfast.errors import LimitExceededError, RunFailedError
from holdfast.testing.processes import ServerProcess, WorkerProcess
from holdfast.v1.run_service_pb2 import GetHistoryRequest, PayloadView, WatchRunRequest
from holdfast.v1.task_pb2 import TaskResult
from tests.integration.raw import MIB, RawWorker, Stubs, json_payload, value_of

HANDLERS = """
from typing import Any
from holdfast import handler

@handler
def echo(value: Any) -> Any:
    return value

@handler
def double(number: int) -> int:
    return number * 2

@handler
def add(numbers: list[int]) -> int:
    return sum(numbers)

@handler
def letters(count: int) -> str:
    return "x" * count

@handler
def reverse(data: bytes) -> bytes:
    return data[::-1]
"""
ECHO = """
name: echo
steps: [{name: one, task: {handler: echo}, input: "${input}"}]
output: "${steps.one.output}"
"""
CHAIN = """
name: chain
steps:
  - {name: a, task: {handler: double}, input: "${input.n}"}
  - {name: b, after: [{step: a}], task: {handler: double}, input: "${steps.a.output}"}
  - {name: c, after: [{step: b}], task: {handler: double}, input: "${steps.b.output}"}
output:
  all: ["${steps.a.output}", "${steps.b.output}", "${steps.c.output}"]
  text: "it is ${steps.c.output}, from ${input.n}"
"""
DIAMOND = """
name: diamond
steps:
  - {name: split, task: {handler: echo}, input: "${input}"}
  - {name: left, after: [{step: split}], task: {handler: double}, input: "${steps.split.output}"}
  - {name: right, after: [{step: split, when: "steps.split.output > 10"}], task: {handler: double}, input: 100}
  - name: join
    after: [{step: left}, {step: right}]
    task: {handler: add}
    input: ["${steps.left.output}", "${steps.split.output}"]
output: {sum: "${steps.join.output}", right: "${steps.right.state}", nothing: "${steps.right.output}"}
"""
LONG = """
name: long
steps:
  - {name: make, task: {handler: letters}, input: "${input}"}
  - {name: pass, after: [{step: make}], task: {handler: echo}, input: "${steps.make.output}"}
  - {name: look, after: [{step: pass, when: "size(steps.pass.output) > 8192"}], compute: {}, input: "${input}"}
output: {text: "${steps.pass.output}", looked: "${steps.look.output}"}
"""
REVERSE = """
name: reverse
steps:
  - {name: one, task: {handler: reverse}, input: "${input}"}
  - {name: two, after: [{step: one}], task: {handler: reverse}, input: "${steps.one.output}"}
output: "${steps.one.output}"
"""
UNSERVED = """
name: unserved
steps: [{name: one, task: {handler: by_hand, queue: by_hand}, input: "${input}", retry: {max_attempts: 1}}]
output: "${steps.one.output}"
"""


@pytest.fixture(scope="module", autouse=True)
def worker(server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    folder = tmp_path_factory.mktemp("worker")
    (folder / "chain_handlers.py").write_text(HANDLERS, encoding="utf-8")
    with WorkerProcess("chain_handlers", target=server.target, folder=Path(folder)) as process:
        yield process


@pytest.mark.asyncio
async def test_a_chain_hands_outputs_on_and_makes_its_own(client: Client) -> None:
    await client.register(CHAIN)
    handle = await client.start("chain", {"n": 5})
    assert await handle.result() == {"all": [10, 20, 40], "text": "it is 40, from 5"}

    run = await handle.get()
    assert [(one.path, one.attempt, one.handler, one.queue) for one in run.activations] == [
        (name, 1, "double", "default") for name in "abc"
    ]
    bodies = [event.WhichOneof("body") async for event in handle.history()]
    assert bodies == ["run_started", *("step_queued", "step_started", "step_succeeded") * 3, "run_succeeded"]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("number", "result"),
    [(11, {"sum": 33, "right": "SUCCEEDED", "nothing": 200}), (1, {"sum": 3, "right": "SKIPPED", "nothing": None})],
)
async def test_a_branch_that_is_not_taken_does_not_block_the_join(client: Client, number: int, result: Any) -> None:
    await client.register(DIAMOND)
    assert await client.run("diamond", number) == result


VALUES: list[Any] = [
    None,
    False,
    "",
    'Grüße, 世界 🌍 \u0000 \u2028 \\ " ${not.an.expression}',
    [],
    {},
    {"": 1, "ключ": [None, {"deep": [1.5, -0.0, 1e308]}]},
    2**53 + 1,
    2**63 - 1,
    -(2**63),
    2**64 + 1,
    10**400,
    0.1,
]


@pytest.mark.asyncio
@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:24])
async def test_a_value_passes_unchanged(client: Client, value: Any) -> None:
    await client.register(ECHO)
    result = await client.run("echo", value)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.asyncio
async def test_bytes_pass_as_they_are(client: Client) -> None:
    await client.register(REVERSE)
    data = bytes(range(256)) * 100
    assert await client.run("reverse", data) == data[::-1]


@pytest.mark.asyncio
async def test_a_large_payload_is_kept_once_and_referred_to(client: Client, stubs: Stubs) -> None:
    await client.register(LONG)
    handle = await client.start("long", 200_000)
    assert await handle.result() == {"text": "x" * 200_000, "looked": 200_000}

    full = await handle.get()
    assert value_of(full.activations[0].output) == "x" * 200_000
    refs = await handle.get(payload_view=PayloadView.PAYLOAD_VIEW_REFS)
    made, passed = refs.activations[0].output.ref, refs.activations[1].output.ref
    assert made.sha256 == passed.sha256
    assert made.size_bytes == 200_002
    assert refs.output.HasField("ref")

    by_ref = GetHistoryRequest(run_id=handle.run_id, payload_view=PayloadView.PAYLOAD_VIEW_REFS)
    assert (await stubs.runs.GetHistory(by_ref)).ByteSize() < 4_000
    whole = await stubs.runs.GetHistory(GetHistoryRequest(run_id=handle.run_id))
    succeeded = [event.step_succeeded for event in whole.events if event.HasField("step_succeeded")]
    assert value_of(succeeded[1].output) == "x" * 200_000


@pytest.mark.asyncio
async def test_payloads_up_to_the_limit_pass_every_door(client: Client, stubs: Stubs) -> None:
    """Six payloads of 4 MiB do not fit one message: reads bring them in pieces, or say what to ask for instead."""
    await client.register(CHAIN_OF_ECHOES)
    largest = "y" * (4 * MIB - 2)
    handle = await client.start("echoes", largest)
    assert await handle.result() == largest

    with pytest.raises(LimitExceededError, match="REFS") as caught:
        await handle.get()
    assert (caught.value.limit, caught.value.value) == ("message_bytes", 16 * MIB)
    refs = await handle.get(payload_view=PayloadView.PAYLOAD_VIEW_REFS)
    assert [one.output.ref.size_bytes for one in refs.activations] == [4 * MIB] * 5

    history = [event async for event in handle.history()]
    assert [event.seq for event in history] == list(range(1, 18))
    assert [value_of(one.step_succeeded.output) == largest for one in history if one.HasField("step_succeeded")] == [
        True
    ] * 5
    watched = [event async for event in handle.watch()]
    assert watched == history
    async for answer in stubs.runs.WatchRun(WatchRunRequest(run_id=handle.run_id)):
        assert answer.ByteSize() <= 16 * MIB


CHAIN_OF_ECHOES = "name: echoes\nsteps:\n" + "\n".join(
    f'  - {{name: s{number}, after: [{{step: s{number - 1}}}], task: {{handler: echo}}, input: "${{input}}"}}'
    if number
    else '  - {name: s0, task: {handler: echo}, input: "${input}"}'
    for number in range(5)
)
CHAIN_OF_ECHOES += '\noutput: "${steps.s4.output}"\n'


@pytest.mark.asyncio
async def test_results_of_many_large_runs_come_in_pieces(client: Client) -> None:
    await client.register(ECHO)
    largest = "z" * (4 * MIB - 2)
    handles = [await client.start("echo", largest) for _ in range(6)]
    for handle in handles:
        assert await handle.result() == largest
    # All of them at once, when they are closed: one stream answers for all.
    async with Client(client.connection.target) as other:
        results = await asyncio.gather(*(other.handle(handle.run_id).result() for handle in handles))
    assert results == [largest] * 6


@pytest.mark.asyncio
async def test_an_input_above_the_limit_is_refused_with_its_size(client: Client) -> None:
    await client.register(ECHO)
    with pytest.raises(LimitExceededError) as caught:
        await client.start("echo", "y" * (4 * MIB - 1))
    error = caught.value
    assert (error.reason, error.limit, error.value, error.actual) == (
        "PAYLOAD_TOO_LARGE",
        "payload_bytes",
        4 * MIB,
        4 * MIB + 1,
    )
    assert [one.field for one in error.violations] == ["input"]


@pytest.mark.asyncio
async def test_an_output_above_the_limit_fails_the_attempt_for_good(client: Client, stubs: Stubs) -> None:
    await client.register(UNSERVED)
    handle = await client.start("unserved")
    hand = RawWorker(stubs, "by_hand", queue="by_hand")
    task = await hand.task()
    answer = await hand.settle(TaskResult(token=task.token, output=json_payload("y" * (4 * MIB))))
    assert [one.error.metadata["step_path"] for one in answer.rejected] == ["one"]
    with pytest.raises(RunFailedError) as caught:
        await handle.result()
    assert caught.value.failure_type == "PayloadTooLarge"
