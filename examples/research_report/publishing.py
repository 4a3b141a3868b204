"""Publishes an approved report as a Markdown file, once, however often it is asked to."""

import json
import os
import re
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile

from examples.research_report.models import Published, PublishRequest

SLUG_CHARACTERS_MAX = 60


def publish(request: PublishRequest, *, run_id: str, idempotency_key: str) -> Published:
    """Write the report to its file.

    The name of the file follows from title and idempotency key. So a repeated attempt finds what the first one wrote
    and writes nothing, and no other report is ever overwritten. The file appears whole or not at all.

    Args:
        request: What to publish and where.
        run_id: Told in the front matter.
        idempotency_key: The same for every attempt of this step.
    """
    folder = Path(request.out)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{slug(request.draft.title)}-{sha256(idempotency_key.encode()).hexdigest()[:8]}.md"
    data = (front_matter(request, run_id, idempotency_key) + request.draft.markdown).encode()
    if target.exists() and f"\nidempotency_key: {json.dumps(idempotency_key)}\n".encode() in target.read_bytes():
        return Published(path=str(target), size_bytes=target.stat().st_size, repeated=True)
    with NamedTemporaryFile(dir=folder, prefix=".", suffix=".part", delete=False) as part:
        try:
            part.write(data)
            part.flush()
            os.fsync(part.fileno())
            Path(part.name).replace(target)
        except BaseException:
            Path(part.name).unlink(missing_ok=True)
            raise
    return Published(path=str(target), size_bytes=len(data), repeated=False)


def front_matter(request: PublishRequest, run_id: str, idempotency_key: str) -> str:
    """Return what stands above the report: where it comes from, as YAML (JSON strings are YAML)."""
    fields = {
        "title": request.draft.title,
        "written_by": request.draft.writer,
        "revision": request.draft.revision,
        "citations": request.draft.citations,
        "approved_by": request.approval.get("decided_by"),
        "run_id": run_id,
        "idempotency_key": idempotency_key,
    }
    lines = [f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in fields.items()]
    return "\n".join(["---", *lines, "---", "", ""])


def slug(title: str) -> str:
    """Return a title as a name for a file: lower case letters, digits and dashes."""
    name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:SLUG_CHARACTERS_MAX].strip("-")
    return name or "report"
