-- name: add
INSERT INTO command (id, device, name, args, asked_by, received, expires, status, result, error,
                     changed, number)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, (SELECT COALESCE(MAX(number), 0) + 1 FROM command))
-- name: trim
DELETE FROM command WHERE number <= (SELECT MAX(number) FROM command) - ?
-- name: save
UPDATE command SET status = ?, result = ?, error = ?, changed = ? WHERE id = ?
-- name: one
SELECT id, device, name, args, asked_by, received, expires, status, result, error, changed
FROM command WHERE id = ?
-- name: latest
SELECT id, device, name, args, asked_by, received, expires, status, result, error, changed
FROM command WHERE device = ? ORDER BY number DESC LIMIT ?
-- name: open
SELECT id, device, name, args, asked_by, received, expires, status, result, error, changed
FROM command WHERE status IN ('accepted', 'executing')
-- name: forget
DELETE FROM command WHERE device = ? AND status NOT IN ('accepted', 'executing')
