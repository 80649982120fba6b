-- include: keys clock json records leases
-- Extend leases, named one by one.
--
-- KEYS     the common vector (lib/keys.lua)
-- ARGV     lease in ms, then id, owner, fence of each
-- returns  {id…} of those whose lease is lost
-- cost     O(leases · log in flight)
--
-- Never "all leases of this worker": a claim whose reply was lost holds leases its worker does not
-- know of, and those must expire.

local deadline = ms(NOW_MS + tonumber(ARGV[1]))
local lost = {}
for index = 2, #ARGV, 3 do
  local id = ARGV[index]
  if held(id, ARGV[index + 1], ARGV[index + 2]) then
    redis.call('ZADD', LEASES, deadline, id)
  else
    lost[#lost + 1] = id
  end
end
return lost
