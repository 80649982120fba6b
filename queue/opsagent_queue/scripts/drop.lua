-- include: keys clock json records leases dead
-- Forget dead letters. The records stay what they are and leave when they expire.
--
-- KEYS     the common vector (lib/keys.lua)
-- ARGV     token: the same when this call is sent again; id…
-- returns  how many were dropped (now, or by the same call before)
-- cost     O(ids · log dead)

local dropped = 0
for index = 2, #ARGV do
  local id = ARGV[index]
  if settled(id, ARGV[1], 'drop') then
    dropped = dropped + 1
  elseif redis.call('ZSCORE', DEAD, id) then
    take_out(id, ARGV[1], 'drop')
    dropped = dropped + 1
  end
end
return dropped
