-- include: keys room clock json records leases
-- Extend leases, named one by one.
--
-- KEYS     the common vector (lib/keys.lua)
-- ARGV     lease in ms, then id, owner, fence of each
-- returns  {{id…} whose lease is lost, {id…} still held, whose task was cancelled meanwhile}
-- cost     O(leases · (record + log in flight))
--
-- Never "all leases of this worker": a claim whose reply was lost holds leases its worker does not
-- know of, and those must expire.

local deadline = ms(NOW_MS + tonumber(ARGV[1]))
local lost, cancelled, extended = {}, {}, {}
for index = 2, #ARGV, 3 do
  local id = ARGV[index]
  if held(id, ARGV[index + 1], ARGV[index + 2]) then
    extended[#extended + 1], extended[#extended + 2] = deadline, id
    local record = read_record(id)
    if record and record.final == 'cancelled' then cancelled[#cancelled + 1] = id end
  else
    lost[#lost + 1] = id
  end
end
with_all(extended, 'ZADD', LEASES)
return {lost, cancelled}
