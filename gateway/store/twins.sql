-- name: all
SELECT device, kind, key, value, version, of, time FROM twin
-- name: save
INSERT INTO twin (device, kind, key, value, version, of, time) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (device, kind, key) DO UPDATE SET value = excluded.value, version = excluded.version,
    of = excluded.of, time = excluded.time
-- name: remove
DELETE FROM twin WHERE device = ? AND kind = ? AND key = ?
-- name: forget
DELETE FROM twin WHERE device = ?
