bind "tcp://127.0.0.1:#{ENV['PORT']}"
threads 4, 8
environment 'production'
