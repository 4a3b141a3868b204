-- Every statement of the adapter by its name. In statements that write, ?1 is a JSON array with one array per row and
-- ?2 holds the binary columns of all rows one after the other; a row names its pieces by offset (from 1) and length.
-- So a whole group is one statement with one step, which gives up the interpreter once and not once per row.
-- MATERIALIZED, because otherwise SQLite renders the row's JSON anew for each of its columns: 15 against 8 us for a run.

-- name: insert_history
WITH fields AS MATERIALIZED (SELECT value FROM json_each(?1))
INSERT INTO history (run, first_seq, count, blob)
SELECT value ->> 0, value ->> 1, value ->> 2, substr(?2, value ->> 3, value ->> 4)
FROM fields;

-- name: insert_runs
WITH fields AS MATERIALIZED (SELECT value FROM json_each(?1))
INSERT INTO runs (
    key, namespace, run_id, workflow, version, business_key, start_time_us, request_id, attributes_json,
    state, close_time_us, run_epoch, last_seq, waiting_reason, status_message, request_hash
)
SELECT
    value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7,
    value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12, value ->> 13, value ->> 14,
    substr(?2, value ->> 15, value ->> 16)
FROM fields;

-- name: update_runs
WITH fields AS MATERIALIZED (SELECT value FROM json_each(?1))
UPDATE runs SET
    state = change.value ->> 1,
    close_time_us = change.value ->> 2,
    run_epoch = change.value ->> 3,
    last_seq = change.value ->> 4,
    waiting_reason = change.value ->> 5,
    status_message = change.value ->> 6,
    hot = change.value ->> 7
FROM fields AS change
WHERE runs.key = change.value ->> 0;

-- name: insert_payloads
WITH fields AS MATERIALIZED (SELECT value FROM json_each(?1))
INSERT OR IGNORE INTO payloads (sha256, blob)
SELECT substr(?2, value ->> 0, value ->> 1), substr(?2, value ->> 2, value ->> 3)
FROM fields;

-- name: insert_payload_refs
WITH fields AS MATERIALIZED (SELECT value FROM json_each(?1))
INSERT OR IGNORE INTO payload_refs (run, payload)
SELECT reference.value ->> 0, payloads.id
FROM fields AS reference
CROSS JOIN payloads ON payloads.sha256 = substr(?2, reference.value ->> 1, reference.value ->> 2);

-- name: insert_versions
WITH fields AS MATERIALIZED (SELECT value FROM json_each(?1))
INSERT INTO versions (
    namespace, name, version, source, format, register_time_us, retention_us, definition_hash, definition
)
SELECT
    value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
    substr(?2, value ->> 7, value ->> 8), substr(?2, value ->> 9, value ->> 10)
FROM fields;

-- name: insert_evicted
WITH fields AS MATERIALIZED (SELECT value FROM json_each(?1))
INSERT OR REPLACE INTO evicted (run, wake_time_us, snapshot_seq, snapshot)
SELECT value ->> 0, value ->> 1, value ->> 2, substr(?2, value ->> 3, value ->> 4)
FROM fields;

-- name: insert_evicted_tasks
WITH fields AS MATERIALIZED (SELECT value FROM json_each(?1))
INSERT OR REPLACE INTO evicted_tasks (run, path, namespace, queue, handler, since_time_us)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5
FROM fields;

-- name: insert_evicted_gates
WITH fields AS MATERIALIZED (SELECT value FROM json_each(?1))
INSERT OR REPLACE INTO evicted_gates (run, path, namespace, run_id, workflow, deadline_time_us, open_time_us)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6
FROM fields;

-- name: delete_evicted
DELETE FROM evicted WHERE run IN (SELECT value ->> 0 FROM json_each(?1));

-- name: delete_evicted_tasks
DELETE FROM evicted_tasks WHERE run IN (SELECT value ->> 0 FROM json_each(?1));

-- name: delete_evicted_gates
DELETE FROM evicted_gates WHERE run IN (SELECT value ->> 0 FROM json_each(?1));

-- name: next_server_epoch
INSERT INTO meta (name, value) VALUES ('server_epoch', 1)
ON CONFLICT (name) DO UPDATE SET value = value + 1
RETURNING value;

-- name: keep_token_key
INSERT INTO meta (name, value) VALUES ('token_key', ?1)
ON CONFLICT (name) DO UPDATE SET value = value
RETURNING value;

