-- name: cursor
SELECT position, reached, crc FROM cursor
-- name: streams
SELECT s.id, s.device, s.metrics, s.last_seq, s.crc,
       coalesce(min(c.t_min), 0), coalesce(max(c.t_max), 0), coalesce(sum(c.count), 0)
FROM stream s LEFT JOIN chunk c ON c.stream = s.id AND c.level = 0
GROUP BY s.id
-- name: kept
SELECT c.stream, c.first_seq, c.last_seq
FROM stream s JOIN chunk c ON c.stream = s.id AND c.level = 0
WHERE c.last_seq > s.last_seq
ORDER BY c.first_seq
-- name: add_stream
INSERT INTO stream (device, metrics, last_seq, crc) VALUES (?, ?, ?, ?)
ON CONFLICT (device, metrics) DO UPDATE SET last_seq = excluded.last_seq, crc = excluded.crc
RETURNING id
-- name: add_chunk
INSERT INTO chunk (stream, level, t_min, t_max, count, first_seq, last_seq, times, columns, crc)
VALUES (?, 0, ?, ?, ?, ?, ?, ?, ?, ?)
-- name: unsettled
INSERT INTO unsettled (chunk, boot, base, crc) VALUES (?, ?, ?, ?)
-- name: unsettled_boots
SELECT DISTINCT boot FROM unsettled
-- name: to_settle
SELECT chunk, base FROM unsettled WHERE boot = ? LIMIT 50
-- name: settle
UPDATE chunk SET t_min = ?, t_max = ?, times = ?, crc = ? WHERE id = ?
-- name: settled
DELETE FROM unsettled WHERE chunk = ?
-- name: move
UPDATE cursor SET position = ?, reached = ?, crc = ?
-- name: overlapping
SELECT id, first_seq FROM chunk
WHERE stream = ? AND level = 0 AND t_min < ? AND t_max >= ?
ORDER BY t_min
-- name: read
SELECT stream, t_min, t_max, count, first_seq, last_seq, times, columns, crc
FROM chunk WHERE id = ?
-- name: expire
DELETE FROM chunk WHERE id IN (SELECT id FROM chunk WHERE t_max < ? ORDER BY t_max LIMIT 200)
-- name: salvaged
UPDATE stream SET last_seq = 0, crc = NULL;
UPDATE cursor SET position = 0, crc = NULL,
    reached = max(reached, coalesce((SELECT max(last_seq) + 1 FROM chunk), 0))
