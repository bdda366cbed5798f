-- Null where an older version wrote the row.
ALTER TABLE dead_letter ADD COLUMN record BLOB;      -- what a refused reading is known by
ALTER TABLE dead_letter ADD COLUMN seen   INTEGER;   -- how often it was refused; null: once
ALTER TABLE dead_letter ADD COLUMN last   INTEGER;   -- ns; null: as time, which is the first
CREATE UNIQUE INDEX dead_letter_by_record ON dead_letter (record, stage, name, reason);
