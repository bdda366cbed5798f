-- name: cursor
SELECT position, reached FROM cursor
-- name: streams
SELECT s.id, s.device, s.metrics, s.last_seq,
       coalesce(min(c.t_min), 0), coalesce(max(c.t_max), 0), coalesce(sum(c.count), 0)
FROM stream s LEFT JOIN chunk c ON c.stream = s.id AND c.level = 0
GROUP BY s.id
-- name: add_stream
INSERT INTO stream (device, metrics, last_seq) VALUES (?, ?, 0)
ON CONFLICT (device, metrics) DO UPDATE SET device = excluded.device
RETURNING id
-- name: add_chunk
INSERT INTO chunk (stream, level, t_min, t_max, count, first_seq, last_seq, times, columns)
VALUES (?, 0, ?, ?, ?, ?, ?, ?, ?)
-- name: reached
UPDATE stream SET last_seq = ? WHERE id = ?
-- name: move
UPDATE cursor SET position = ?, reached = ?
-- name: overlapping
SELECT id FROM chunk
WHERE stream = ? AND level = 0 AND t_min < ? AND t_max >= ? AND last_seq < ?
ORDER BY t_min
-- name: read
SELECT times, columns FROM chunk WHERE id = ?
-- name: expire
DELETE FROM chunk WHERE id IN (SELECT id FROM chunk WHERE t_max < ? ORDER BY t_max LIMIT 200)
