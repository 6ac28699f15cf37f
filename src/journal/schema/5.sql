-- Version 5: the probe images whose answers move most, of a run's best and latest checkpoints. `shown` says what the picture
-- shows, as JSON; `format` is how it is encoded.
CREATE TABLE strips (
    checkpoint INTEGER PRIMARY KEY REFERENCES checkpoints ON DELETE CASCADE,
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    shown TEXT NOT NULL,
    format TEXT NOT NULL,
    picture BLOB NOT NULL
) STRICT;
CREATE INDEX strips_of_run ON strips (run, checkpoint);

-- Trainings that began again: the number of the attempt, the step that it began at, and its event.
CREATE TABLE attempts (
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    attempt INTEGER NOT NULL,
    step INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (run, attempt)
) STRICT;
INSERT OR REPLACE INTO attempts
SELECT run, body ->> '$.attempt', body ->> '$.step', seq FROM events
WHERE body ->> '$.type' = 'attempt' AND typeof(body ->> '$.attempt') = 'integer' AND typeof(body ->> '$.step') = 'integer';

-- The laws that records were predicted with when they were measured: each version as the first of them has it, over which steps, and
-- how many there are. `seq` is the first one's event.
CREATE TABLE laws (
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    law TEXT NOT NULL,
    first_step INTEGER,
    last_step INTEGER,
    records INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (run, name, version)
) STRICT;
INSERT INTO laws
SELECT run, law ->> '$.name', ifnull(law ->> '$.version', 1), law, min(step), max(step), count(*), min(seq)
FROM (SELECT c.run, c.step, seq, body -> '$.measurement.prediction.law' AS law
      FROM checkpoints AS c JOIN events ON events.seq = c.outcome WHERE c.state = 1)
WHERE typeof(law ->> '$.name') = 'text' AND typeof(ifnull(law ->> '$.version', 1)) = 'integer'
GROUP BY run, law ->> '$.name', ifnull(law ->> '$.version', 1);
