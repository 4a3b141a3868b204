-- Runs, their histories, large payloads, definitions and the settings of the server.
-- Times are microseconds since the Unix epoch. `runs.state` has the numbers of `RunState`: 1 and 2 are open.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE versions (
    namespace        TEXT    NOT NULL,
    name             TEXT    NOT NULL,
    version          INTEGER NOT NULL,
    definition_hash  BLOB    NOT NULL,
    definition       BLOB    NOT NULL,
    source           TEXT    NOT NULL,
    format           INTEGER NOT NULL,
    register_time_us INTEGER NOT NULL,
    PRIMARY KEY (namespace, name, version),
    UNIQUE (namespace, name, definition_hash)
) STRICT;

CREATE TABLE runs (
    key             INTEGER PRIMARY KEY,
    namespace       TEXT    NOT NULL,
    run_id          TEXT    NOT NULL,
    workflow        TEXT    NOT NULL,
    version         INTEGER NOT NULL,
    business_key    TEXT    NOT NULL,
    state           INTEGER NOT NULL,
    start_time_us   INTEGER NOT NULL,
    close_time_us   INTEGER NOT NULL,
    run_epoch       INTEGER NOT NULL,
    last_seq        INTEGER NOT NULL,
    waiting_reason  INTEGER NOT NULL,
    status_message  TEXT    NOT NULL,
    request_id      TEXT    NOT NULL,
    request_hash    BLOB    NOT NULL,
    attributes_json TEXT    NOT NULL,
    UNIQUE (namespace, run_id)
) STRICT;

CREATE UNIQUE INDEX runs_by_request ON runs (namespace, request_id) WHERE request_id <> '';
CREATE UNIQUE INDEX runs_open_by_business_key ON runs (namespace, workflow, business_key)
    WHERE business_key <> '' AND state IN (1, 2);

-- Lists read these backwards: latest start first. The key of the run ends every index by itself.
CREATE INDEX runs_by_start ON runs (namespace, start_time_us);
CREATE INDEX runs_by_workflow ON runs (namespace, workflow, start_time_us);
CREATE INDEX runs_by_business_key ON runs (namespace, business_key, start_time_us) WHERE business_key <> '';
-- What is still open, and what ended otherwise than well, is what people look for, and few among many.
CREATE INDEX runs_open ON runs (namespace, start_time_us) WHERE state IN (1, 2);
CREATE INDEX runs_unsuccessful ON runs (namespace, start_time_us) WHERE state IN (4, 5, 6, 7);

-- Appended only. One row is one transition of a run; `blob` is a serialized `HistoryBatch` of `count` events.
CREATE TABLE history (
    run       INTEGER NOT NULL,
    first_seq INTEGER NOT NULL,
    count     INTEGER NOT NULL,
    blob      BLOB    NOT NULL,
    UNIQUE (run, first_seq)
) STRICT;

CREATE TABLE payloads (
    id     INTEGER PRIMARY KEY,
    sha256 BLOB NOT NULL UNIQUE,
    blob   BLOB NOT NULL
) STRICT;

CREATE TABLE payload_refs (
    run     INTEGER NOT NULL,
    payload INTEGER NOT NULL,
    PRIMARY KEY (run, payload)
) STRICT, WITHOUT ROWID;

CREATE INDEX payload_refs_by_payload ON payload_refs (payload);
