-- name: all
SELECT id, name, state, model, firmware, tags, attributes FROM device_about
-- name: save
INSERT INTO device_about (id, name, state, model, firmware, tags, attributes)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, state = excluded.state,
    model = excluded.model, firmware = excluded.firmware, tags = excluded.tags,
    attributes = excluded.attributes
-- name: forget
DELETE FROM device_about WHERE id = ?
