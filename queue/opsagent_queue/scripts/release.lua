-- include: keys room clock json records events index leases moves
-- Hand tasks back that were not started, or were interrupted: not an attempt, not a crash.
--
-- KEYS     the common vector (lib/keys.lua)
-- ARGV     a UUID from which event ids are made, then id, owner, fence of each
-- returns  how many leases were held (or given back by the same call before)
-- cost     O(leases · (record + log queue))

local released, moved = 0, 0
for index = 2, #ARGV, 3 do
  local id, fence = ARGV[index], ARGV[index + 2]
  local claim = held(id, ARGV[index + 1], fence)
  if claim then
    released = released + 1
    if put_back(id, claim, read_record(id), 'release', {}, {}, ARGV[1]) then moved = moved + 1 end
  elseif settled(id, fence, 'release') then
    released = released + 1
  else
    count('late_releases')
  end
end
make_moves()
if moved > 0 then redis.call('PUBLISH', WAKE, 'released') end
return released
