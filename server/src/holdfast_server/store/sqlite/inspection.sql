-- Every statement of an inspection by its name. They read whole tables, which the server never does.

-- name: run_count
SELECT count(*) FROM runs NOT INDEXED;

-- name: runs
SELECT
    key, namespace, run_id, workflow, version, business_key, state, start_time_us, close_time_us, run_epoch, last_seq,
    waiting_reason, status_message, request_id, request_hash, attributes_json, hot
FROM runs
WHERE key > ?1
ORDER BY key
LIMIT ?2;

-- name: history
SELECT run, first_seq, count, blob FROM history WHERE run = ?1 ORDER BY first_seq;

-- name: payloads_of
SELECT payload_refs.payload, payloads.sha256
FROM payload_refs
LEFT JOIN payloads ON payloads.id = payload_refs.payload
WHERE payload_refs.run = ?1;

-- name: eviction_of
SELECT wake_time_us, snapshot_seq, snapshot FROM evicted WHERE run = ?1;

-- name: evicted_tasks_of
SELECT path, namespace, queue, handler, since_time_us FROM evicted_tasks WHERE run = ?1;

-- name: evicted_gates_of
SELECT path, namespace, run_id, workflow, deadline_time_us, open_time_us FROM evicted_gates WHERE run = ?1;

-- name: payloads
SELECT
    payloads.id, payloads.sha256, payloads.blob,
    EXISTS (SELECT 1 FROM payload_refs WHERE payload_refs.payload = payloads.id)
FROM payloads
WHERE payloads.id > ?1
ORDER BY payloads.id
LIMIT ?2;

-- name: version
SELECT namespace, name, version, definition_hash, definition, source, format, register_time_us, retention_us
FROM versions
WHERE namespace = ?1 AND name = ?2 AND version = ?3;

-- name: version_names
SELECT namespace, name, version FROM versions ORDER BY namespace, name, version;

-- name: orphans
SELECT 'history', run FROM history WHERE run NOT IN (SELECT key FROM runs)
UNION
SELECT 'payload_refs', run FROM payload_refs WHERE run NOT IN (SELECT key FROM runs)
UNION
SELECT 'evicted', run FROM evicted WHERE run NOT IN (SELECT key FROM runs)
UNION
SELECT 'evicted_tasks', run FROM evicted_tasks WHERE run NOT IN (SELECT run FROM evicted)
UNION
SELECT 'evicted_gates', run FROM evicted_gates WHERE run NOT IN (SELECT run FROM evicted);

-- name: deleted_and_there
SELECT runs.namespace, runs.run_id
FROM runs
JOIN deleted_runs ON deleted_runs.namespace = runs.namespace AND deleted_runs.run_id = runs.run_id;

-- name: deleted_count
SELECT count(*) FROM deleted_runs;

-- name: setting
SELECT value FROM meta WHERE name = ?1;
