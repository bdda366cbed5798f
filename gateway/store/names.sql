-- name: all
SELECT source, kind, name, owner FROM device_name
-- name: save
INSERT INTO device_name (source, kind, name, owner) VALUES (?, ?, ?, ?)
ON CONFLICT (source, kind, name) DO UPDATE SET owner = excluded.owner
-- name: forget
DELETE FROM device_name WHERE source = ? AND name = ?
