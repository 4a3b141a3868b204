"""The gRPC services: validate, call the runtime, map errors. No rules here."""
