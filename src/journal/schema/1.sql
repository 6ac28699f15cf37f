-- Version 1. A run's directory; what its rule says of it; the seq of its stop event, if any.
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    path TEXT NOT NULL UNIQUE,
    law TEXT,
    rules TEXT,
    verdicts TEXT,
    stopped INTEGER,
    told INTEGER NOT NULL DEFAULT 0,
    picked INTEGER NOT NULL DEFAULT 0,
    resolved_for TEXT,
    resolved TEXT
) STRICT;

-- One version of one file. state: 0 pending, 1 measured, 2 skipped, 3 failed. `due` is in milliseconds of the daemon's own
-- clock. `content` and `settings` are known once a worker has read the file; `current` orders contents of one step.
CREATE TABLE checkpoints (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    path TEXT NOT NULL,
    raw_path BLOB NOT NULL,
    fingerprint TEXT NOT NULL,
    plan TEXT NOT NULL,
    state INTEGER NOT NULL DEFAULT 0,
    due INTEGER NOT NULL DEFAULT 0,
    rank INTEGER,
    failures INTEGER NOT NULL DEFAULT 0,
    unfinished_since INTEGER,
    content TEXT,
    settings TEXT,
    current INTEGER,
    outcome INTEGER,
    reason TEXT,
    step INTEGER,
    epoch REAL,
    written INTEGER NOT NULL,
    is_finite INTEGER NOT NULL DEFAULT 1,
    r_f REAL,
    d_f REAL,
    g_f REAL,
    probe_error REAL,
    val_error REAL,
    predicted_error REAL,
    prediction TEXT
) STRICT;
CREATE INDEX queue ON checkpoints (run, step, epoch, written, id) WHERE state = 0;
CREATE INDEX due ON checkpoints (due) WHERE state = 0;
CREATE INDEX by_path ON checkpoints (run, path);
CREATE INDEX by_step ON checkpoints (run, step);
CREATE INDEX by_r_f ON checkpoints (run, r_f) WHERE state = 1;
CREATE INDEX by_state ON checkpoints (run, state);
CREATE UNIQUE INDEX once ON checkpoints (run, path, content, settings) WHERE state IN (1, 3) AND content IS NOT NULL;

CREATE TABLE replicates (
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    checkpoint INTEGER NOT NULL REFERENCES checkpoints ON DELETE CASCADE,
    log_r_f BLOB NOT NULL,
    PRIMARY KEY (run, checkpoint)
) STRICT;

-- Errors told by clients, kept for checkpoints that are measured later.
CREATE TABLE annotations (
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    checkpoint TEXT NOT NULL,
    val_error REAL NOT NULL,
    PRIMARY KEY (run, checkpoint)
) STRICT;

-- Everything that was ever sent, in order; `body` is the event without its seq.
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX events_of_run ON events (run, seq);
