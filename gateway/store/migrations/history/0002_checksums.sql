-- CRC-32 of what each row says, null where an older version wrote it; see gateway/store/checksums.py
ALTER TABLE chunk ADD COLUMN crc INTEGER;
ALTER TABLE stream ADD COLUMN crc INTEGER;
ALTER TABLE cursor ADD COLUMN crc INTEGER;

-- With everything in it that is asked at a start: the chunks themselves need not be read then.
DROP INDEX chunk_by_time;
CREATE INDEX chunk_by_time ON chunk (stream, level, t_min, t_max, first_seq, last_seq, count);
