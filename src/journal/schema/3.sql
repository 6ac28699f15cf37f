-- Version 3: what is counted and charted of a record without reading it, and room for trainings that begin again, workers
-- elsewhere and alerts.

-- The findings of a record as it was sent, by severity; its effective invariance under deformation, with the interval.
ALTER TABLE checkpoints ADD COLUMN notes INTEGER;
ALTER TABLE checkpoints ADD COLUMN doubts INTEGER;
ALTER TABLE checkpoints ADD COLUMN wrongs INTEGER;
ALTER TABLE checkpoints ADD COLUMN invariance REAL;
ALTER TABLE checkpoints ADD COLUMN invariance_low REAL;
ALTER TABLE checkpoints ADD COLUMN invariance_high REAL;
UPDATE checkpoints SET
    notes = (SELECT count(*) FROM json_each(body, '$.measurement.findings') WHERE value ->> 'severity' = 'note'),
    doubts = (SELECT count(*) FROM json_each(body, '$.measurement.findings') WHERE value ->> 'severity' = 'doubt'),
    wrongs = (SELECT count(*) FROM json_each(body, '$.measurement.findings') WHERE value ->> 'severity' = 'wrong'),
    invariance = json_extract(body, '$.measurement.scores.invariance.deformed.value'),
    invariance_low = json_extract(body, '$.measurement.scores.invariance.deformed.low'),
    invariance_high = json_extract(body, '$.measurement.scores.invariance.deformed.high')
FROM events WHERE events.seq = outcome AND state = 1;
ALTER TABLE replicates ADD COLUMN invariance BLOB;

-- Which of its run's trainings wrote a checkpoint: one that starts again at an earlier step is another attempt.
ALTER TABLE runs ADD COLUMN attempt INTEGER NOT NULL DEFAULT 1;
ALTER TABLE checkpoints ADD COLUMN attempt INTEGER NOT NULL DEFAULT 1;

-- The machine of the worker that measured it or failed; null for this one.
ALTER TABLE checkpoints ADD COLUMN host TEXT;

-- An alert's rule, the moment since when it holds (milliseconds since 1970), the event that it raised, and how often that was
-- told in vain.
CREATE TABLE alerts (
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    rule TEXT NOT NULL,
    since INTEGER,
    raised INTEGER,
    told INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (run, rule)
) STRICT;
