-- include: keys clock
-- What a version finished in the last minutes. Reads only: also runs under EVAL_RO.
--
-- KEYS     the common vector (lib/keys.lua)
-- ARGV     version, how many minutes, the current one included
-- returns  {name, value… of each minute}
-- cost     O(minutes)

local found = {}
for minute = MINUTE - tonumber(ARGV[2]) + 1, MINUTE do
  local fields = redis.call('HGETALL', STATS_PREFIX .. ARGV[1] .. ':' .. ms(minute))
  if #fields > 0 then found[#found + 1] = fields end
end
return found
