-- name: all
SELECT id, original, source, first_seen, last_seen, readings, crc FROM device
-- name: save
INSERT INTO device (id, original, source, first_seen, last_seen, readings, crc)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET original = excluded.original, source = excluded.source,
    first_seen = excluded.first_seen, last_seen = excluded.last_seen, readings = excluded.readings, crc = excluded.crc
-- name: forget
DELETE FROM device WHERE id = ?
-- name: aliases
SELECT source, original, device FROM device_alias
-- name: alias
INSERT INTO device_alias (source, original, device) VALUES (?, ?, ?)
ON CONFLICT (source, original) DO UPDATE SET device = excluded.device
-- name: forget_aliases
DELETE FROM device_alias WHERE device = ?
-- name: forget_last
DELETE FROM device_last WHERE id = ?