-- name: forget_token_key
DELETE FROM meta WHERE name = 'token_key';

-- name: probe
INSERT INTO meta (name, value) VALUES ('probes', 1)
ON CONFLICT (name) DO UPDATE SET value = value + 1
RETURNING value;

-- name: last_run_key
SELECT max(
    coalesce((SELECT max(key) FROM runs), 0),
    coalesce((SELECT value FROM meta WHERE name = 'last_run_key'), 0)
);

-- name: runs
SELECT
    key, namespace, run_id, workflow, version, business_key, state, start_time_us, close_time_us, run_epoch, last_seq,
    waiting_reason, status_message, request_id, request_hash, attributes_json, hot
FROM runs;

-- name: runs_where_hot
WHERE hot = 1 AND state IN (1, 2) ORDER BY +key;

-- name: open_run_count
SELECT count(*) FROM runs WHERE state IN (1, 2);

-- name: runs_where_business_key
WHERE
    namespace = ?1
    AND business_key <> '' AND state IN (1, 2)
    AND (workflow, business_key) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?2))
ORDER BY key;

-- name: runs_where_id
WHERE namespace = ?1 AND run_id = ?2;

-- name: runs_where_key
WHERE key = ?1;

-- name: runs_where_known
WHERE key IN (
    SELECT key FROM runs
    WHERE namespace = ?1 AND run_id IN (SELECT value FROM json_each(?2))
    UNION
    SELECT key FROM runs
    WHERE namespace = ?1 AND request_id <> '' AND request_id IN (SELECT value FROM json_each(?3))
)
ORDER BY key;

-- name: count_runs
SELECT state, count(*) FROM runs;

-- name: history
SELECT run, first_seq, count, blob
FROM history
WHERE
    run = ?1
    AND first_seq >= coalesce((SELECT max(first_seq) FROM history WHERE run = ?1 AND first_seq <= ?2 + 1), 0)
    AND first_seq + count > ?2 + 1
ORDER BY first_seq;

-- name: histories
-- In the order of the array, and of each run by the index: an ORDER BY would hold all rows before the first is read.
SELECT history.run, history.first_seq, history.count, history.blob
FROM json_each(?1) AS wanted
CROSS JOIN history ON
    history.run = wanted.value ->> 0
    AND history.first_seq >= coalesce(
        (
            SELECT max(earlier.first_seq)
            FROM history AS earlier
            WHERE earlier.run = wanted.value ->> 0 AND earlier.first_seq <= (wanted.value ->> 1) + 1
        ),
        0
    )
    AND history.first_seq + history.count > (wanted.value ->> 1) + 1;

-- name: snapshots
SELECT run, snapshot_seq, snapshot
FROM evicted
WHERE run IN (SELECT value FROM json_each(?1)) AND snapshot_seq > 0;

-- name: wake_times
SELECT wake_time_us, run
FROM evicted
WHERE wake_time_us > 0 AND (wake_time_us, run) > (?1, ?2)
ORDER BY wake_time_us, run
LIMIT ?3;

-- name: task_backlog
SELECT namespace, queue, handler, count(*), min(since_time_us)
FROM evicted_tasks
GROUP BY namespace, queue, handler;

-- name: evicted_tasks
SELECT since_time_us, run
FROM evicted_tasks
WHERE namespace = ?1 AND queue = ?2 AND handler = ?3
ORDER BY since_time_us
LIMIT ?4;

-- name: evicted_gates
SELECT deadline_time_us, open_time_us, run_id, path, run
FROM evicted_gates
WHERE
    namespace = ?1
    AND (deadline_time_us, open_time_us, run_id, path) > (?2, ?3, ?4, ?5)
    AND (?6 = '' OR workflow = ?6)
ORDER BY deadline_time_us, open_time_us, run_id, path
LIMIT ?7;

-- name: payloads
SELECT payloads.sha256, payloads.blob
FROM json_each(?1) AS wanted
CROSS JOIN payloads ON payloads.sha256 = substr(?2, wanted.value ->> 0, wanted.value ->> 1);

-- name: versions
SELECT namespace, name, version, definition_hash, definition, source, format, register_time_us, retention_us
FROM versions;

-- name: versions_where_number
WHERE namespace = ?1 AND name = ?2 AND version = ?3;

