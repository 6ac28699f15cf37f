-- Version 2: what charts and monitors read must not grow with a run's length.

ALTER TABLE checkpoints ADD COLUMN r_f_low REAL;
ALTER TABLE checkpoints ADD COLUMN r_f_high REAL;
ALTER TABLE checkpoints ADD COLUMN predicted_low REAL;
ALTER TABLE checkpoints ADD COLUMN predicted_high REAL;
UPDATE checkpoints SET
    r_f_low = json_extract(body, '$.measurement.r_f.low'),
    r_f_high = json_extract(body, '$.measurement.r_f.high'),
    predicted_low = json_extract(prediction, '$.low'),
    predicted_high = json_extract(prediction, '$.high')
FROM events WHERE events.seq = outcome AND state = 1;

-- Checkpoints of a run by state.
CREATE TABLE counts (
    run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE,
    state INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (run, state)
) STRICT;
INSERT INTO counts SELECT run, state, count(*) FROM checkpoints GROUP BY run, state;
CREATE TRIGGER checkpoint_comes AFTER INSERT ON checkpoints BEGIN
    INSERT INTO counts VALUES (new.run, new.state, 1) ON CONFLICT DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER checkpoint_goes AFTER DELETE ON checkpoints BEGIN
    UPDATE counts SET count = count - 1 WHERE run = old.run AND state = old.state;
END;
CREATE TRIGGER checkpoint_changes AFTER UPDATE OF state ON checkpoints WHEN old.state <> new.state BEGIN
    UPDATE counts SET count = count - 1 WHERE run = old.run AND state = old.state;
    INSERT INTO counts VALUES (new.run, new.state, 1) ON CONFLICT DO UPDATE SET count = count + 1;
END;

-- The largest power of two that divides a measured checkpoint's number within its run: those of a stride of 2^k and more are
-- every 2^k-th. Null where another content of the same step counts.
ALTER TABLE checkpoints ADD COLUMN stride INTEGER;
UPDATE checkpoints SET stride = number & -number
FROM (SELECT id AS counted, row_number() OVER (PARTITION BY run ORDER BY current) AS number
      FROM (SELECT id, run, current, row_number() OVER (
                PARTITION BY run, step, iif(step IS NULL, path, NULL) ORDER BY current DESC) AS newer
            FROM checkpoints WHERE state = 1)
      WHERE newer = 1)
WHERE id = counted;
CREATE INDEX by_stride ON checkpoints (run, stride) WHERE stride IS NOT NULL;
