"""A stage for the command line: a server in the same process that says what a test tells it to, and calls of commands.

The server speaks gRPC on a port of the loopback; the command runs as a program would, with its streams captured.
"""

import importlib
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2
from typer.testing import CliRunner, Result

from holdfast.cli.app import build_app
from holdfast.cli.environment import Environment

NOW = datetime(2026, 11, 23, 14, 5, 30, tzinfo=UTC)
COLUMNS = 80
SERVICES = ("workflow", "run", "gate", "worker", "operations")
ANSWER_TIMEOUT_S = 20.0


@dataclass
class Refusal(Exception):
    """A refusal the server shall answer with."""

    reason: str
    code: grpc.StatusCode = grpc.StatusCode.FAILED_PRECONDITION
    message: str = "the server said no"
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: Mapping[str, str] = field(default_factory=dict)

    def abort(self, context: grpc.ServicerContext) -> None:
        """End a call with this refusal, in the form the contract demands."""
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        info = error_details_pb2.ErrorInfo(reason=self.reason, domain="holdfast", metadata=self.metadata)
        status.details.add().Pack(info)
        if self.violations:
            bad = error_details_pb2.BadRequest()
            for name, description in self.violations.items():
                bad.field_violations.add(field=name, description=description)
            status.details.add().Pack(bad)
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(self.code, self.message)


class Stage:
    """What the server answers and got, and a way to call commands.

    Attributes:
        answers: By RPC: a message, a list of messages for a stream, a `Refusal`, or a function of the request.
        requests: What was asked, by RPC.
        metadata: What came along with the last call.
        typed: Lines somebody types when asked; none means that nobody sits there.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.requests: dict[str, list[Any]] = {}
        self.metadata: dict[str, str] = {}
        self.typed: list[str] | None = None
        self.target = ""
        self.variables: dict[str, str] = {}
        self._changed = threading.Condition()

    def got(self, rpc: str) -> Any:
        """Return the last request of an RPC."""
        return self.requests[rpc][-1]

    def asked(self, rpc: str, times: int = 1) -> None:
        """Wait until an RPC was asked so often; for answers that shall not come earlier."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.requests.get(rpc, ())) >= times, ANSWER_TIMEOUT_S)

    def call(
        self,
        *arguments: str,
        columns: int | None = COLUMNS,
        input: str | bytes = "",
        also: Mapping[str, str] | None = None,
        **named: str,
    ) -> Result:
        """Run `holdfast` with arguments; an exception nobody expects passes.

        Args:
            arguments: The command line.
            columns: Width of the terminal; None for no limit.
            input: What stands on the standard input.
            also: Environment variables.
            named: Environment variables too.
        """
        variables = {**(also or {}), **named}
        environment = Environment(
            clock=lambda: NOW,
            zone=UTC,
            is_person=lambda: self.typed is not None,
            read_line=lambda: f"{self.typed.pop(0)}\n" if self.typed else "",
            variables={"HOLDFAST_TARGET": self.target, **_columns(columns), **self.variables, **variables},
        )
        cleared = {"COLUMNS": None, "NO_COLOR": None, "FORCE_COLOR": None}
        runner = CliRunner(env={**cleared, **_columns(columns), **variables})
        return runner.invoke(
            build_app(), arguments, input=input, obj=environment, catch_exceptions=False, prog_name="holdfast"
        )

    def record(self, rpc: str, request: Message, context: grpc.ServicerContext) -> Any:
        """Keep a request and return what is to be answered."""
        with self._changed:
            self.requests.setdefault(rpc, []).append(request)
            self.metadata = {key: str(value) for key, value in context.invocation_metadata()}
            self._changed.notify_all()
        answer = self.answers.get(rpc)
        if callable(answer):
            answer = answer(request)
        if isinstance(answer, Refusal):
            answer.abort(context)
        return answer


def _columns(columns: int | None) -> dict[str, str]:
    return {} if columns is None else {"COLUMNS": str(columns)}


def serve(stage: Stage) -> grpc.Server:
    """Start a server for a stage on a free port of the loopback."""
    server = grpc.server(ThreadPoolExecutor(max_workers=8), options=[("grpc.so_reuseport", 0)])
    for name in SERVICES:
        module = importlib.import_module(f"holdfast.v1.{name}_service_pb2")
        (service,) = module.DESCRIPTOR.services_by_name.values()
        server.add_generic_rpc_handlers((_service(stage, service),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    stage.target = f"127.0.0.1:{port}"
    return server


def _service(stage: Stage, service: ServiceDescriptor) -> Any:
    handlers = {method.name: _method(stage, method) for method in service.methods}
    return grpc.method_handlers_generic_handler(service.full_name, handlers)


def _method(stage: Stage, method: MethodDescriptor) -> Any:
    asked, answered = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
    forms: dict[tuple[bool, bool], tuple[Callable[..., Any], Callable[..., Any]]] = {
        (False, False): (grpc.unary_unary_rpc_method_handler, _unary),
        (False, True): (grpc.unary_stream_rpc_method_handler, _stream),
        (True, True): (grpc.stream_stream_rpc_method_handler, _dialogue),
    }
    make, behave = forms[method.client_streaming, method.server_streaming]
    return make(
        behave(stage, method.name, answered),
        request_deserializer=asked.FromString,
        response_serializer=answered.SerializeToString,
    )


def _unary(stage: Stage, rpc: str, answered: type[Message]) -> Any:
    def behave(request: Message, context: grpc.ServicerContext) -> Message:
        answer = stage.record(rpc, request, context)
        return answered() if answer is None else answer

    return behave


def _stream(stage: Stage, rpc: str, answered: type[Message]) -> Any:
    def behave(request: Message, context: grpc.ServicerContext) -> Iterator[Message]:
        yield from stage.record(rpc, request, context) or ()

    return behave


def _dialogue(stage: Stage, rpc: str, answered: type[Message]) -> Any:
    def behave(requests: Iterator[Message], context: grpc.ServicerContext) -> Iterator[Message]:
        for request in requests:
            yield from stage.record(rpc, request, context) or ()

    return behave