-- name: versions_where_latest
WHERE namespace = ?1 AND name = ?2 ORDER BY version DESC LIMIT 1;

-- name: versions_where_hash
WHERE namespace = ?1 AND name = ?2 AND definition_hash = ?3;

-- name: versions_where_below
WHERE namespace = ?1 AND name = ?2 AND (?3 = 0 OR version < ?3) ORDER BY version DESC LIMIT ?4;

-- name: versions_where_latest_of_each
WHERE (namespace, name, version) IN (
    SELECT namespace, name, max(version)
    FROM versions
    WHERE namespace = ?1 AND name > ?2
    GROUP BY namespace, name
    ORDER BY name
    LIMIT ?3
)
ORDER BY name;

-- name: newest_history
SELECT newest.run, newest.first_seq, newest.blob, runs.key IS NOT NULL AND found.rowid IS newest.rowid
FROM (SELECT rowid, run, first_seq, blob FROM history ORDER BY rowid DESC LIMIT 64) AS newest
LEFT JOIN runs ON runs.key = newest.run
LEFT JOIN history AS found ON found.run = newest.run AND found.first_seq = newest.first_seq;

-- Deletion of closed runs. ?1 is a JSON array of [key, delete_time_us, request_id]. Tombstones come first: only closed
-- runs get one, and the number of them tells whether all are.

-- name: insert_deleted_runs
INSERT INTO deleted_runs (namespace, run_id, delete_time_us, request_id)
SELECT runs.namespace, runs.run_id, deletion.value ->> 1, deletion.value ->> 2
FROM json_each(?1) AS deletion
CROSS JOIN runs ON runs.key = deletion.value ->> 0
WHERE runs.state NOT IN (1, 2);

-- name: keep_last_run_key
INSERT INTO meta (name, value)
SELECT 'last_run_key', max(value ->> 0) FROM json_each(?1) WHERE true
ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value);

-- name: delete_payloads
DELETE FROM payloads
WHERE
    id IN (
        SELECT reference.payload
        FROM json_each(?1) AS deletion
        CROSS JOIN payload_refs AS reference ON reference.run = deletion.value ->> 0
    )
    AND NOT EXISTS (
        SELECT 1 FROM payload_refs AS other
        WHERE other.payload = payloads.id AND other.run NOT IN (SELECT value ->> 0 FROM json_each(?1))
    );

-- name: delete_payload_refs
DELETE FROM payload_refs WHERE run IN (SELECT value ->> 0 FROM json_each(?1));

-- name: delete_history
DELETE FROM history WHERE run IN (SELECT value ->> 0 FROM json_each(?1));

-- name: delete_runs
DELETE FROM runs WHERE key IN (SELECT value ->> 0 FROM json_each(?1));

-- name: run_sizes
SELECT
    wanted.value,
    (SELECT coalesce(sum(length(blob)), 0) FROM history WHERE run = wanted.value)
    + (
        SELECT coalesce(sum(length(payloads.blob)), 0)
        FROM payload_refs
        JOIN payloads ON payloads.id = payload_refs.payload
        WHERE payload_refs.run = wanted.value
    )
FROM json_each(?1) AS wanted;

-- name: deleted_runs
SELECT namespace, run_id, delete_time_us, request_id
FROM deleted_runs
WHERE namespace = ?1 AND run_id IN (SELECT value FROM json_each(?2));

-- name: expired_runs
SELECT runs.key, runs.namespace, runs.run_id, runs.last_seq
FROM versions AS kept INDEXED BY versions_by_retention
CROSS JOIN runs INDEXED BY runs_closed ON
    runs.namespace = kept.namespace
    AND runs.workflow = kept.name
    AND runs.version = kept.version
    AND runs.close_time_us > 0
    AND runs.close_time_us <= ?1 - coalesce(nullif(kept.retention_us, 0), ?2)
LIMIT ?3;

-- name: next_expiry
SELECT
    min(
        coalesce(nullif(kept.retention_us, 0), ?1)
        + (
            SELECT runs.close_time_us
            FROM runs INDEXED BY runs_closed
            WHERE
                runs.namespace = kept.namespace
                AND runs.workflow = kept.name
                AND runs.version = kept.version
                AND runs.close_time_us > 0
            ORDER BY runs.close_time_us
            LIMIT 1
        )
    )
FROM versions AS kept INDEXED BY versions_by_retention;
