-- Open runs that only wait leave the memory of the server. What it has to find of them without folding their histories
-- stands here, and only for them: a run that is in memory has no row in these tables.

-- Whether the server had the run in memory; what is hot and open is folded when the server starts.
ALTER TABLE runs ADD COLUMN hot INTEGER NOT NULL DEFAULT 1;
CREATE INDEX runs_hot ON runs (key) WHERE hot = 1 AND state IN (1, 2);
-- What runs wait for is kept up to date for evicted runs only.
CREATE INDEX runs_waiting ON runs (namespace, waiting_reason, start_time_us) WHERE hot = 0 AND state IN (1, 2);

CREATE TABLE evicted (
    run          INTEGER PRIMARY KEY,
    wake_time_us INTEGER NOT NULL, -- when the first of its timers is due; 0 if it has none
    snapshot_seq INTEGER NOT NULL, -- number of the last event the snapshot takes in; 0 if there is none
    snapshot     BLOB    NOT NULL
) STRICT;

CREATE INDEX evicted_by_wake_time ON evicted (wake_time_us) WHERE wake_time_us > 0;

CREATE TABLE evicted_tasks (
    run           INTEGER NOT NULL,
    path          TEXT    NOT NULL,
    namespace     TEXT    NOT NULL,
    queue         TEXT    NOT NULL,
    handler       TEXT    NOT NULL,
    since_time_us INTEGER NOT NULL,
    PRIMARY KEY (run, path)
) STRICT, WITHOUT ROWID;

CREATE INDEX evicted_tasks_by_queue ON evicted_tasks (namespace, queue, handler, since_time_us);

CREATE TABLE evicted_gates (
    run              INTEGER NOT NULL,
    path             TEXT    NOT NULL,
    namespace        TEXT    NOT NULL,
    run_id           TEXT    NOT NULL,
    workflow         TEXT    NOT NULL,
    deadline_time_us INTEGER NOT NULL, -- the largest integer if it has none, because those come last
    open_time_us     INTEGER NOT NULL,
    PRIMARY KEY (run, path)
) STRICT, WITHOUT ROWID;

CREATE INDEX evicted_gates_by_deadline ON evicted_gates (namespace, deadline_time_us, open_time_us, run_id, path);
