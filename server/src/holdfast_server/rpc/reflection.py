"""Server reflection, v1 and v1alpha.

grpcio-reflection registers v1alpha only. The protocols are the same but for the package name, so the same servicer is
registered under both, and the descriptor of v1 is made from that of v1alpha so that listing does not break off.
"""

from collections.abc import Sequence
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc import aio
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer

__all__ = ["V1", "V1ALPHA", "add_reflection"]

V1 = "grpc.reflection.v1.ServerReflection"
V1ALPHA = "grpc.reflection.v1alpha.ServerReflection"


def add_reflection(server: aio.Server, services: Sequence[str]) -> None:
    """Registers both versions, listing the services and themselves."""
    pool = descriptor_pool.Default()
    _describe_v1(pool)
    servicer = ReflectionServicer(service_names=(*services, V1, V1ALPHA), pool=pool)
    for name in (V1, V1ALPHA):
        # On the wire the two are the same, so the messages of v1alpha read both.
        handler: Any = grpc.stream_stream_rpc_method_handler(
            servicer.ServerReflectionInfo,
            request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
            response_serializer=lambda answer: answer.SerializeToString(),
        )
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler}),)
        )


def _describe_v1(pool: descriptor_pool.DescriptorPool) -> None:
    try:
        pool.FindServiceByName(V1)
    except KeyError:
        pass
    else:
        return
    copy = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(copy)
    copy.name = "grpc/reflection/v1/reflection.proto"
    copy.package = "grpc.reflection.v1"
    for message in copy.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(".v1alpha.", ".v1.")
    for service in copy.service:
        for method in service.method:
            method.input_type = method.input_type.replace(".v1alpha.", ".v1.")
            method.output_type = method.output_type.replace(".v1alpha.", ".v1.")
    pool.Add(copy)
