-- How long devices usually say nothing, kept with what they said last.
ALTER TABLE device_last ADD COLUMN rhythm TEXT NOT NULL DEFAULT '[]';  -- JSON, see rhythm.py
