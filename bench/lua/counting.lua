-- Heads that never come again: between the two parts of a head in a file stands a number that goes up by one.
local before, after, number

function init(args)
   local file = assert(io.open(args[1], "rb"))
   before, after = file:read("*a"):match("^(.-)%z(.-)%z$")
   file:close()
   assert(before, "no two parts of a head in " .. args[1])
   number = tonumber(args[2])
end

function request()
   number = number + 1
   return before .. number .. after
end

function done(summary, latency)
   local e = summary.errors
   io.write(string.format("bench requests=%d microseconds=%d bytes=%d connect=%d read=%d write=%d timeout=%d status=%d\n",
      summary.requests, summary.duration, summary.bytes, e.connect, e.read, e.write, e.timeout, e.status))
end
