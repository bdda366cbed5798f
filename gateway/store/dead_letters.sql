-- name: add
INSERT INTO dead_letter (stage, name, reason, detail, device, topic, payload, size, time, reading)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
-- name: totals
SELECT stage, name, reason, count(*), min(time), max(time)
FROM dead_letter GROUP BY stage, name, reason
-- name: trim
DELETE FROM dead_letter WHERE id IN (
    SELECT id FROM dead_letter ORDER BY id
    LIMIT max((SELECT count(*) FROM dead_letter) - :quota, 0)
)
-- name: list
SELECT id, stage, name, reason, detail, device, topic, payload, size, time, reading
FROM dead_letter WHERE (:name IS NULL OR name = :name) AND id < :before
ORDER BY id DESC LIMIT :limit
-- name: delete
DELETE FROM dead_letter WHERE id = ?
