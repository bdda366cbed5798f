-- name: add
INSERT INTO dead_letter
    (stage, name, reason, detail, device, topic, payload, size, time, reading, record)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (record, stage, name, reason) DO UPDATE SET
    seen = coalesce(seen, 1) + 1, last = excluded.time, detail = excluded.detail
-- name: again
UPDATE dead_letter SET seen = coalesce(seen, 1) + 1, last = :now, detail = :detail WHERE id = :id
-- name: totals
SELECT stage, name, reason, count(*), min(time), max(time)
FROM dead_letter GROUP BY stage, name, reason
-- name: trim
DELETE FROM dead_letter WHERE id IN (
    SELECT id FROM dead_letter ORDER BY id
    LIMIT max((SELECT count(*) FROM dead_letter) - :quota, 0)
)
-- name: list
SELECT id, stage, name, reason, detail, device, topic, payload, size, time, reading,
       coalesce(seen, 1), coalesce(last, time)
FROM dead_letter WHERE (:name IS NULL OR name = :name) AND (:stage IS NULL OR stage = :stage) AND id < :before
ORDER BY id DESC LIMIT :limit
-- name: groups
SELECT stage, name, reason, device, count(*), min(time), max(coalesce(last, time)), detail,
       sum(coalesce(seen, 1)) FROM dead_letter
WHERE (:name IS NULL OR name = :name) AND (:stage IS NULL OR stage = :stage)
GROUP BY stage, name, reason, device ORDER BY count(*) DESC, max(time) DESC LIMIT :limit
-- name: after
SELECT id, stage, name, reason, detail, device, topic, payload, size, time, reading,
       coalesce(seen, 1), coalesce(last, time)
FROM dead_letter WHERE name = :name AND stage = :stage AND id > :after
ORDER BY id LIMIT :limit
-- name: chosen
SELECT id, stage, name, reason, detail, device, topic, payload, size, time, reading,
       coalesce(seen, 1), coalesce(last, time)
FROM dead_letter
WHERE name = :name AND stage = :stage AND id IN (SELECT value FROM json_each(:ids))
ORDER BY id
-- name: delete
DELETE FROM dead_letter WHERE id = ?
