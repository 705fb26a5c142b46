-- The same browser request again and again. wrk asks for it once, through wrk.format, and keeps it.
local folder = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"
local browser_request = dofile(folder .. "headers.lua")
local request_head = browser_request(
   "/articles/00000000", "http://www.example.com/from/00000000", "session=0123456789abcdef00000000; theme=dark")

wrk.format = function() return request_head end
