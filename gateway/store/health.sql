-- name: add
INSERT INTO health (part, since, until, score, level, why) VALUES (?, ?, ?, ?, ?, ?)
-- name: lasts
UPDATE health SET until = ? WHERE id = ?
-- name: expire
DELETE FROM health WHERE until < :before OR id <= (SELECT max(id) FROM health) - :rows
-- name: of
SELECT id, since, until, score, level, why FROM health
WHERE part = :part AND until > :start AND since < :end ORDER BY since
-- name: parts
SELECT DISTINCT part FROM health
