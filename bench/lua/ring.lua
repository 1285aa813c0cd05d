-- One head after the other of those in a file, and again from the first. They were made before the clock runs: what
-- is left to do for a request is an index.
local ring, at = {}, 0

function init(args)
   local file = assert(io.open(args[1], "rb"))
   for head in file:read("*a"):gmatch("(.-)%z") do
      ring[#ring + 1] = head
   end
   file:close()
   assert(#ring > 0, "no heads in " .. args[1])
end

function request()
   at = at % #ring + 1
   return ring[at]
end

function done(summary, latency)
   local e = summary.errors
   io.write(string.format("bench requests=%d microseconds=%d bytes=%d connect=%d read=%d write=%d timeout=%d status=%d\n",
      summary.requests, summary.duration, summary.bytes, e.connect, e.read, e.write, e.timeout, e.status))
end
