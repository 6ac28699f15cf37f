-- Version 4: trainings that begin again, and stops that a person overruled.

-- The step that the run's latest attempt began at, and when, nanoseconds since 1970; null for the first.
ALTER TABLE runs ADD COLUMN attempt_from INTEGER;
ALTER TABLE runs ADD COLUMN attempt_began INTEGER;

-- The seq of the event by which a person overruled a stop: what was measured before stops the run no more.
ALTER TABLE runs ADD COLUMN resumed INTEGER;
