-- Deletion of closed runs: what stays of them, and which are old enough to go.

-- The ids of deleted runs, which stay taken. `request_id` is that of the deletion, empty if there was none.
CREATE TABLE deleted_runs (
    namespace      TEXT    NOT NULL,
    run_id         TEXT    NOT NULL,
    delete_time_us INTEGER NOT NULL,
    request_id     TEXT    NOT NULL,
    PRIMARY KEY (namespace, run_id)
) STRICT, WITHOUT ROWID;

-- How long closed runs of a version are kept; 0 means as long as the server says.
ALTER TABLE versions ADD COLUMN retention_us INTEGER NOT NULL DEFAULT 0;

-- Retention looks at every version without reading definitions, and takes what closed first from the front.
CREATE INDEX versions_by_retention ON versions (namespace, name, version, retention_us);
CREATE INDEX runs_closed ON runs (namespace, workflow, version, close_time_us) WHERE close_time_us > 0;
