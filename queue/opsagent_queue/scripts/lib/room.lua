-- What is under way must be able to go on and to end while Redis is out of memory. Redis then refuses a
-- script only if the first write it makes may need more: so let the first one be one that cannot. It
-- changes nothing, and is neither logged nor replicated.
redis.call('PERSIST', LEASES)
