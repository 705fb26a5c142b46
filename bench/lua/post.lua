-- A form of one kilobyte.
local body = ("0123456789abcdef"):rep(64)
local request_head = "POST /form HTTP/1.1\r\n" ..
   "Host: www.example.com\r\n" ..
   "Content-Type: application/octet-stream\r\n" ..
   "Content-Length: " .. #body .. "\r\n\r\n" .. body

wrk.format = function() return request_head end
