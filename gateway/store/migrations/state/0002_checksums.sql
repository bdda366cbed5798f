-- CRC-32 of id, original, source and first_seen, null where an older version wrote the row.
ALTER TABLE device ADD COLUMN crc INTEGER;
