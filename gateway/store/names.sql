-- name: all
SELECT source, kind, name, owner, crc FROM device_name
-- name: save
INSERT INTO device_name (source, kind, name, owner, crc) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (source, kind, name) DO UPDATE SET owner = excluded.owner, crc = excluded.crc
-- name: delete
DELETE FROM device_name WHERE source = ? AND kind = ? AND name = ?
-- name: forget
DELETE FROM device_name WHERE source = ? AND name = ?
