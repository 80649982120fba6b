-- The end of a task: its record, the dead letters, the event.

-- How many of the oldest dead letters are looked at each time one is added.
local DEAD_TRIM = 100

-- Remember a final failure: why, after how many tries, on which versions. Entries leave when the
-- records they are about expire.
local function bury(id, claim, attempts, crashes, reason, error_text, error_class,
                    ttl_ms)
  local versions = {}
  for version in string.gmatch(versions_tried(id, claim.version), '%S+') do
    versions[#versions + 1] = version
  end
  redis.call('ZADD', DEAD, ms(NOW_MS), id)
  redis.call('HSET', DEAD_RECORDS, id, cjson.encode({
    reason = reason, error = error_text, error_class = error_class, attempts = attempts,
    crashes = crashes, versions = versions, at = iso_now(), score = claim.score,
  }))
  local expired = redis.call('ZRANGEBYSCORE', DEAD, '-inf', '(' .. ms(NOW_MS - ttl_ms),
    'LIMIT', 0, DEAD_TRIM)
  if #expired > 0 then
    redis.call('ZREM', DEAD, unpack(expired))
    redis.call('HDEL', DEAD_RECORDS, unpack(expired))
  end
end

-- Write the end into the record, as far as it is ours to say, and let it expire in ttl_ms.
-- result, error_json: JSON text; result may be ''. A task cancelled meanwhile stays as it is: false.
local function close_record(id, record, status, result, error_json, attempts, ttl_ms)
  if not record then return true end
  if record.final == 'cancelled' and status ~= 'cancelled' then
    redis.call('PEXPIRE', RECORD_PREFIX .. id, ttl_ms)
    return false
  end
  local changes = {
    {'completed_at', json_string(iso_now())},
    {'error', error_json},
    {'retry_count', string.format('%d', attempts - 1)},
  }
  if result ~= '' then
    local metadata = json_get(record.data, 'metadata')
    if not metadata or string.byte(metadata) ~= 123 then metadata = '{}' end
    changes[#changes + 1] = {'metadata', json_set(metadata, {{'result', result}})}
  end
  write_record(id, record, status, changes)
  redis.call('PEXPIRE', RECORD_PREFIX .. id, ttl_ms)
  return true
end
