-- Version 7: what a checkpoint lacks that is not whole yet, as it was read last.
ALTER TABLE checkpoints ADD COLUMN lack TEXT;
