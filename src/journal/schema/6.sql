-- Version 6: the best checkpoint of a run by any evidence, found without reading the run.
CREATE INDEX by_val_error ON checkpoints (run, val_error) WHERE state = 1 AND val_error IS NOT NULL;
CREATE INDEX by_probe_error ON checkpoints (run, probe_error) WHERE state = 1 AND probe_error IS NOT NULL;
CREATE INDEX by_predicted_error ON checkpoints (run, predicted_error) WHERE state = 1 AND predicted_error IS NOT NULL;
CREATE INDEX by_invariance ON checkpoints (run, invariance) WHERE state = 1 AND invariance IS NOT NULL;
