-- name: all
SELECT id, original, source, first_seen, last_seen, readings, crc FROM device
-- name: save
INSERT INTO device (id, original, source, first_seen, last_seen, readings, crc)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET original = excluded.original, source = excluded.source,
    last_seen = excluded.last_seen, readings = excluded.readings, crc = excluded.crc
