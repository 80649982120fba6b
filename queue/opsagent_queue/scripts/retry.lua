-- include: keys room clock json records events index leases moves stats
-- End attempts; each task waits for its back-off and is tried again. An attempt that never really
-- began (the other side was known to be down) is not counted.
--
-- KEYS     the common vector (lib/keys.lua)
-- ARGV     version, a UUID from which event ids are made, then of each task: id, owner, fence, delay in
--          ms, error JSON, error class, '1' to count the attempt
-- returns  {1 done (now, or by the same call before) · 0 the lease was lost …}, in the order asked
-- cost     O(tasks · (record + log in flight + log delayed))

local version, seed = ARGV[1], ARGV[2]

local function retry(id, owner, fence, delay_ms, error_json, error_class, counted)
  local claim = held(id, owner, fence)
  if not claim then
    if settled(id, fence, 'retry') then return 1 end
    count('late_retries')
    return 0
  end
  local record = read_record(id)
  local known = tonumber(redis.call('HGET', HISTORY_PREFIX .. id, 'retries')) or 0
  local retries = math.max(known, record and retry_count(record) or 0)
  local history, changes = {}, {{'error', error_json}}
  if counted == '1' then
    local more = string.format('%d', retries + 1)
    history = {'retries', more, 'versions', versions_tried(id, claim.version)}
    changes[2] = {'retry_count', more}
  end
  if put_back(id, claim, record, 'retry', history, changes, seed, NOW_MS + tonumber(delay_ms))
    and counted == '1' then
    tally_outcome(version, 'retried', record.type, 0, error_class)
  end
  return 1
end

local done = {}
for index = 3, #ARGV, 7 do done[#done + 1] = retry(unpack(ARGV, index, index + 6)) end
write_stats()
make_moves()
return done
